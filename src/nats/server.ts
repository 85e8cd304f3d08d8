import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { AppError } from '../errors.ts'
import { memoryLimit } from '../lib/memory-limit.ts'
import { MiB } from '../lib/units.ts'
import { openDataFolder } from './data-folder.ts'
import { resolveServerBinary } from './server-binary.ts'
import type { LeafNodes } from './server-leaf.ts'
import { lastLines } from './server-log.ts'
import { serverMemoryLimit } from './server-memory.ts'
import { stopOrphan } from './server-orphan.ts'
import { portTaken, runServer, type ServerProcess, type ServerRun, serverConfigFile } from './server-process.ts'
import type { Environment } from './server-sources.ts'
import { storeBytesMaxOf } from './store-space.ts'

const restartMsMin = 250
const restartMsMax = 10_000
const healthyMs = 60_000
const watchMs = 2_000
const slowStartMs = 5_000
/** Two of the largest messages: with less free space a restarted server would only freeze again. */
const restartBytesMin = 16 * MiB

export interface EmbeddedServerOptions {
  readonly dataDir: string
  /** 0 = any free one. */
  readonly port: number
  readonly site: string
  /** Other sites; none by default. */
  readonly leaf?: LeafNodes | undefined
  /** STOWAGE_NATS_SERVER. */
  readonly binary?: string | undefined
  readonly storeBytesMax?: number | undefined
  /** Of the server; see `serverMemoryLimit`. Nothing is set where `env` is not given. */
  readonly memoryBytes?: number | 'auto' | 'off'
  readonly log: Logger
  /** The process's environment; without it PATH is the process's own, and the cache folder the user's default. */
  readonly env?: Environment
  readonly readyMsMax?: number
  /** Ends a start that takes long. */
  readonly signal?: AbortSignal
}

export interface EmbeddedServer {
  readonly url: string
  readonly version: string
  readonly binary: string
  /** The data folder: absolute, and locked until `close` has ended. */
  readonly dataDir: string
  /** What its JetStream may hold in all. */
  readonly storeBytesMax: number
  /** How often the server was started again. */
  readonly restarts: number
  /** Stops the server for good and gives the data folder back. */
  close(): Promise<void>
  /** Tells the server to end and waits for nothing: for a process that ends at once. */
  abandon(): void
}

/**
 * Locks the data folder, finds a server, stops one that an earlier node left there, starts ours, and starts it again
 * whenever it ends or can no longer write. The first start either succeeds or leaves nothing behind.
 * @throws AppError DATA_FOLDER_LOCKED, DATA_FOLDER_UNUSABLE, SERVER_NOT_FOUND, SERVER_TOO_OLD, PORT_TAKEN, SERVER_FAILED
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { log, port, site, leaf, env } = options
  const folder = await openDataFolder(options.dataDir)
  try {
    const onFetch = (source: string) => log.info({ source }, 'fetching nats-server, once')
    const binary = await resolveServerBinary({ binary: options.binary, env, onFetch })
    const orphan = await stopOrphan(folder.path, serverConfigFile(folder.path))
    if (orphan !== undefined) log.warn({ pid: orphan }, 'stopped the nats-server that an earlier node left')
    await checkPort(port)
    const storeBytesMax = options.storeBytesMax ?? (await storeBytesMaxOf(folder.path))
    const { readyMsMax } = options
    const goMemLimit = await goMemoryLimit(options)
    const run = {
      binary: binary.path,
      env,
      goMemLimit,
      dataDir: folder.path,
      port,
      site,
      leaf,
      storeBytesMax,
      readyMsMax,
    }
    const slow = setTimeout(() => log.info('nats-server is still reading its store'), slowStartMs)
    const first = await runServer(run, { signal: options.signal ?? new AbortController().signal }).finally(() =>
      clearTimeout(slow),
    )
    log.debug({ port: first.port, version: first.version, binary: binary.path, pid: first.pid }, 'nats-server runs')
    return new SupervisedServer(run, first, folder.close, log)
  } catch (error) {
    await folder.close()
    throw error
  }
}

async function goMemoryLimit({ memoryBytes, env, log }: EmbeddedServerOptions): Promise<string | undefined> {
  if (memoryBytes === undefined || env === undefined) return undefined
  const memory = await memoryLimit()
  const goMemoryLimit = serverMemoryLimit(memoryBytes, env.GOMEMLIMIT, memory)
  log.debug({ goMemoryLimit, memoryBytes: memory.bytes, memoryFrom: memory.from }, 'memory of nats-server')
  return goMemoryLimit
}

class SupervisedServer implements EmbeddedServer {
  readonly url: string
  readonly binary: string
  readonly dataDir: string
  readonly storeBytesMax: number
  readonly #run: ServerRun
  readonly #log: Logger
  readonly #closing = new AbortController()
  readonly #supervision: Promise<void>
  readonly #unlock: () => Promise<void>
  #process: ServerProcess
  #restarts = 0
  #closed: Promise<void> | undefined

  constructor(run: ServerRun, first: ServerProcess, unlock: () => Promise<void>, log: Logger) {
    // The port that was free the first time is kept: clients come back to it.
    this.#run = { ...run, port: first.port }
    this.#process = first
    this.#unlock = unlock
    this.#log = log
    this.url = `nats://127.0.0.1:${first.port}`
    this.binary = run.binary
    this.dataDir = run.dataDir
    this.storeBytesMax = run.storeBytesMax
    this.#supervision = this.#supervise()
  }

  get version(): string {
    return this.#process.version
  }

  get restarts(): number {
    return this.#restarts
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  abandon(): void {
    this.#closing.abort()
    this.#process.tell('SIGTERM')
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    await this.#process.stop()
    await this.#supervision
    // A restart under way when closing began has put another process there.
    await this.#process.stop()
    await this.#unlock()
  }

  async #supervise(): Promise<void> {
    let restartMs = restartMsMin
    while (!this.#closing.signal.aborted) {
      const startedAt = Date.now()
      const reason = await this.#endOf(this.#process)
      if (this.#closing.signal.aborted) return
      if (Date.now() - startedAt >= healthyMs) restartMs = restartMsMin
      this.#log.error({ reason, restartMs }, 'nats-server is down; it is started again')
      restartMs = await this.#startAgain(restartMs)
    }
  }

  /** @returns the pause before the next restart */
  async #startAgain(firstMs: number): Promise<number> {
    const { signal } = this.#closing
    for (let restartMs = firstMs; ; restartMs = Math.min(restartMs * 2, restartMsMax)) {
      await delay(restartMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return restartMs
      try {
        this.#process = await runServer(this.#run, { signal })
        this.#restarts++
        this.#log.warn({ restarts: this.#restarts, pid: this.#process.pid }, 'nats-server runs again')
        return Math.min(restartMs * 2, restartMsMax)
      } catch (error) {
        if (signal.aborted) return restartMs
        this.#log.error({ reason: String(error), restartMs }, 'nats-server could not be started again')
      }
    }
  }

  /**
   * Waits for the end of the process, and makes it when a write failed: after one (a full disk) a stream of nats-server
   * 2.15 answers no write any more, with space or without, until the server is started again.
   */
  async #endOf(process: ServerProcess): Promise<string> {
    let said = ''
    for (;;) {
      const reason = await Promise.race([process.ended, delay(watchMs, undefined, { ref: false })])
      said = (said + (await process.newLog())).slice(-4_096)
      if (reason !== undefined) return `${reason}; its last lines: ${lastLines(said)}`
      if (/critical write error|no space left on device|will be DISABLED/i.test(said)) {
        if (!(await hasSpace(this.#run.dataDir))) continue
        if (this.#closing.signal.aborted) return 'closing'
        await process.stop()
        return 'a write failed, and there is space now'
      }
    }
  }
}

async function hasSpace(folder: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize >= restartBytesMin
}

/** Before the server is started, since an error of ours can say it better than a line in its log. */
function checkPort(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return reject(portTaken(port, error))
      const message = `port ${port} on 127.0.0.1 cannot be listened on: ${error.code ?? error.message}`
      reject(new AppError('PORT_TAKEN', message, { cause: error, hint: 'set STOWAGE_NATS_PORT to another port' }))
    })
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve()))
  })
}
