import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import type { PlacementVerbs } from '../../placement/surface.ts'
import { allowOnly, queryOf } from '../query.ts'
import { pathBelow } from '../request-path.ts'

export const whyPrefix = '/api/v1/why/'

/** `GET /api/v1/why/<cid|name>`: the rest of the path, percent-decoded once, slashes and all, as for names. */
export function whyHandler({ why }: Pick<PlacementVerbs, 'why'>) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    allowOnly(queryOf(request), [])
    reply.header('cache-control', 'no-cache')
    return await why(referenceIn(request), { signal: clientGone(reply.raw) })
  }
}

/** @throws AppError NAME_INVALID */
function referenceIn(request: FastifyRequest): string {
  try {
    return decodeURIComponent(pathBelow(request, whyPrefix))
  } catch (cause) {
    throw new AppError('NAME_INVALID', 'the name has a percent-encoding that is not UTF-8', { cause })
  }
}
