import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientGone } from '../../lib/client-gone.ts'
import type { RepairCounts } from '../../placement/repair.ts'
import type { Scrubber } from '../../placement/scrubber.ts'
import { allowOnly, queryOf } from '../query.ts'

export interface ScrubAccess {
  readonly scrubber: Pick<Scrubber, 'isOn' | 'status' | 'want'>
  /** Of this node, since its start. */
  repairCounts(): RepairCounts
}

/**
 * `GET /api/v1/scrub`: where the scrubber of this site stands in each store; `POST /api/v1/scrub?store=` has a round begin
 * now and needs the token.
 */
export function scrubRoutes(access: ScrubAccess) {
  const { scrubber } = access
  const state = async (reply: FastifyReply, store?: string) => {
    const stores = await scrubber.status(clientGone(reply.raw))
    const shown = store === undefined ? stores : stores.filter((one) => one.store === store)
    return { on: scrubber.isOn, stores: shown, node: access.repairCounts() }
  }
  return {
    status: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['store'])
      return await state(reply, query.get('store') ?? undefined)
    },
    start: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['store'])
      const store = query.get('store') ?? undefined
      await scrubber.want(store, clientGone(reply.raw))
      reply.status(202)
      return await state(reply, store)
    },
  }
}
