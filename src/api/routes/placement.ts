import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientGone } from '../../lib/client-gone.ts'
import type { Overview } from '../../placement/overview.ts'
import { allowOnly, queryOf } from '../query.ts'

/**
 * `GET /api/v1/placement`: sites, stores and what lies there, added up; `GET /api/v1/placement.svg`: the same as a picture. Both
 * are some seconds old, so that nobody loads a node by asking.
 */
export function placementRoutes(overview: Pick<Overview, 'summary' | 'picture'>) {
  return {
    summary: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      reply.header('cache-control', 'no-cache')
      return await overview.summary({ signal: clientGone(reply.raw) })
    },
    picture: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      reply
        .header('content-type', 'image/svg+xml; charset=utf-8')
        .header('cache-control', 'no-cache')
        // Names of sites and stores are in it: opened as a page, it runs nothing and loads nothing.
        .header('content-security-policy', "sandbox; default-src 'none'; style-src 'unsafe-inline'")
      return await overview.picture({ signal: clientGone(reply.raw) })
    },
  }
}
