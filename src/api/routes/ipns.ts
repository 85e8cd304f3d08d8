import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import { eventIdOf } from '../../content/command-id.ts'
import type { ContentPath } from '../../content/get.ts'
import type { IpnsEntry, IpnsVerbs } from '../../content/ipns-commands.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { collect } from '../../lib/streams.ts'
import type { Turns } from '../../lib/turns.ts'
import { KiB } from '../../lib/units.ts'
import { checkedBody } from '../checked-body.ts'
import { orAbsent } from '../conditions.ts'
import { contextOf, tellEvent } from '../context.ts'
import { allowOnly, limitOf, queryOf } from '../query.ts'
import { pathBelow } from '../request-path.ts'
import { askForBody } from '../respond.ts'
import { sendList } from '../send-list.ts'

export type IpnsLimits = Pick<LimitConfig, 'uploadIdleMs' | 'listingEntriesMax'>

export interface IpnsApi extends IpnsVerbs {
  /** What the name leads to now, over all names on the way. @throws AppError NAME_INVALID | IPNS_UNRESOLVED */
  resolveIpns(name: string, options: { readonly signal: AbortSignal }): Promise<ContentPath>
}

export const ipnsPrefix = '/api/v1/ipns/'
export const recordType = 'application/vnd.ipfs.ipns-record'

/** A record has 10 KiB at the most; a little more is read, so that the answer says so. */
const bodyBytesMax = 64 * KiB
const ttlSecondsMax = 366 * 24 * 3600

/**
 * `/api/v1/ipns/<key>`: the body of a PUT is a signed record. `/api/v1/ipns/<domain>`: it is the path that the domain
 * stands for, as text.
 */
export function ipnsRoutes(verbs: IpnsApi, limits: IpnsLimits, turns: Turns) {
  return {
    get: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['resolve'])
      const name = nameOf(request)
      const signal = clientGone(reply.raw)
      reply.header('cache-control', 'no-cache')
      if (query.get('resolve') === 'true') {
        const { root, segments } = await verbs.resolveIpns(name, { signal })
        return { name, path: ['/ipfs', root, ...segments].join('/') }
      }
      const entry = await verbs.getIpns(name, { signal })
      reply.header('etag', etagOf(entry))
      return entry
    },

    put: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      const name = nameOf(request)
      const isDomain = name.includes('.')
      allowOnly(query, isDomain ? ['ttl'] : [])
      const ttlSeconds = ttlOf(query)
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const isNew = (await orAbsent(verbs.getIpns(name, { signal }))) === undefined
      const bytes = await bodyOf(request, reply, { ...limits, signal })
      const outcome = isDomain
        ? await verbs.setDnsLink(context, name, { value: textOf(bytes), ttlSeconds }, { signal })
        : await verbs.importRecord(context, name, bytes, { signal })
      tellEvent(reply, { id: eventIdOf(context), sequence: outcome.sequence, repeated: outcome.repeated })
      if (outcome.entry !== null) reply.header('etag', etagOf(outcome.entry))
      return reply
        .code(isNew && !outcome.repeated ? 201 : 200)
        .send({ ...outcome.entry, kept: outcome.sequence === undefined })
    },

    remove: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const context = contextOf(request, reply)
      const outcome = await verbs.removeIpns(context, nameOf(request), { signal: clientGone(reply.raw) })
      tellEvent(reply, { id: eventIdOf(context), sequence: outcome.sequence, repeated: outcome.repeated })
      return { removed: true, revision: outcome.sequence }
    },

    /** Without the records themselves. */
    list: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['cursor', 'limit'])
      const cursor = query.get('cursor')
      const signal = clientGone(reply.raw)
      reply.header('cache-control', 'no-cache')
      return sendList(request, reply, {
        ...{ turns, signal, field: 'entries', limit: limitOf(query, limits), cursor: cursor ?? undefined },
        read: async (limit, after) => {
          const { entries, next } = await verbs.listIpns({
            limit,
            signal,
            ...(after === undefined ? {} : { cursor: after }),
          })
          return { items: entries.map(({ record: _bytes, ...entry }) => entry), next }
        },
      })
    },
  }
}

const etagOf = ({ revision }: IpnsEntry) => `"${revision}"`

async function bodyOf(
  request: FastifyRequest,
  reply: FastifyReply,
  { uploadIdleMs: idleMs, signal }: IpnsLimits & { readonly signal: AbortSignal },
): Promise<Uint8Array> {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > bodyBytesMax) throw tooLarge()
  const { content } = checkedBody(request, { bytesMax: Number.POSITIVE_INFINITY, idleMs, signal })
  askForBody(request, reply)
  try {
    return await collect(content, bodyBytesMax)
  } catch (error) {
    throw error instanceof RangeError ? tooLarge() : error
  }
}

const tooLarge = () => new AppError('UPLOAD_TOO_LARGE', 'an IPNS record has 10 KiB at the most')

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).trim()
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'the body is no UTF-8 text', { cause })
  }
}

function ttlOf(query: URLSearchParams): number | null {
  const text = query.get('ttl')
  if (text === null) return null
  if (/^\d{1,9}$/.test(text) && Number(text) <= ttlSecondsMax) return Number(text)
  throw new AppError('REQUEST_INVALID', `ttl is 0 to ${ttlSecondsMax} seconds`)
}

/** @throws AppError NAME_INVALID */
function nameOf(request: FastifyRequest): string {
  const text = pathBelow(request, ipnsPrefix)
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('NAME_INVALID', 'the name has a percent-encoding that is not UTF-8', { cause })
  }
}
