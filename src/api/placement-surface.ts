import type { FastifyInstance } from 'fastify'
import type { LimitConfig } from '../config.ts'
import type { PlacementVerbs } from '../placement/surface.ts'
import type { needsToken } from './context.ts'
import { placeRoutes } from './routes/places.ts'
import { policyRoutes } from './routes/policies.ts'
import { whyHandler, whyPrefix } from './routes/why.ts'

/** As in `server.ts`: what each path answers to. */
export const placementMethods: readonly { readonly path: RegExp; readonly allow: string }[] = [
  { path: /^\/api\/v1\/policies\/[^/]+$/, allow: 'GET, HEAD, PUT' },
  { path: /^\/api\/v1\/policies\/[^/]+\/history$/, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/policies\/[^/]+\/(undo|check|plan|backtest)$/, allow: 'POST' },
  { path: /^\/api\/v1\/why\//, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/sites$/, allow: 'GET, HEAD' },
  { path: /^\/api\/v1\/sites\/[^/]+\/remove$/, allow: 'POST' },
  { path: /^\/api\/v1\/stores$/, allow: 'GET, HEAD, POST' },
  { path: /^\/api\/v1\/stores\/[^/]+\/(drain|reshard)$/, allow: 'POST' },
  { path: /^\/api\/v1\/stores\/[^/]+$/, allow: 'DELETE' },
]

export interface PlacementSurface extends Omit<PlacementVerbs, 'idle'> {
  /** The site of this node. */
  readonly site: string
}

type WithToken = { readonly onRequest: ReturnType<typeof needsToken> }

/** What lies where, and why. Looking is open, as for objects; changes, and what reads everything, need the token. */
export function addPlacementRoutes(
  app: FastifyInstance,
  surface: PlacementSurface,
  limits: LimitConfig,
  withToken: WithToken,
): void {
  const policies = '/api/v1/policies/:space'
  const policy = policyRoutes(surface, limits)
  app.get(policies, policy.get)
  app.put(policies, withToken, policy.put)
  app.get(`${policies}/history`, policy.history)
  app.post(`${policies}/undo`, withToken, policy.undo)
  app.post(`${policies}/check`, withToken, policy.check)
  app.post(`${policies}/plan`, withToken, policy.plan)
  app.post(`${policies}/backtest`, withToken, policy.backtest)
  app.get(`${whyPrefix}*`, whyHandler(surface))
  const places = placeRoutes(surface, limits, surface.site)
  app.get('/api/v1/sites', places.sites)
  app.post('/api/v1/sites/:site/remove', withToken, places.removeSite)
  app.get('/api/v1/stores', places.stores)
  app.post('/api/v1/stores', withToken, places.add)
  app.post('/api/v1/stores/:store/drain', withToken, places.drain)
  app.post('/api/v1/stores/:store/reshard', withToken, places.reshard)
  app.delete('/api/v1/stores/:store', withToken, places.removeStore)
}
