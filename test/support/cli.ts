import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import type { TestContext } from 'vitest'
import type { Io } from '../../src/cli/io.ts'
import { runCli } from '../../src/cli/main.ts'
import { accountsBlock, natsAccounts } from '../../src/nats/permissions.ts'
import { startApi, token } from './api.ts'
import { CountingStore } from './dags.ts'
import { openGateway } from './gateway.ts'

type OnFinished = TestContext['onTestFinished']

export interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stdoutBytes: Buffer
  readonly stderr: string
}

export interface RunOptions {
  readonly stdin?: Uint8Array | string
  readonly env?: Readonly<Record<string, string>>
  readonly terminal?: boolean
  readonly signal?: AbortSignal
  readonly io?: Partial<Io>
}

export interface TestCli {
  /** A folder of its own: the working directory, the home and the place for files. */
  readonly folder: string
  readonly store: CountingStore
  run(argv: readonly string[], options?: RunOptions): Promise<Ran>
}

/** The CLI before a real API and gateway over one memory store. */
export async function openCli(onFinished: OnFinished): Promise<TestCli> {
  const store = new CountingStore()
  const api = await startApi(onFinished, {
    store: () => store,
    status: async () => ({
      version: '9.9.9',
      site: 'paris',
      nats: { version: '2.15.1', durability: 'always', payloadBytesMax: 8_388_608 },
      store: { newBlocks: 1234, bytes: 2_097_152 },
    }),
  })
  const gateway = await openGateway(onFinished, {}, store)
  const folder = await testFolder(onFinished)
  const env = {
    STOWAGE_API_URL: api.url,
    STOWAGE_GATEWAY_URL: `http://127.0.0.1:${gateway.port}`,
    STOWAGE_TOKEN: token,
  }
  return {
    folder,
    store,
    run: (argv, options = {}) => run(folder, argv, { ...options, env: { ...env, ...options.env } }),
  }
}

/** Runs one command line in the folder, which is also its home. */
export async function run(folder: string, argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const stdout = new Sink(options.terminal === true)
  const stderr = new Sink(options.terminal === true)
  const exitCode = await runCli(argv, {
    stdin: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)], { objectMode: false }),
    stdout,
    stderr,
    env: { HOME: folder, PATH: '', ...options.env },
    cwd: folder,
    signal: options.signal ?? new AbortController().signal,
    version: '9.9.9',
    serve: async () => 0,
    findNatsServer: async () => ({ path: '/opt/nats-server', version: '2.15.1', foundBy: 'PATH' }),
    natsPermissions: async (place) => accountsBlock(natsAccounts(place)),
    ...options.io,
  })
  return { exitCode, stdout: stdout.bytes.toString(), stdoutBytes: stdout.bytes, stderr: stderr.bytes.toString() }
}

export async function testFolder(onFinished: OnFinished): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-cli-'))
  onFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A server that answers as it is told to: for answers that no sound node gives. */
export async function fakeNode(onFinished: OnFinished, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export class Sink extends Writable {
  readonly isTTY: boolean
  readonly columns = 100
  readonly #parts: Buffer[] = []

  constructor(isTTY: boolean) {
    super()
    this.isTTY = isTTY
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#parts.push(chunk)
    done()
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}
