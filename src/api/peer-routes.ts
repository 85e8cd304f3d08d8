import type { FastifyInstance, RouteShorthandOptions } from 'fastify'
import type { Peers } from '../placement/peers.ts'
import { missingRoutes } from './routes/missing.ts'
import { placementRoutes } from './routes/placement.ts'

export type ApiPeers = Pick<Peers, 'overview' | 'missing' | 'catchUp'>

/** What is known of other sites, and what they have that is missing here. @param withoutId hooks of what takes no id of a command */
export function addPeerRoutes(
  app: FastifyInstance,
  peers: ApiPeers,
  [withToken, withoutId]: readonly [RouteShorthandOptions, RouteShorthandOptions],
): void {
  const placement = placementRoutes(peers.overview)
  app.get('/api/v1/placement', placement.summary)
  app.get('/api/v1/placement.svg', placement.picture)
  const routes = missingRoutes(peers)
  app.get('/api/v1/missing', withToken, routes.look)
  app.post('/api/v1/missing', withoutId, routes.fetch)
}
