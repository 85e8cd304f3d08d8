import type { IncomingMessage, ServerResponse } from 'node:http'
import Fastify from 'fastify'
import type { Logger } from 'pino'
import type { LimitConfig, ListenConfig } from '../config.ts'
import type { Get } from '../content/get.ts'
import { AppError, isAppError, statusOf } from '../errors.ts'
import { closeWithin, listenOn } from '../lib/http-listener.ts'
import { ByteLru } from '../lib/lru.ts'
import { KiB, MiB } from '../lib/units.ts'
import { type Connection, connectionOf, cutWhenIdle } from './connection.ts'
import { errorReply } from './errors.ts'
import { homeReply } from './home.ts'
import { MediaTypes } from './media-type.ts'
import { noBody, type Reply, type Services } from './reply.ts'
import { type ContentRequest, parseContentRequest, splitTarget } from './request.ts'
import { respond } from './respond.ts'
import { send } from './send.ts'

export interface GatewayConfig {
  readonly listen: ListenConfig
  readonly limits: LimitConfig
}

export interface GatewayParts {
  readonly get: Get
  readonly log: Pick<Logger, 'error' | 'warn'>
}

export interface Gateway {
  /** @throws AppError PORT_TAKEN */
  listen(): Promise<{ readonly host: string; readonly port: number }>
  /** Takes no more requests; those under way may finish within `graceMs`, then their connections are cut. */
  close(options: { readonly graceMs: number }): Promise<void>
}

/**
 * The IPFS gateway. Fastify owns the listener, framing errors and shutdown; its router is passed by (`rewriteUrl`),
 * because it decodes paths (`%2F`, `..`) and bounds parameters at 100 characters: `request.ts` reads the raw URL.
 */
export function createGateway(parts: GatewayParts, config: GatewayConfig): Gateway {
  const handler = new Handler(parts, config)
  const app = Fastify({
    logger: false,
    forceCloseConnections: 'idle',
    connectionTimeout: config.limits.sendIdleMs,
    rewriteUrl: () => '/',
    // Lets many small chunks of a CAR gather before a write waits for the client; large ones wait anyway.
    http: { highWaterMark: 256 * KiB },
  })
  app.server.on('timeout', cutWhenIdle)
  // Any method, any path: the reply is ours from here on, before Fastify would read a body.
  app.addHook('onRequest', (request, reply) => {
    reply.hijack()
    handler.handle(request.raw, reply.raw)
  })
  app.get('/', () => undefined)
  return {
    listen: () => listenOn(app, config.listen, { name: 'gateway', setting: 'GATEWAY' }),
    close: ({ graceMs }) => closeWithin(app, graceMs),
  }
}

/** A URL and what it was parsed to, in bytes: generous, it bounds the memo. */
const rememberedBytes = (url: string): number => 4 * url.length + KiB

class Handler {
  readonly #services: Services
  readonly #log: GatewayParts['log']
  readonly #requests = new ByteLru<ContentRequest>(4 * MiB)

  constructor({ get, log }: GatewayParts, { limits }: GatewayConfig) {
    this.#services = { get, limits, mediaTypes: new MediaTypes() }
    this.#log = log
  }

  handle(incoming: IncomingMessage, response: ServerResponse): void {
    const connection = connectionOf(incoming.socket)
    connection.working++
    this.#answer(incoming, response, connection).then(
      () => connection.working--,
      (error: unknown) => {
        connection.working--
        this.#fail(error, incoming, response, connection)
      },
    )
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse, { signal }: Connection): Promise<void> {
    const reply = await this.#reply(incoming, signal)
    await send(response, reply, incoming.method === 'HEAD', signal)
  }

  async #reply(incoming: IncomingMessage, signal: AbortSignal): Promise<Reply> {
    const { method, headers } = incoming
    const url = urlOf(incoming)
    if (method === 'OPTIONS') {
      return { status: 200, headers: ['Allow', 'GET, HEAD, OPTIONS', 'Content-Length', '0'], body: noBody }
    }
    if (method !== 'GET' && method !== 'HEAD') {
      throw new AppError('METHOD_NOT_ALLOWED', 'this gateway is read only', { hint: 'content is added over the API' })
    }
    const request = this.#requests.get(url) ?? this.#parse(url)
    if (request === undefined) return homeReply(headers.accept)
    if (headers['service-worker'] === 'script') {
      // All content shares this origin: a worker of one page would see the requests of every other.
      throw new AppError('REQUEST_INVALID', 'a service worker cannot be installed from a path gateway')
    }
    return await respond({
      request,
      conditions: {
        accept: headers.accept,
        range: headers.range,
        ifRange: headers['if-range'] as string | undefined,
        ifNoneMatch: headers['if-none-match'],
      },
      head: method === 'HEAD',
      signal,
      services: this.#services,
    })
  }

  /** Undefined for `/`. @throws AppError ROUTE_NOT_FOUND | PATH_INVALID | CID_INVALID */
  #parse(url: string): ContentRequest | undefined {
    const { pathname, search } = splitTarget(url)
    if (pathname === '/') return undefined
    if (!pathname.startsWith('/ipfs/')) {
      throw new AppError('ROUTE_NOT_FOUND', 'there is nothing at this path', { hint: 'content is at /ipfs/<cid>' })
    }
    const request = parseContentRequest(pathname, search, this.#services.limits.pathSegmentsMax)
    this.#requests.set(url, request, rememberedBytes(url))
    return request
  }

  #fail(error: unknown, incoming: IncomingMessage, response: ServerResponse, { signal }: Connection): void {
    if (signal.aborted) {
      response.destroy()
      return
    }
    const cut = response.headersSent
    if (cut || !isAppError(error) || statusOf[error.code] >= 500) {
      this.#log.error({ err: error, method: incoming.method, url: urlOf(incoming), cut }, 'request failed')
    }
    if (cut) {
      response.destroy()
      return
    }
    const onlyIfCached = incoming.headers['cache-control']?.includes('only-if-cached') ?? false
    const reply = errorReply(error, incoming.headers.accept, { onlyIfCached })
    // What is left of an upload is not read.
    if (incoming.method !== 'GET' && incoming.method !== 'HEAD') reply.headers.push('Connection', 'close')
    send(response, reply, incoming.method === 'HEAD', signal).catch((cause: unknown) => {
      this.#log.error({ err: cause }, 'an error could not be sent')
      response.destroy()
    })
  }
}

/** As the client wrote it; `rewriteUrl` keeps it aside. */
function urlOf(incoming: IncomingMessage): string {
  return (incoming as IncomingMessage & { readonly originalUrl?: string }).originalUrl ?? incoming.url ?? '/'
}
