import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IndexMaintenance } from '../../content/index-maintenance.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { allowOnly, flagOf, queryOf } from '../query.ts'

/** `POST /api/v1/index/verify?repair=` and `POST /api/v1/index/rebuild`: for who keeps the node; they need the token. */
export function indexRoutes(index: IndexMaintenance) {
  return {
    verify: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['repair'])
      return await index.verify({ repair: flagOf(query, 'repair'), signal: clientGone(reply.raw) })
    },
    rebuild: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      return await index.rebuild({ signal: clientGone(reply.raw) })
    },
  }
}
