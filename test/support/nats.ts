import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { inject } from 'vitest'

export interface TestNatsOptions {
  /** Default `8MB`, as the embedded server has it. */
  readonly maxPayload?: string
  /** Default true: `sync_interval: always`. */
  readonly syncAlways?: boolean
  readonly maxFileStore?: string
  /** Default true. */
  readonly jetStream?: boolean
  /** Of JetStream, where several servers are joined as leaves. */
  readonly domain?: string
  /** Lines for the top level of the configuration file. */
  readonly extraConfig?: string
  /** Kept on stop; default: a temporary folder, removed on stop. */
  readonly dataDir?: string
  /** Default: any free one. */
  readonly port?: number
  /** Outside of vitest, which knows of one. */
  readonly binary?: string
}

export interface TestNats {
  readonly url: string
  readonly port: number
  readonly dataDir: string
  readonly pid: number
  /** Sends the signal and waits until the process is gone. The data stay. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Ends the server, if it still runs, and removes what was temporary. */
  stop(): Promise<void>
}

/** A real nats-server with JetStream on 127.0.0.1. Give `stop` to `onTestFinished` or `afterAll`. */
export async function startTestNats(options: TestNatsOptions = {}): Promise<TestNats> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'stowage-nats-')))
  await mkdir(dataDir, { recursive: true })
  const config = join(dataDir, 'test-nats.conf')
  await writeFile(config, configText(options, dataDir))
  const log: string[] = []
  const child = spawn(options.binary ?? inject('natsServer'), ['-c', config, '--ports_file_dir', dataDir], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text))
  const kill = async (signal: NodeJS.Signals) => {
    if (hasEnded(child)) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
  const stop = async () => {
    // SIGKILL, not SIGTERM: what a test leaves behind needs no tidy end, and it must never hang one.
    await kill('SIGKILL')
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    const port = await portOf(child, dataDir, log)
    return { url: `nats://127.0.0.1:${port}`, port, dataDir, pid: child.pid ?? 0, kill, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const hasEnded = (child: ChildProcess) =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

function configText(options: TestNatsOptions, dataDir: string): string {
  return [
    // -1 = any free port; 0 would be 4222.
    `listen: "127.0.0.1:${options.port ?? -1}"`,
    `max_payload: ${options.maxPayload ?? '8MB'}`,
    ...(options.jetStream === false ? [] : jetStreamConfig(options, dataDir)),
    options.extraConfig ?? '',
    '',
  ].join('\n')
}

function jetStreamConfig({ syncAlways, maxFileStore, domain }: TestNatsOptions, dataDir: string): string[] {
  return [
    'jetstream {',
    `  store_dir: ${JSON.stringify(dataDir)}`,
    ...(domain === undefined ? [] : [`  domain: ${domain}`]),
    ...(syncAlways === false ? [] : ['  sync_interval: always']),
    ...(maxFileStore === undefined ? [] : [`  max_file_store: ${maxFileStore}`]),
    '}',
  ]
}

/** The server writes `<executable>_<pid>.ports` when it accepts connections. */
async function portOf(child: ChildProcess, dataDir: string, log: readonly string[]): Promise<number> {
  let spawnError: Error | undefined
  child.once('error', (error) => {
    spawnError = error
  })
  const deadline = Date.now() + 20_000
  for (;;) {
    const file = (await readdir(dataDir)).find((name) => name.endsWith(`_${child.pid}.ports`))
    const text = file === undefined ? '' : await readFile(join(dataDir, file), 'utf8')
    const url = /"((?:nats|tls):[^"]+)"/.exec(text)?.[1]
    if (url !== undefined) return Number(new URL(url).port)
    if (spawnError !== undefined || hasEnded(child) || Date.now() > deadline) {
      throw new Error(`nats-server did not start:\n${log.join('')}`, { cause: spawnError })
    }
    await delay(10)
  }
}
