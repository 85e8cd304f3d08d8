import type { FastifyReply, FastifyRequest } from 'fastify'
import type { CID } from 'multiformats/cid'
import type { Propagation } from '../../content/propagation.ts'
import { partialFields } from '../../content/put.ts'
import type { PutOutcome, Verbs } from '../../content/verbs.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { expectationOf, orAbsent } from '../conditions.ts'
import { contextOf, tellEvent } from '../context.ts'
import { settlePut } from '../prefer.ts'
import { queryOf, takeOne } from '../query.ts'
import type { UploadKind } from '../upload-query.ts'
import { contentTypeOf, type FormFields, type UploadLimits, uploadRequest } from '../upload-request.ts'

/**
 * `POST /api/v1/objects`: what the body is, its content type says. Nothing of it is read before the query is known to be
 * good, and the answer comes when every block and the event are durable; with `Prefer`, or a rule that says so, when there
 * are copies too. `?name=` names it in the same commit.
 */
export function uploadHandler(
  verbs: Pick<Verbs, 'put' | 'resolveName'>,
  limits: UploadLimits,
  propagation?: Propagation,
) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const query = queryOf(request)
    const asked = takeOne(query, 'name')
    const signal = clientGone(reply.raw)
    const formFields = asked === undefined ? (['name', 'mediaType'] as const) : (['mediaType'] as const)
    const upload = uploadRequest(request, reply, query, { ...limits, signal, formFields })
    const context = contextOf(request, reply)
    const form = await upload.form()
    const name = asked ?? form.name
    if (name === undefined && form.mediaType !== undefined) {
      throw new AppError('REQUEST_INVALID', 'mediaType is of a name, and there is none')
    }
    const named = name === undefined ? {} : await namedBy(request, verbs, name, { form, signal })
    const outcome = await verbs.put(context, upload.start(), { ...named, signal })
    tellEvent(reply, { id: outcome.eventId, sequence: outcome.sequence, repeated: outcome.repeated })
    const copies = await settlePut(request, reply, outcome.cid, { propagation, signal })
    if (outcome.cid !== undefined) reply.header('location', `/api/v1/objects/${outcome.cid}`)
    return reply.code(201).send({ ...putReply(outcome, upload.kind), ...copies })
  }
}

export async function namedBy(
  request: FastifyRequest,
  verbs: Pick<Verbs, 'resolveName'>,
  name: string,
  { form, signal }: { readonly form: FormFields; readonly signal: AbortSignal },
) {
  const expect = await expectationOf(request, () => orAbsent(verbs.resolveName(name, { signal })))
  const mediaType = form.mediaType ?? contentTypeOf(request)
  return { name, expect, ...(mediaType === undefined ? {} : { mediaType }) }
}

/** Of a partial CAR without roots `cid` and `path` are null. */
export function putReply(outcome: PutOutcome<CID | undefined>, kind: UploadKind) {
  const cid = outcome.cid?.toString() ?? null
  return {
    cid,
    size: Number(outcome.size),
    blocks: outcome.blocks,
    newBlocks: outcome.newBlocks,
    ...(kind === 'car' ? { roots: outcome.roots.map(String) } : {}),
    ...partialFields(outcome),
    path: cid === null ? null : `/ipfs/${cid}`,
    ...(outcome.name === undefined ? {} : { name: outcome.name }),
  }
}
