import { connect } from 'node:net'
import type { TestContext } from 'vitest'
import { type Api, type ApiConfig, type ApiParts, createApi } from '../../src/api/server.ts'
import type { Blockstore } from '../../src/blocks/blockstore.ts'
import { inline } from '../../src/blocks/inline.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { type LimitConfig, readConfig } from '../../src/config.ts'
import { createPut, type PutWays } from '../../src/content/put.ts'
import { createInspect } from '../../src/content/stat.ts'
import { openPath } from '../../src/dag/open.ts'
import { AppError } from '../../src/errors.ts'
import { noFeed, verbsOver } from './put-verbs.ts'

export const token = 'test-token'
export const authorization = `Bearer ${token}`

export interface TestApi {
  readonly api: Api
  readonly url: string
  readonly port: number
  /** What is stored. */
  readonly blocks: MemoryBlockstore
  /** What was logged as an error. */
  readonly logged: { readonly err?: unknown; readonly status?: number }[]
}

export interface TestApiOptions
  extends Partial<Omit<ApiParts, 'log'>>,
    Partial<Pick<ApiConfig, 'readAccess' | 'trustedProxies'>> {
  /** In place of one over the store. */
  readonly put?: PutWays
  readonly limits?: Partial<LimitConfig>
  /** Default: what the requests of tests call it. */
  readonly hosts?: readonly string[]
  /** In place of the memory store. */
  readonly store?: (memory: MemoryBlockstore) => Blockstore
}

/** A listening API over a memory store, closed at the end of the test. */
export async function startApi(
  onFinished: TestContext['onTestFinished'],
  {
    limits: changed,
    hosts = ['test', 't'],
    store,
    put,
    readAccess = 'open',
    trustedProxies = [],
    ...parts
  }: TestApiOptions = {},
): Promise<TestApi> {
  const limits = { ...readConfig({}).limits, ...changed }
  const memory = new MemoryBlockstore()
  const blocks = inline(store?.(memory) ?? memory)
  const logged: TestApi['logged'] = []
  const log = (fields: object) => {
    logged.push(fields)
  }
  const api = createApi(
    {
      verbs: verbsOver(put ?? createPut({ blocks, limits })),
      feed: noFeed,
      get: { open: (path, { signal }) => openPath(path, blocks, { signal, limits }) },
      inspect: createInspect({ blocks, limits }),
      auth: { authenticate: authenticate },
      status: async () => ({ version: 'test' }),
      ready: async () => undefined,
      log: { error: log },
      ...parts,
    },
    { listen: { host: '127.0.0.1', port: 0 }, hosts, limits, readAccess, trustedProxies },
  )
  const { port } = await api.listen()
  onFinished(() => api.close({ graceMs: 0 }))
  return { api, url: `http://127.0.0.1:${port}`, port, blocks: memory, logged }
}

async function authenticate(header: string | undefined) {
  if (header !== authorization) throw new AppError('UNAUTHORIZED', 'a valid token is needed')
  return { name: 'test', kind: 'admin' } as const
}

/** Sends bytes as they are and gives all that comes back until the server closes. */
export function rawExchange(port: number, ...parts: (string | Uint8Array)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('close', () => resolve(text))
    socket.on('error', (error) => (text === '' ? reject(error) : resolve(text)))
    for (const part of parts) socket.write(part)
  })
}

export const post = (path: string, ...headers: string[]): string =>
  [`POST ${path} HTTP/1.1`, 'Host: test', `Authorization: ${authorization}`, ...headers, '', ''].join('\r\n')
