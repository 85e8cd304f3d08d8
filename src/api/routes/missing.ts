import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientGone } from '../../lib/client-gone.ts'
import type { Peers } from '../../placement/peers.ts'
import { allowOnly, queryOf } from '../query.ts'

/**
 * `GET /api/v1/missing?peer=<site>`: what other sites have that this one has not; `POST`: the same, and the copies that are
 * wanted here are queued. It names what is stored and asks every site, so both need the token.
 */
export function missingRoutes({ missing, catchUp }: Pick<Peers, 'missing' | 'catchUp'>) {
  const handler = (fetch: boolean) => async (request: FastifyRequest, reply: FastifyReply) => {
    const query = queryOf(request)
    allowOnly(query, ['peer'])
    reply.header('cache-control', 'no-store')
    const report = await missing.report({ peer: query.get('peer') ?? undefined, fetch, signal: clientGone(reply.raw) })
    // By this node, while it had the lease of the site.
    return { ...report, caughtUp: catchUp.done }
  }
  return { look: handler(false), fetch: handler(true) }
}
