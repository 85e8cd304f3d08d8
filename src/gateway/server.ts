import type { IncomingMessage, ServerResponse } from 'node:http'
import Fastify from 'fastify'
import type { Logger } from 'pino'
import type { HostConfig, LimitConfig, ListenConfig } from '../config.ts'
import type { Get } from '../content/get.ts'
import { type CopyCount, type Propagation, propagationHeaders } from '../content/propagation.ts'
import type { IsDeleted, ReadLog } from '../content/verbs.ts'
import { AppError, type ErrorCode, isAppError, statusOf } from '../errors.ts'
import { clientKey } from '../http/admission.ts'
import { boundConnections, boundedOptions } from '../http/bounded-listener.ts'
import { Proxies } from '../http/proxies.ts'
import { ReadAhead } from '../http/read-ahead.ts'
import { Requests } from '../http/requests.ts'
import { closeWithin, listenOn } from '../lib/http-listener.ts'
import { ByteLru } from '../lib/lru.ts'
import { checkOneHost, hostCount } from '../lib/request-host.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { LimitHits } from '../observability/limits.ts'
import { errorReply } from './errors.ts'
import { Hosts } from './host.ts'
import type { IpnsLookup } from './ipns-content.ts'
import { Locator } from './locate.ts'
import { MediaTypes } from './media-type.ts'
import type { NameLookup } from './name-request.ts'
import { negotiate } from './negotiate.ts'
import { serveTunnels } from './proxy.ts'
import { readContextOf } from './read-context.ts'
import { RedirectRules } from './redirects.ts'
import { noBody, type Reply, type Services } from './reply.ts'
import { readPath } from './request.ts'
import { formatName, respond } from './respond.ts'
import { send } from './send.ts'
import { ContentWork } from './work.ts'

export interface GatewayConfig {
  readonly listen: ListenConfig
  readonly hosts: HostConfig
  readonly limits: LimitConfig
}

export interface GatewayParts {
  readonly get: Get
  /** Undefined: nothing has a name here. */
  readonly names?: NameLookup
  /** Undefined: nothing is published here. */
  readonly ipns?: IpnsLookup
  /** Taken out of view: its answer is 410, at this root and under any name. */
  readonly isDeleted?: IsDeleted
  readonly reads?: ReadLog
  /** Undefined: nothing is said of copies. */
  readonly propagation?: Pick<Propagation, 'tell'> | undefined
  /** Before an IPNS name is looked up, with what is asked for below it. @throws AppError when it is not to be served */
  readonly checkName?: (name: string, below: readonly string[]) => void
  readonly limitHits?: LimitHits
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
  const { limits } = config
  const { limitHits } = parts
  const handler = new Handler(parts, config)
  const bounded = boundedOptions(limits, limitHits)
  const app = Fastify({
    ...bounded,
    // A request that was half here is answered like any other, then its connection ends.
    return503OnClosing: false,
    rewriteUrl: () => '/',
    // Lets many small chunks of a CAR gather before a write waits for the client; large ones wait anyway.
    http: { ...bounded.http, highWaterMark: 256 * KiB },
    requestTimeout: limits.requestHeadMs,
  })
  boundConnections(app.server, limits, limitHits)
  serveTunnels(app.server, { on: config.hosts.proxy })
  // Any method, any path: the reply is ours from here on, before Fastify would read a body.
  app.addHook('onRequest', (request, reply) => {
    reply.hijack()
    handler.handle(request.raw, reply.raw)
  })
  app.get('/', () => undefined)
  return {
    listen: () => listenOn(app, config.listen, { name: 'gateway', setting: 'GATEWAY' }),
    close: async ({ graceMs }) => {
      await closeWithin(app, graceMs)
      handler.close()
    },
  }
}

/** Failures of what somebody published, which its visitors learn of: nothing for whoever runs the node to mend. */
const publishersOwn: ReadonlySet<ErrorCode> = new Set(['IPNS_UNRESOLVED', 'REDIRECTS_INVALID'])

/** As some proxies log a client that left before the answer began. */
const clientClosedRequest = 499

/** Some forty listings of 1,000 entries. */
const listingsBytesMax = 16 * MiB

class Handler {
  readonly #services: Services
  readonly #parts: GatewayParts
  readonly #hosts: Hosts
  readonly #proxies: Proxies
  readonly #requests: Requests
  readonly #locator: Locator

  constructor(parts: GatewayParts, { limits, hosts }: GatewayConfig) {
    const readAhead = new ReadAhead(limits.readAheadBytes, limits.readAheadTotalBytes)
    this.#services = {
      get: parts.get,
      limits,
      mediaTypes: new MediaTypes(),
      listings: new ByteLru(listingsBytesMax),
      readAhead,
      redirects: new RedirectRules(),
    }
    this.#hosts = new Hosts(hosts)
    this.#proxies = new Proxies(hosts.trustedProxies)
    this.#requests = new Requests(limits)
    this.#locator = new Locator({
      names: parts.names,
      ipns: parts.ipns,
      checkName: parts.checkName,
      pathSegmentsMax: limits.pathSegmentsMax,
    })
    this.#parts = parts
  }

  handle(incoming: IncomingMessage, response: ServerResponse): void {
    const client = clientKey(this.#proxies.clientOf({ headers: incoming.headers, peer: incoming.socket }))
    const work = new ContentWork(incoming, response, client)
    this.#answer(work).then(
      () => this.#ended(work),
      (error: unknown) => this.#fail(error, work).finally(() => this.#ended(work)),
    )
  }

  close(): void {
    this.#requests.close()
  }

  async #answer(work: ContentWork): Promise<void> {
    const { incoming, response, connection, sent } = work
    const { signal } = connection
    this.#requests.begin(work, { timed: true })
    const reply = await this.#reply(work, signal)
    await send(response, reply, { head: incoming.method === 'HEAD', signal, sent })
  }

  async #reply(work: ContentWork, signal: AbortSignal): Promise<Reply> {
    checkOneHost(work.incoming)
    const { method, headers } = work.incoming
    if (method === 'OPTIONS') {
      return { status: 200, headers: ['Allow', 'GET, HEAD, OPTIONS', 'Content-Length', '0'], body: noBody }
    }
    if (method !== 'GET' && method !== 'HEAD') {
      throw new AppError('METHOD_NOT_ALLOWED', 'this gateway is read only', { hint: 'content is added over the API' })
    }
    const url = urlOf(work.incoming)
    const host = this.#hosts.of({ target: url, headers, peer: work.incoming.socket })
    const located = this.#locator.known(host, url) ?? (await this.#locator.locate(host, url, headers, signal))
    if (located.kind === 'answer') return located.reply
    const { request } = located
    work.request = request
    if (await this.#parts.isDeleted?.(request.path.root, { signal })) {
      throw new AppError('OBJECT_DELETED', 'this content was deleted')
    }
    if (headers['service-worker'] === 'script' && request.place.origin === '') {
      // All content of a path gateway shares one origin: a worker of one page would see the requests of every other.
      throw new AppError('REQUEST_INVALID', 'a service worker cannot be installed from a path gateway')
    }
    const format = negotiate(request.query, headers.accept)
    work.format = formatName(format)
    const exchange = {
      request,
      conditions: {
        accept: headers.accept,
        range: headers.range,
        ifRange: headers['if-range'] as string | undefined,
        ifNoneMatch: headers['if-none-match'],
        ifModifiedSince: headers['if-modified-since'],
      },
      head: method === 'HEAD',
      signal,
      services: this.#services,
    }
    const reply = await respond(exchange, format)
    work.format = reply.format ?? work.format
    const told = this.#parts.propagation?.tell(request.rootCid)
    // Known at once, and nothing to tell: nearly always.
    return told === undefined ? reply : withCopies(reply, await told)
  }

  /** The one place where a request ends, whatever became of it. */
  #ended(work: ContentWork): void {
    const { incoming, response, beganMs, sent, request, format } = work
    this.#requests.end(work)
    const { reads } = this.#parts
    if (reads === undefined || request === undefined) return
    reads.read(readContextOf(incoming.headers), {
      cid: request.rootCid,
      path: readPath(request, urlOf(incoming)),
      range: incoming.headers.range ?? null,
      bytes: sent.bytes,
      format: format ?? 'unknown',
      status: response.headersSent ? response.statusCode : clientClosedRequest,
      latencyMs: performance.now() - beganMs,
      name: request.name?.name ?? request.ipns?.name ?? null,
    })
  }

  async #fail(cause: unknown, { incoming, response, connection: { signal } }: ContentWork): Promise<void> {
    const { log, limitHits } = this.#parts
    // Ended by us, the connection still takes an answer; otherwise the client has left.
    const endedByUs = signal.aborted && isAppError(signal.reason)
    const error = endedByUs ? signal.reason : cause
    if (signal.aborted && !endedByUs) {
      response.destroy()
      return
    }
    limitHits?.failed(error)
    const cut = response.headersSent
    if (cut || !isAppError(error) || (statusOf[error.code] >= 500 && !publishersOwn.has(error.code))) {
      log.error({ err: error, method: incoming.method, url: urlOf(incoming), cut }, 'request failed')
    }
    if (cut) {
      response.destroy()
      return
    }
    const onlyIfCached = incoming.headers['cache-control']?.includes('only-if-cached') ?? false
    const reply = errorReply(error, incoming.headers.accept, { onlyIfCached })
    // What is left of an upload is not read, and whoever does not name one host does not speak HTTP/1.1.
    const isRead = incoming.method === 'GET' || incoming.method === 'HEAD'
    if (endedByUs || !isRead || hostCount(incoming) !== 1) reply.headers.push('Connection', 'close')
    try {
      // An error is no content: its bytes are not counted.
      await send(response, reply, { head: incoming.method === 'HEAD', signal, sent: { bytes: 0 } })
    } catch (cause) {
      log.error({ err: cause }, 'an error could not be sent')
      response.destroy()
    }
  }
}

/** As long as a policy is not met for the root, whoever reads it is told. */
function withCopies(reply: Reply, count: CopyCount | undefined): Reply {
  if (count === undefined) return reply
  return { ...reply, headers: [...reply.headers, ...Object.entries(propagationHeaders(count)).flat()] }
}

/** As the client wrote it; `rewriteUrl` keeps it aside. */
function urlOf(incoming: IncomingMessage): string {
  return (incoming as IncomingMessage & { readonly originalUrl?: string }).originalUrl ?? incoming.url ?? '/'
}
