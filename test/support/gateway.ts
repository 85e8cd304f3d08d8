import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import type { TestContext } from 'vitest'
import { inline } from '../../src/blocks/inline.ts'
import { type HostConfig, type LimitConfig, readConfig } from '../../src/config.ts'
import { createGet } from '../../src/content/get.ts'
import { createGateway, type Gateway, type GatewayParts } from '../../src/gateway/server.ts'
import { LimitHits } from '../../src/observability/limits.ts'
import { CountingStore } from './dags.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly bytes: Buffer
  readonly text: string
}

export interface Asked {
  readonly method?: string
  readonly headers?: OutgoingHttpHeaders
}

/** What the gateway logged: the error and the fields beside it. */
export type Logged = Readonly<Record<string, unknown>>

export interface OpenGateway {
  readonly gateway: Gateway
  readonly port: number
  readonly store: CountingStore
  readonly logged: readonly Logged[]
  readonly limitHits: LimitHits
  /** The path goes onto the wire as it is. Rejects when the reply is cut. */
  ask(path: string, asked?: Asked): Promise<Answer>
}

/** A gateway over a memory store on a socket of its own. */
export async function openGateway(
  onFinished: TestContext['onTestFinished'],
  limits: Partial<LimitConfig> = {},
  store: CountingStore = new CountingStore(),
  { hosts = {}, parts = {} }: { readonly hosts?: Partial<HostConfig>; readonly parts?: Partial<GatewayParts> } = {},
): Promise<OpenGateway> {
  const all = { ...readConfig({}).limits, ...limits }
  const logged: Logged[] = []
  const keep = (fields: unknown) => logged.push(fields as Logged)
  const get = createGet({ blocks: inline(store), limits: all })
  const config = { listen: { host: '127.0.0.1', port: 0 }, hosts: { ...readConfig({}).hosts, ...hosts }, limits: all }
  const limitHits = new LimitHits()
  const gateway = createGateway({ get, limitHits, log: { error: keep, warn: keep }, ...parts }, config)
  const { port } = await gateway.listen()
  onFinished(() => gateway.close({ graceMs: 60_000 }))
  return { gateway, port, store, logged, limitHits, ask: (path, asked = {}) => ask(port, path, asked) }
}

function ask(port: number, path: string, { method = 'GET', headers = {} }: Asked): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: '127.0.0.1', path, method, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        const bytes = Buffer.concat(parts)
        resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, text: bytes.toString() })
      })
    })
    request.on('error', reject)
    request.end()
  })
}
