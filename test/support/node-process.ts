import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** What `npm run build` made: the program as users run it. `npm test` builds before it tests. */
export const program = resolve(import.meta.dirname, '../../dist/main.js')

export interface NodeProcess {
  readonly pid: number
  readonly gatewayUrl: string
  readonly apiUrl: string
  readonly token: string
  readonly dataDir: string
  /** Everything the process has printed so far. */
  readonly output: () => string
  readonly hasEnded: () => boolean
  /** Sends the signal and resolves with the exit code (or the signal's name) once the process is gone. */
  end(signal: NodeJS.Signals): Promise<number | string>
}

export interface NodeProcessOptions {
  readonly dataDir: string
  readonly natsServer: string
  readonly env?: Readonly<Record<string, string>>
  /** After `serve`. */
  readonly args?: readonly string[]
  /** As which user; only root may choose. */
  readonly uid?: number
  readonly readyMsMax?: number
}

/** Starts `stowage serve` on free ports and waits until it answers. @throws Error with its output when it does not start */
export async function startNodeProcess(options: NodeProcessOptions): Promise<NodeProcess> {
  const { child, output } = spawnNode(options)
  const endMs = Date.now() + (options.readyMsMax ?? 30_000)
  while (!output().includes('is ready')) {
    if (child.exitCode !== null || Date.now() > endMs) {
      child.kill('SIGKILL')
      throw new Error(`the node did not start (exit ${child.exitCode}):\n${output()}`)
    }
    await delay(20)
  }
  const address = JSON.parse(await readFile(join(options.dataDir, 'node.json'), 'utf8')) as Record<string, string>
  return {
    pid: child.pid ?? 0,
    gatewayUrl: address.gatewayUrl ?? '',
    apiUrl: address.apiUrl ?? '',
    // Absent where another node made it.
    token: (await readFile(join(options.dataDir, 'admin.token'), 'utf8').catch(() => '')).trim(),
    dataDir: options.dataDir,
    output,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    end: (signal) => endProcess(child, signal),
  }
}

/** `stowage serve` that is expected to fail: its exit code and what it printed. */
export async function runNodeToItsEnd(options: NodeProcessOptions): Promise<{
  readonly exitCode: number | null
  readonly output: string
  readonly stdout: string
  readonly stderr: string
}> {
  const { child, output, stdout, stderr } = spawnNode(options)
  await once(child, 'close')
  return { exitCode: child.exitCode, output: output(), stdout: stdout(), stderr: stderr() }
}

function spawnNode({ dataDir, natsServer, env, args = [], uid }: NodeProcessOptions) {
  const child = spawn(process.execPath, [program, 'serve', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // Not the user's: a test must not tell the CLI of a node that is gone in a moment.
      XDG_STATE_HOME: join(dataDir, 'state'),
      STOWAGE_DATA: dataDir,
      STOWAGE_GATEWAY_PORT: '0',
      STOWAGE_API_PORT: '0',
      STOWAGE_NATS_PORT: '0',
      STOWAGE_NATS_SERVER: natsServer,
      ...env,
    },
  })
  const parts: { readonly from: 'stdout' | 'stderr'; readonly text: string }[] = []
  for (const from of ['stdout', 'stderr'] as const) {
    child[from].setEncoding('utf8').on('data', (text: string) => parts.push({ from, text }))
  }
  const said = (...of: string[]) => parts.flatMap(({ from, text }) => (of.includes(from) ? [text] : [])).join('')
  return {
    child,
    output: () => said('stdout', 'stderr'),
    stdout: () => said('stdout'),
    stderr: () => said('stderr'),
  }
}

async function endProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<number | string> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
  return child.exitCode ?? child.signalCode ?? 'unknown'
}
