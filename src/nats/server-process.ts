import { type ChildProcess, spawn } from 'node:child_process'
import { open, readdir, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import { writeDurably } from '../lib/durable-file.ts'
import { makeFolder } from '../lib/make-folder.ts'
import { renderServerConfig, serverLogFile } from './server-config.ts'
import type { LeafNodes } from './server-leaf.ts'
import { GrowingLog, lastLines } from './server-log.ts'
import { forgetServer, recordServer } from './server-orphan.ts'
import type { Environment } from './server-sources.ts'

const stopMsMax = 20_000
/** A large store takes minutes to come back after a crash: all of it is read. */
const readyMsMaxDefault = 600_000
const infoMsMax = 5_000

export interface ServerRun {
  readonly binary: string
  readonly env: Environment | undefined
  /** Put into `env`; undefined = that stays as it is. */
  readonly goMemLimit?: string | undefined
  /** Absolute. */
  readonly dataDir: string
  readonly port: number
  readonly site: string
  readonly leaf?: LeafNodes | undefined
  readonly storeBytesMax: number
  readonly readyMsMax?: number | undefined
}

/** One life of the server. */
export interface ServerProcess {
  readonly pid: number
  readonly port: number
  readonly version: string
  /** In a few words, how it ended. Never rejects. */
  readonly ended: Promise<string>
  /** What it logged since the last call. */
  newLog(): Promise<string>
  /** Sends the signal, unless it has ended. */
  tell(signal: NodeJS.Signals): void
  /** SIGTERM, and SIGKILL for one that does not heed it; resolves when it is gone. */
  stop(): Promise<void>
}

export const serverConfigFile = (dataDir: string): string => join(dataDir, 'nats-server.conf')

/**
 * Starts the server and waits until it serves JetStream.
 * @throws AppError PORT_TAKEN; SERVER_FAILED with the last lines of its log; the signal's reason when aborted
 */
export async function runServer(run: ServerRun, options: { signal: AbortSignal }): Promise<ServerProcess> {
  const log = new GrowingLog(serverLogFile(run.dataDir))
  const errors = new GrowingLog(errorsFile(run.dataDir))
  const newLog = async () => (await log.read()) + (await errors.read())
  await log.skip()
  await prepare(run)
  const { child, ended } = await spawnServer(run)
  const stop = () => stopChild(child, ended, run.dataDir)
  try {
    if (child.pid === undefined) throw new Error(await ended)
    await recordServer(run.dataDir, child.pid)
    const port = await portOf(child.pid, ended, run, options.signal)
    const info = await readInfo(port)
    if (info.jetstream !== true) throw new Error('JetStream is not enabled')
    const tell = (signal: NodeJS.Signals) => void child.kill(signal)
    return { pid: child.pid, port, version: info.version, ended, newLog, tell, stop }
  } catch (error) {
    await stop()
    options.signal.throwIfAborted()
    throw startFailure(error, await newLog(), run.port)
  }
}

async function prepare(run: ServerRun): Promise<void> {
  await makeFolder(run.dataDir, 0o700)
  await writeDurably(serverConfigFile(run.dataDir), renderServerConfig(run), { mode: 0o600 })
  const left = (await readdir(run.dataDir)).filter((name) => name.endsWith('.ports'))
  await Promise.all(left.map((name) => rm(join(run.dataDir, name), { force: true })))
}

/** What comes before the log file is open, and the stack when the server itself crashes. */
const errorsFile = (dataDir: string): string => join(dataDir, 'nats-server.stderr')

/** In a process group of its own, so that Ctrl-C in a terminal reaches only the node, which stops its server last. */
async function spawnServer(run: ServerRun): Promise<{ child: ChildProcess; ended: Promise<string> }> {
  const errors = await open(errorsFile(run.dataDir), 'w', 0o600)
  try {
    const child = spawn(run.binary, ['-c', serverConfigFile(run.dataDir)], {
      detached: true,
      stdio: ['ignore', errors.fd, errors.fd],
      ...(run.env === undefined ? {} : { env: environmentOf(run.env, run.goMemLimit) }),
    })
    // Before anything is awaited: a server that ends at once would not be heard.
    return { child, ended: endOf(child) }
  } finally {
    await errors.close()
  }
}

const environmentOf = (env: Environment, goMemLimit: string | undefined): Environment =>
  goMemLimit === undefined ? { ...env } : { ...env, GOMEMLIMIT: goMemLimit }

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`it could not be started: ${error.message}`))
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `it ended with code ${code}` : `it ended by ${signal}`),
    )
  })
}

async function stopChild(child: ChildProcess, ended: Promise<string>, dataDir: string): Promise<void> {
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMsMax)
  await ended
  clearTimeout(timer)
  await forgetServer(dataDir)
}

/** The server writes `<executable>_<pid>.ports` once it accepts connections: so the port is its, and nobody else's. */
async function portOf(pid: number, ended: Promise<string>, run: ServerRun, signal: AbortSignal): Promise<number> {
  let reason: string | undefined
  void ended.then((text) => {
    reason = text
  })
  const readyMsMax = run.readyMsMax ?? readyMsMaxDefault
  const deadline = Date.now() + readyMsMax
  for (;;) {
    const name = (await readdir(run.dataDir)).find((file) => file.endsWith(`_${pid}.ports`))
    const text = name === undefined ? '' : await readFile(join(run.dataDir, name), 'utf8')
    const url = /"(nats:[^"]+)"/.exec(text)?.[1]
    if (url !== undefined) return Number(new URL(url).port)
    if (reason !== undefined) throw new Error(reason)
    if (Date.now() > deadline) throw new Error(`it was not ready after ${readyMsMax / 1000} s`)
    await delay(20, undefined, { signal })
  }
}

interface ServerInfo {
  readonly version: string
  readonly jetstream?: boolean
}

/** The first line that the server says to whoever connects. */
function readInfo(port: number): Promise<ServerInfo> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port })
    let text = ''
    socket.setEncoding('utf8').setTimeout(infoMsMax, () => socket.destroy(new Error('it does not say INFO')))
    socket.on('error', reject).on('close', () => reject(new Error('it cut the connection')))
    socket.on('data', (part: string) => {
      text += part
      const end = text.indexOf('\r\n')
      if (end < 0) return
      try {
        resolve(JSON.parse(text.slice('INFO '.length, end)) as ServerInfo)
      } catch (error) {
        reject(error)
      }
      socket.destroy()
    })
  })
}

function startFailure(error: unknown, log: string, port: number): AppError {
  if (/leafnode.*address already in use/i.test(log)) {
    return new AppError('PORT_TAKEN', 'the address that the embedded nats-server is to take leaves at is taken', {
      cause: error,
      hint: 'set STOWAGE_LEAF_LISTEN to another port',
    })
  }
  if (/address already in use/i.test(log)) return portTaken(port, error)
  const reason = error instanceof Error ? error.message : String(error)
  const said = lastLines(log)
  const message = `nats-server did not start: ${reason}${said === '' ? '' : `; its last lines: ${said}`}`
  return new AppError('SERVER_FAILED', message, { cause: error, hint: 'see nats-server.log in the data folder' })
}

export function portTaken(port: number, cause: unknown): AppError {
  return new AppError('PORT_TAKEN', `port ${port} on 127.0.0.1, meant for the embedded nats-server, is taken`, {
    cause,
    hint: 'set STOWAGE_NATS_PORT to another port (0 = any free one), or STOWAGE_NATS_URL to use the NATS server there',
  })
}
