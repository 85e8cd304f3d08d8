import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AppError } from '../errors.ts'
import { clientKey } from '../http/admission.ts'
import type { Proxies } from '../http/proxies.ts'
import type { Requests } from '../http/requests.ts'
import { Work } from '../http/work.ts'
import { clientGone, endWork, whenOver } from '../lib/client-gone.ts'
import type { LimitHits } from '../observability/limits.ts'
import { failureOf, sendFailure } from './respond.ts'

/**
 * Paths of reads whose time is not bounded: a follower is bounded by whether it reads, and peers are asked as long as they
 * answer. Uploads and changes need a token; what stalls of an upload is ended by itself.
 */
const untimedPaths: ReadonlySet<string | undefined> = new Set(['/api/v1/events', '/api/v1/missing'])

/** The path that is answered also when there is no room: those who ask whether a node lives would end it otherwise. */
const alwaysPath = '/healthz'

export interface BoundParts {
  readonly requests: Requests
  readonly proxies: Proxies
  readonly limitHits: LimitHits | undefined
}

const works = new WeakMap<FastifyRequest, ApiWork>()

class ApiWork extends Work {
  readonly parts: BoundParts
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply

  constructor(request: FastifyRequest, reply: FastifyReply, client: string | undefined, parts: BoundParts) {
    super(request.raw, reply.raw, client)
    this.#request = request
    this.#reply = reply
    this.parts = parts
  }

  /** All that goes out on the connection, so that every kind of reply counts. */
  override sentBytes(): number {
    return this.incoming.socket.bytesWritten
  }

  /** Answers by itself: what is worked on may not end soon. */
  override end(reason: AppError): void {
    this.parts.limitHits?.failed(reason)
    if (!this.response.headersSent && !this.#reply.sent) sendFailure(this.#request, this.#reply, failureOf(reason))
    else this.response.socket?.resetAndDestroy()
    endWork(this.response, reason)
  }
}

/** Every request has a place from its head to its end, or is 429. */
export function boundRequests(app: FastifyInstance, parts: BoundParts): void {
  const { requests, proxies } = parts
  app.addHook('onRequest', async (request, reply) => {
    // Before anything is waited for.
    clientGone(reply.raw)
    const { url } = request.routeOptions
    if (url === alwaysPath) return
    const { headers, socket: peer } = request.raw
    const work = new ApiWork(request, reply, clientKey(proxies.clientOf({ headers, peer })), parts)
    works.set(request, work)
    whenOver(reply.raw, () => requests.end(work))
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    requests.begin(work, { timed: isRead && !untimedPaths.has(url) })
  })
}

/** Whose turn it is, where work is shared out among clients: each connection from this machine is a client of its own. */
export function clientOf(request: FastifyRequest): unknown {
  const work = works.get(request)
  return work?.client ?? work?.connection
}

/** For a request that goes on for days and has a bound of its own: it counts no more among those that are worked on. */
export function givePlaceBack(request: FastifyRequest): void {
  const work = works.get(request)
  work?.parts.requests.release(work)
}
