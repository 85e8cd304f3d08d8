import type { FastifyReply, FastifyRequest } from 'fastify'
import type { CID } from 'multiformats/cid'
import { parseCid } from '../../content/get.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { allowOnly, queryOf } from '../query.ts'

export const statusPrefix = '/api/v1/status/'

/** @throws AppError BLOCK_NOT_FOUND for what was never put here */
export type ObjectStatusOf = (root: CID, options: { readonly signal: AbortSignal }) => Promise<object>

/** `GET /api/v1/status/<cid>`: the copies of a root, what its policy wants, and how far one may rely on it. */
export function objectStatusHandler(objectStatus: ObjectStatusOf) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    allowOnly(queryOf(request), [])
    const { cid } = request.params as { readonly cid: string }
    reply.header('cache-control', 'no-cache')
    return await objectStatus(parseCid(cid), { signal: clientGone(reply.raw) })
  }
}
