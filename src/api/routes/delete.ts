import type { FastifyReply, FastifyRequest } from 'fastify'
import { eventIdOf } from '../../content/command-id.ts'
import { parseContentPath } from '../../content/get.ts'
import type { Verbs } from '../../content/verbs.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { contextOf, tellEvent } from '../context.ts'
import { allowOnly, flagOf, queryOf } from '../query.ts'
import { pathBelow } from '../request-path.ts'
import { objectPrefix } from './inspect.ts'

/** `DELETE /api/v1/objects/<cid>`: out of view; `force=true` removes the names that hold it too. */
export function deleteHandler(verbs: Pick<Verbs, 'deleteObject'>, limits: { readonly pathSegmentsMax: number }) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const query = queryOf(request)
    allowOnly(query, ['force'])
    const { root, segments } = parseContentPath(pathBelow(request, objectPrefix), limits).path
    if (segments.length > 0) {
      throw new AppError('REQUEST_INVALID', 'only a root can be deleted, not what lies in it', {
        hint: 'leave out the path behind the CID',
      })
    }
    const context = contextOf(request, reply)
    const signal = clientGone(reply.raw)
    const outcome = await verbs.deleteObject(context, root, { force: flagOf(query, 'force'), signal })
    tellEvent(reply, { id: eventIdOf(context), sequence: outcome.sequence, repeated: outcome.repeated })
    return { cid: outcome.cid, namesRemoved: outcome.namesRemoved }
  }
}
