import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Auth } from '../auth/principal.ts'
import type { ApiBounds, LimitConfig, ListenConfig } from '../config.ts'
import type { Get } from '../content/get.ts'
import type { IndexMaintenance } from '../content/index-maintenance.ts'
import type { IpnsKeys } from '../content/ipns-keys.ts'
import type { IpnsPublisher } from '../content/ipns-publish.ts'
import type { LogMaintenance } from '../content/log-maintenance.ts'
import type { Propagation } from '../content/propagation.ts'
import type { Inspect } from '../content/stat.ts'
import type { EventFeed, IsDeleted, ReadLog, Verbs } from '../content/verbs.ts'
import { AppError, isAppError } from '../errors.ts'
import { boundConnections, boundedOptions } from '../http/bounded-listener.ts'
import { Proxies } from '../http/proxies.ts'
import { Requests } from '../http/requests.ts'
import { clientGone } from '../lib/client-gone.ts'
import { closeWithin, listenOn } from '../lib/http-listener.ts'
import { refuseTunnels } from '../lib/malformed-request.ts'
import { checkOneHost } from '../lib/request-host.ts'
import { Turns } from '../lib/turns.ts'
import type { LimitHits } from '../observability/limits.ts'
import type { ProjectionVerbs } from '../placement/projections.ts'
import { checkBodyHeaders } from './body-headers.ts'
import { boundRequests } from './bounds.ts'
import { needsToken, readsNeedToken, takesNoCommandId } from './context.ts'
import { ownHostCheck } from './own-host.ts'
import { type ApiPeers, addPeerRoutes } from './peer-routes.ts'
import { addPlacementRoutes, type PlacementSurface, placementMethods } from './placement-surface.ts'
import { refuseTokenInQuery } from './query.ts'
import { checkPath, pathOf } from './request-path.ts'
import { failureOf, holdBody, isReadWhole, sendFailure } from './respond.ts'
import { deleteHandler } from './routes/delete.ts'
import { eventsHandler } from './routes/events.ts'
import { indexRoutes } from './routes/index-maintenance.ts'
import { inspectHandler, objectPrefix } from './routes/inspect.ts'
import { type IpnsApi, ipnsPrefix, ipnsRoutes } from './routes/ipns.ts'
import { keyPrefix, keyRoutes, publishHandler } from './routes/keys.ts'
import { logRoutes } from './routes/log.ts'
import { type Counted, metricsHandler } from './routes/metrics.ts'
import { namePrefix, nameRoutes } from './routes/names.ts'
import { type ObjectStatusOf, objectStatusHandler, statusPrefix } from './routes/object-status.ts'
import { projectionPrefix, projectionRoutes } from './routes/projections.ts'
import { type ScrubAccess, scrubRoutes } from './routes/scrub.ts'
import { uploadHandler } from './routes/upload.ts'

export interface ApiParts {
  readonly verbs: Verbs
  readonly feed: EventFeed
  readonly reads?: ReadLog
  readonly index?: IndexMaintenance
  readonly logMaintenance?: LogMaintenance
  /** Undefined: nothing is published below `/ipns/`. */
  readonly ipns?: IpnsApi
  /** What signs records here. */
  readonly publishing?: { readonly keys: IpnsKeys; readonly publisher: IpnsPublisher }
  readonly isDeleted?: IsDeleted
  /** Undefined: nothing is scrubbed here. */
  readonly scrub?: ScrubAccess | undefined
  /** Other sites, and where everything lies. Undefined: copies are not watched over here. */
  readonly peers?: ApiPeers | undefined
  /** Undefined: nothing is said of copies, and no put waits for them. */
  readonly propagation?: Propagation | undefined
  /** What `/api/v1/status/<cid>` shows. Undefined: copies are not watched over here. */
  readonly objectStatus?: ObjectStatusOf | undefined
  /** Undefined: this node does not watch over copies. */
  readonly placement?: PlacementSurface | undefined
  /** Undefined: copies are not watched over here. */
  readonly projections?: ProjectionVerbs | undefined
  readonly get: Pick<Get, 'open'>
  readonly inspect: Inspect
  readonly auth: Auth
  /** What `/api/v1/status` shows. */
  status(): Promise<object>
  /** Resolves when the store answers. @throws AppError STORE_UNAVAILABLE */
  ready(): Promise<void>
  readonly limitHits?: LimitHits
  /** What `/metrics` shows. */
  readonly metrics?: Counted
  readonly log: Pick<Logger, 'error'>
}

export interface ApiConfig {
  readonly listen: ListenConfig
  /** Names that the API answers for, beside addresses, `localhost` and what it listens on: STOWAGE_API_HOSTS. */
  readonly hosts?: readonly string[]
  readonly limits: LimitConfig
  /** Whether reads need a token; `/healthz` and `/readyz` never do. */
  readonly readAccess: ApiBounds['readAccess']
  /** As `Proxies` takes them. */
  readonly trustedProxies: readonly string[]
}

export interface Api {
  /** @throws AppError PORT_TAKEN */
  listen(): Promise<{ readonly host: string; readonly port: number }>
  /** Takes no more requests; those under way may finish within `graceMs`, then their connections are cut. */
  close(options: { readonly graceMs: number }): Promise<void>
}

/** Long enough for every path that fits Node's 16 KiB of headers. */
const paramLengthMax = 16_384

/** Slices of lists that are read at a time: one core does not do more at once, it only keeps more in memory. */
const listsAtOnce = 4

/** The HTTP API: the objects of a node, and how it is. Reads are open, writes need a token. */
export function createApi(parts: ApiParts, config: ApiConfig): Api {
  const closing = new AbortController()
  const { limits } = config
  const { limitHits } = parts
  const requests = new Requests(limits)
  const app = Fastify({
    ...boundedOptions(limits, limitHits),
    routerOptions: { maxParamLength: paramLengthMax },
    frameworkErrors: (error, request, reply) => {
      sendFailure(request, reply, failureOf(error))
    },
  })
  boundConnections(app.server, limits, limitHits)
  refuseTunnels(app.server)
  app.server.on('checkContinue', (request, response) => {
    holdBody(request)
    app.server.emit('request', request, response)
  })
  // The body is read by the route itself, as it comes.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  boundRequests(app, { requests, proxies: new Proxies(config.trustedProxies), limitHits })
  if (config.readAccess === 'token') readsNeedToken(app, parts.auth)
  const checkOwnHost = ownHostCheck({ host: config.listen.host, names: config.hosts ?? [] })
  app.addHook('onRequest', async (request, reply) => {
    // Before anything is awaited.
    clientGone(reply.raw)
    reply.header('x-content-type-options', 'nosniff')
    try {
      checkOneHost(request.raw)
      checkOwnHost(request)
      checkPath(request)
    } catch (error) {
      // Whoever cannot say what it means may mean something else by what comes next.
      reply.header('connection', 'close')
      throw error
    }
    refuseTokenInQuery(request)
    checkBodyHeaders(request)
  })
  app.addHook('onSend', async (request, reply) => {
    // A body that nobody reads would hold the connection for as long as its client likes.
    if (closing.signal.aborted || !isReadWhole(request)) reply.header('connection', 'close')
  })
  app.setErrorHandler((error, request, reply) => handleError(error, request, reply, parts))
  addRoutes(app, parts, config, closing.signal)
  return {
    listen: () => listenOn(app, config.listen, { name: 'API', setting: 'API' }),
    close: async ({ graceMs }) => {
      closing.abort(new Error('the node stops'))
      await closeWithin(app, graceMs)
      requests.close()
    },
  }
}

/** The paths and what they answer to; `addRoutes` and 405 read the same table. */
const methods: readonly { readonly path: RegExp; readonly allow: string }[] = [
  { path: /^\/api\/v1\/objects$/, allow: 'POST' },
  { path: /^\/api\/v1\/objects\//, allow: 'GET, HEAD, DELETE' },
  { path: /^\/api\/v1\/names$/, allow: 'GET, HEAD, POST' },
  { path: /^\/api\/v1\/names\//, allow: 'GET, HEAD, PUT, DELETE' },
  { path: /^\/api\/v1\/ipns$/, allow: 'GET, HEAD, POST' },
  { path: /^\/api\/v1\/keys$/, allow: 'GET, HEAD, POST' },
  { path: /^\/api\/v1\/keys\/[^/]*\/export$/, allow: 'POST' },
  { path: /^\/api\/v1\/keys\//, allow: 'DELETE' },
  { path: /^\/api\/v1\/ipns\//, allow: 'GET, HEAD, PUT, DELETE' },
  { path: /^\/api\/v1\/events$/, allow: 'GET' },
  { path: /^\/api\/v1\/index\/(verify|rebuild)$/, allow: 'POST' },
  { path: /^\/api\/v1\/log$/, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/log\/accept-loss$/, allow: 'POST' },
  { path: /^\/api\/v1\/status\/[^/]+$/, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/projections$/, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/projections\/[^/]+$/, allow: 'GET, HEAD, PUT, DELETE' },
  { path: /^\/api\/v1\/(scrub|missing)$/, allow: 'GET, HEAD, POST' },
  { path: /^\/api\/v1\/placement(\.svg)?$/, allow: 'GET, HEAD' },
  ...placementMethods,
  { path: /^\/(api\/v1\/status|metrics|healthz|readyz)$/, allow: 'GET, HEAD' },
]

function addRoutes(app: FastifyInstance, parts: ApiParts, { limits }: ApiConfig, closing: AbortSignal): void {
  const { verbs, feed, reads, isDeleted, propagation, get, inspect, auth, status, ready, log } = parts
  const withToken = { onRequest: needsToken(auth) }
  const withoutId = { onRequest: [withToken.onRequest, takesNoCommandId] }
  const turns = new Turns(listsAtOnce)
  app.post('/api/v1/objects', withToken, uploadHandler(verbs, limits, propagation))
  app.get(
    `${objectPrefix}*`,
    inspectHandler({ get, inspect, resolveName: verbs.resolveName, reads, isDeleted, propagation }, limits, turns),
  )
  app.delete(`${objectPrefix}*`, withToken, deleteHandler(verbs, limits))
  const names = nameRoutes(verbs, limits, turns, propagation)
  app.get('/api/v1/names', names.list)
  app.post('/api/v1/names', withToken, names.change)
  app.get(`${namePrefix}*`, names.get)
  app.put(`${namePrefix}*`, withToken, names.put)
  app.delete(`${namePrefix}*`, withToken, names.remove)
  app.get('/api/v1/events', { ...withToken, exposeHeadRoute: false }, eventsHandler({ feed, limits, log, closing }))
  if (parts.ipns !== undefined) {
    const ipns = ipnsRoutes(parts.ipns, limits, turns)
    app.get('/api/v1/ipns', ipns.list)
    app.get(`${ipnsPrefix}*`, ipns.get)
    app.put(`${ipnsPrefix}*`, withToken, ipns.put)
    app.delete(`${ipnsPrefix}*`, withToken, ipns.remove)
  }
  if (parts.publishing !== undefined) {
    const { keys, publisher } = parts.publishing
    const routes = keyRoutes(keys, limits)
    app.post('/api/v1/ipns', withToken, publishHandler(publisher, limits))
    app.get('/api/v1/keys', withToken, routes.list)
    app.post('/api/v1/keys', withToken, routes.create)
    app.post(`${keyPrefix}:label/export`, withToken, routes.export)
    app.delete(`${keyPrefix}:label`, withoutId, routes.remove)
  }
  if (parts.index !== undefined) {
    const index = indexRoutes(parts.index)
    app.post('/api/v1/index/verify', withToken, index.verify)
    app.post('/api/v1/index/rebuild', withoutId, index.rebuild)
  }
  if (parts.logMaintenance !== undefined) {
    const routes = logRoutes(parts.logMaintenance)
    app.get('/api/v1/log', withToken, routes.status)
    app.post('/api/v1/log/accept-loss', withoutId, routes.acceptLoss)
  }
  if (parts.scrub !== undefined) {
    const scrub = scrubRoutes(parts.scrub)
    app.get('/api/v1/scrub', scrub.status)
    app.post('/api/v1/scrub', withoutId, scrub.start)
  }
  if (parts.placement !== undefined) addPlacementRoutes(app, parts.placement, limits, withToken)
  if (parts.projections !== undefined) {
    const projections = projectionRoutes(parts.projections, limits)
    app.get(projectionPrefix, projections.list)
    app.get(`${projectionPrefix}/:id`, projections.get)
    app.put(`${projectionPrefix}/:id`, withToken, projections.put)
    app.delete(`${projectionPrefix}/:id`, withToken, projections.remove)
  }
  if (parts.peers !== undefined) addPeerRoutes(app, parts.peers, [withToken, withoutId])
  app.get('/api/v1/status', async () => status())
  if (parts.objectStatus !== undefined) app.get(`${statusPrefix}:cid`, objectStatusHandler(parts.objectStatus))
  if (parts.metrics !== undefined) app.get('/metrics', metricsHandler(parts.metrics))
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async () => {
    await ready()
    return { status: 'ok' }
  })
  app.setNotFoundHandler((request, reply) => {
    const known = methods.find((route) => route.path.test(pathOf(request)))
    if (known === undefined) {
      return sendFailure(request, reply, failureOf(new AppError('ROUTE_NOT_FOUND', 'there is nothing at this path')))
    }
    reply.header('allow', known.allow)
    const error = new AppError('METHOD_NOT_ALLOWED', `${request.method} is not possible here`, {
      hint: `allowed here: ${known.allow}`,
    })
    return sendFailure(request, reply, failureOf(error))
  })
}

function handleError(error: unknown, request: FastifyRequest, reply: FastifyReply, { log, limitHits }: ApiParts) {
  if (reply.raw.destroyed || clientGone(reply.raw).aborted) {
    // The client is gone: nobody is left to hear it, and its leaving is no fault of ours.
    reply.hijack()
    return reply
  }
  limitHits?.failed(error)
  const failure = failureOf(error)
  // That the log is damaged is told once, by whoever found it.
  if (failure.status >= 500 && !isAppError(error, 'LOG_DAMAGED')) {
    log.error(
      { err: error, method: request.method, route: request.routeOptions.url, status: failure.status },
      'request failed',
    )
  }
  return sendFailure(request, reply, failure)
}
