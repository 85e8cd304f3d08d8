import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LogMaintenance } from '../../content/log-maintenance.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { contextOf } from '../context.ts'
import { allowOnly, flagOf, queryOf } from '../query.ts'

/** `GET /api/v1/log` and `POST /api/v1/log/accept-loss?restore=`: for who keeps the node; they need the token. */
export function logRoutes(log: LogMaintenance) {
  return {
    status: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      return await log.status(clientGone(reply.raw))
    },
    acceptLoss: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['restore'])
      if (!query.has('restore')) {
        throw new AppError('REQUEST_INVALID', 'it is not said what becomes of what was lost', {
          hint: 'restore=true says it again in new events, restore=false drops it; GET /api/v1/log lists it',
        })
      }
      const context = contextOf(request, reply)
      // Once begun it is carried out, whoever leaves.
      return await log.accept(context, { restore: flagOf(query, 'restore'), signal: new AbortController().signal })
    },
  }
}
