import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import { eventIdOf } from '../../content/command-id.ts'
import { parseCid } from '../../content/get.ts'
import type { Propagation } from '../../content/propagation.ts'
import type { NameEntry, NameOutcome, Verbs } from '../../content/verbs.ts'
import { AppError, isAppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import type { Turns } from '../../lib/turns.ts'
import { clientOf } from '../bounds.ts'
import { expectationOf, orAbsent } from '../conditions.ts'
import { contextOf, tellEvent } from '../context.ts'
import { readJson } from '../json-body.ts'
import { type NamesCommand, parseNamesCommand } from '../name-changes.ts'
import { settlePut } from '../prefer.ts'
import { allowOnly, flagOf, limitOf, queryOf, takeOne } from '../query.ts'
import { pathBelow } from '../request-path.ts'
import { sendList } from '../send-list.ts'
import { uploadBody } from '../upload-body.ts'
import { contentTypeOf, type UploadLimits, uploadRequest } from '../upload-request.ts'
import { putReply } from './upload.ts'

export type NameLimits = UploadLimits & Pick<LimitConfig, 'listingEntriesMax'>

export const namePrefix = '/api/v1/names/'
const historyEnd = '/history'
/** Of a history without `limit`; more of it is at `next`. */
const versionsMax = 100_000

/**
 * `/api/v1/names/<name>` and `/api/v1/names`. The name is the rest of the path, percent-decoded once, slashes and all. Its
 * history is at `?history=true`, and at `<name>/history` as long as there is no name that is spelled so.
 */
export function nameRoutes(verbs: Verbs, limits: NameLimits, turns: Turns, propagation?: Propagation) {
  const sendHistory = (request: FastifyRequest, reply: FastifyReply, name: string, signal: AbortSignal) => {
    const query = queryOf(request)
    const limit = query.has('limit') ? limitOf(query, limits) : versionsMax
    return sendList(request, reply, {
      ...{ turns, signal, head: { name }, field: 'versions', limit, cursor: query.get('cursor') ?? undefined },
      read: async (asked, cursor) => {
        const options = { limit: asked, signal, ...(cursor === undefined ? {} : { after: revisionOf(cursor) }) }
        const { versions, next } = await verbs.nameHistory(name, options)
        return { items: versions, next: next === undefined ? undefined : String(next) }
      },
    })
  }
  return {
    get: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['history', 'limit', 'cursor'])
      const signal = clientGone(reply.raw)
      const reference = nameOf(request)
      reply.header('cache-control', 'no-cache')
      if (flagOf(query, 'history')) return sendHistory(request, reply, reference, signal)
      const found = await entryOrNamed(verbs, reference, signal)
      if ('historyOf' in found) return sendHistory(request, reply, found.historyOf, signal)
      allowOnly(query, ['history'])
      return sendEntry(request, reply, found)
    },

    put: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      const cid = takeOne(query, 'cid')
      const name = nameOf(request)
      const signal = clientGone(reply.raw)
      const before = orAbsent(verbs.resolveName(name, { signal }))
      // It is looked at in two places, or in none when the request is refused before.
      before.catch(() => undefined)
      const isNew = async () => (await before) === undefined
      if (cid !== undefined) {
        allowOnly(query, [])
        return reply.code((await isNew()) ? 201 : 200).send(await setCid(request, reply, { name, cid, before, signal }))
      }
      const upload = uploadRequest(request, reply, query, { ...limits, signal, formFields: ['mediaType'] })
      const context = contextOf(request, reply)
      const expect = await expectationOf(request, () => before)
      const mediaType = (await upload.form()).mediaType ?? contentTypeOf(request)
      const named = { name, expect, ...(mediaType === undefined ? {} : { mediaType }) }
      const status = (await isNew()) ? 201 : 200
      const outcome = await verbs.put(context, upload.start(), { ...named, signal })
      tellEvent(reply, { id: outcome.eventId, sequence: outcome.sequence, repeated: outcome.repeated })
      const { name: entry, ...put } = putReply(outcome, upload.kind)
      if (entry !== undefined) reply.header('etag', etagOf(entry))
      const copies = await settlePut(request, reply, outcome.cid, { propagation, signal })
      return reply
        .code(status)
        .header('location', locationOf(name))
        .send({ ...put, ...entry, ...copies })
    },

    remove: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const name = nameOf(request)
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const expect = await expectationOf(request, () => orAbsent(verbs.resolveName(name, { signal })))
      const outcome = await verbs.changeNames(context, [{ kind: 'remove', name, expect }], { signal })
      tellNames(reply, eventIdOf(context), outcome)
      return { name, removed: true, revision: outcome.sequences[0] }
    },

    change: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const command = parseNamesCommand(await readJson(request, reply, { ...limits, signal }))
      const outcome = await carryOut(verbs, context, command, signal)
      tellNames(reply, eventIdOf(context), outcome)
      return { entries: outcome.entries, sequences: outcome.sequences }
    },

    list: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      const signal = clientGone(reply.raw)
      reply.header('cache-control', 'no-cache')
      const cid = takeOne(query, 'cid')
      if (cid !== undefined) {
        allowOnly(query, [])
        return { names: await turns.run(clientOf(request), signal, () => verbs.namesOf(parseCid(cid), { signal })) }
      }
      allowOnly(query, ['prefix', 'cursor', 'limit'])
      const cursor = query.get('cursor')
      const prefix = query.get('prefix') ?? ''
      return sendList(request, reply, {
        ...{ turns, signal, field: 'names', limit: limitOf(query, limits), cursor: cursor ?? undefined },
        read: async (limit, after) => {
          const options = { limit, signal, ...(after === undefined ? {} : { cursor: after }) }
          const { names, next } = await verbs.listNames(prefix, options)
          return { items: names, next }
        },
      })
    },
  }

  async function setCid(
    request: FastifyRequest,
    reply: FastifyReply,
    asked: {
      readonly name: string
      readonly cid: string
      readonly before: Promise<NameEntry | undefined>
      readonly signal: AbortSignal
    },
  ) {
    const { name, before, signal } = asked
    const cid = parseCid(asked.cid).toV1().toString()
    const context = contextOf(request, reply)
    await refuseBody(request, { ...limits, signal })
    const expect = await expectationOf(request, () => before)
    const mediaType = contentTypeOf(request) ?? null
    const change = { kind: 'set', name, cid, size: null, mediaType, expect } as const
    const outcome = await verbs.changeNames(context, [change], { signal })
    tellNames(reply, eventIdOf(context), outcome)
    const [entry] = outcome.entries
    if (entry) reply.header('etag', etagOf(entry))
    reply.header('location', locationOf(name))
    return entry
  }
}

function carryOut(
  verbs: Verbs,
  context: Parameters<Verbs['changeNames']>[0],
  command: NamesCommand,
  signal: AbortSignal,
): Promise<NameOutcome> {
  switch (command.kind) {
    case 'changes':
      return verbs.changeNames(context, command.changes.map(spelled), { signal })
    case 'rename':
      return verbs.renameName(context, command, { signal })
    case 'undo':
      return verbs.undoName(context, command.name, command.revision, { signal })
  }
}

/** @throws AppError REQUEST_INVALID */
function revisionOf(cursor: string): number {
  if (/^[1-9]\d{0,14}$/.test(cursor)) return Number(cursor)
  throw new AppError('REQUEST_INVALID', 'cursor is the next of the page before')
}

/** CIDs are kept in one spelling. @throws AppError CID_INVALID */
function spelled<C extends { readonly kind: string }>(change: C): C {
  return 'cid' in change ? { ...change, cid: parseCid(String(change.cid)).toV1().toString() } : change
}

/** The entry; or whose history it is that `<name>/history` asks for. */
async function entryOrNamed(
  verbs: Verbs,
  reference: string,
  signal: AbortSignal,
): Promise<NameEntry | { readonly historyOf: string }> {
  try {
    return await verbs.resolveName(reference, { signal })
  } catch (error) {
    if (!isAppError(error, 'NAME_NOT_FOUND') || !reference.endsWith(historyEnd)) throw error
    return { historyOf: reference.slice(0, -historyEnd.length) }
  }
}

function sendEntry(request: FastifyRequest, reply: FastifyReply, entry: NameEntry) {
  const etag = etagOf(entry)
  reply.header('etag', etag)
  if (entry.heads !== undefined) reply.header('stowage-name-heads', entry.heads.length)
  const tags = request.headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  if (tags?.includes(etag) || tags?.includes('*')) return reply.code(304).send()
  return entry
}

const etagOf = ({ revision }: NameEntry) => `"${revision}"`
const locationOf = (name: string) => namePrefix + name.split('/').map(encodeURIComponent).join('/')

/** The first event of a command has the command's id. */
function tellNames(reply: FastifyReply, id: string, { sequences, repeated }: NameOutcome): void {
  tellEvent(reply, { id, sequence: sequences[0], repeated })
}

/** @throws AppError NAME_INVALID */
function nameOf(request: FastifyRequest): string {
  const text = pathBelow(request, namePrefix)
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('NAME_INVALID', 'the name has a percent-encoding that is not UTF-8', { cause })
  }
}

/** `?cid=` names what is stored: content beside it would be a misunderstanding. */
async function refuseBody(request: FastifyRequest, limits: UploadLimits & { readonly signal: AbortSignal }) {
  const { uploadBytesMax: bytesMax, uploadIdleMs: idleMs, signal } = limits
  const refusal = new AppError('REQUEST_INVALID', 'a body and cid= exclude each other')
  if (Number(request.headers['content-length'] ?? 0) > 0) throw refusal
  for await (const chunk of uploadBody(request.raw, { bytesMax, idleMs, signal })) {
    if (chunk.byteLength > 0) throw refusal
  }
}
