import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientGone } from '../../lib/client-gone.ts'
import type { Missing } from '../../placement/missing.ts'
import { allowOnly, queryOf } from '../query.ts'

/**
 * `GET /api/v1/missing?peer=<site>`: what other sites have that this one has not; `POST`: the same, and the copies that are
 * wanted here are queued. It names what is stored and asks every site, so both need the token.
 */
export function missingRoutes(missing: Pick<Missing, 'report'>) {
  const handler = (fetch: boolean) => async (request: FastifyRequest, reply: FastifyReply) => {
    const query = queryOf(request)
    allowOnly(query, ['peer'])
    reply.header('cache-control', 'no-store')
    return await missing.report({ peer: query.get('peer') ?? undefined, fetch, signal: clientGone(reply.raw) })
  }
  return { look: handler(false), fetch: handler(true) }
}
