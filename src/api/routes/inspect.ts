import type { FastifyReply, FastifyRequest } from 'fastify'
import { CID } from 'multiformats/cid'
import type { LimitConfig } from '../../config.ts'
import { type ContentPath, type Get, parseContentPath } from '../../content/get.ts'
import { type Propagation, propagationFields, propagationHeaders } from '../../content/propagation.ts'
import type { Description, Inspect, ListedEntry } from '../../content/stat.ts'
import type { IsDeleted, ReadLog, Verbs } from '../../content/verbs.ts'
import { AppError } from '../../errors.ts'
import { clientGone, whenOver } from '../../lib/client-gone.ts'
import type { Turns } from '../../lib/turns.ts'
import { formatRfc3339 } from '../../lib/unix-time.ts'
import { readContextOf } from '../context.ts'
import { queryOf } from '../query.ts'
import { pathBelow } from '../request-path.ts'
import { sendList } from '../send-list.ts'

export type InspectLimits = Pick<LimitConfig, 'listingEntriesMax' | 'pathSegmentsMax'>

export const objectPrefix = '/api/v1/objects/'
const entriesDefault = 1000

/**
 * `GET /api/v1/objects/<cid>[/path]`: what lies there, or with `entries=true` what lies in it. With `name=<name>[@revision]` it is
 * read by that name, which has to stand for the CID: whoever reads the read log may believe it.
 */
export interface InspectParts {
  readonly get: Pick<Get, 'open'>
  readonly inspect: Inspect
  readonly resolveName: Verbs['resolveName']
  readonly reads?: ReadLog | undefined
  readonly isDeleted?: IsDeleted | undefined
  readonly propagation?: Propagation | undefined
}

export function inspectHandler(parts: InspectParts, limits: InspectLimits, turns: Turns) {
  const { get, inspect, resolveName, reads, isDeleted, propagation } = parts
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const signal = clientGone(reply.raw)
    const parameters = queryOf(request)
    const query = parseListQuery(parameters, limits)
    const path = pathOf(request, limits)
    const by: ReadBy = { reference: parameters.get('name'), name: null }
    if (reads !== undefined)
      recordRead(reads, request, reply, path, { format: query === undefined ? 'stat' : 'entries', by })
    if (by.reference !== null) by.name = await nameOf(by.reference, path, resolveName, signal)
    if (await isDeleted?.(path.root, { signal })) throw new AppError('OBJECT_DELETED', 'this content was deleted')
    const target = await get.open(path, { signal })
    const count = await propagation?.tell(path.root.toV1().toString())
    for (const [name, value] of Object.entries(propagationHeaders(count))) reply.header(name, value)
    if (query === undefined) {
      const { cid, codec, blockBytes, links, dagBytes, ...description } = inspect.stat(target)
      const sizes = { links, blockBytes, ...(dagBytes === undefined ? {} : { dagBytes: jsonNumber(dagBytes) }) }
      return {
        cid: cid.toString(),
        codec,
        ...descriptionJson(description),
        ...sizes,
        path: gatewayPath(path),
        ...propagationFields(count),
      }
    }
    const { detail } = query
    return sendList(request, reply, {
      ...{ turns, signal, head: { cid: target.cid.toString() }, field: 'entries' },
      ...{ limit: query.limit, cursor: query.after },
      read: async (limit, after) => {
        const page = await inspect.list(target, { limit, detail, signal, ...(after === undefined ? {} : { after }) })
        return { items: page.entries.map(entryJson), next: page.next }
      },
    })
  }
}

interface ReadBy {
  /** As the client gave it. */
  readonly reference: string | null
  /** Null until it is known to stand for what is read. */
  name: string | null
}

/** @throws AppError NAME_INVALID | NAME_NOT_FOUND */
async function nameOf(
  reference: string,
  { root }: ContentPath,
  resolveName: Verbs['resolveName'],
  signal: AbortSignal,
): Promise<string> {
  const { name, cid } = await resolveName(reference, { signal })
  if (CID.parse(cid).toV1().equals(root.toV1())) return name
  throw new AppError('NAME_NOT_FOUND', `the name ${JSON.stringify(reference)} does not stand for this CID`)
}

/** When the reply has ended, as it ended. Of content itself nothing is sent here. */
function recordRead(
  reads: ReadLog,
  request: FastifyRequest,
  reply: FastifyReply,
  { root, segments }: ContentPath,
  { format, by }: { readonly format: string; readonly by: ReadBy },
): void {
  const beganMs = performance.now()
  const cid = root.toV1().toString()
  whenOver(reply.raw, () => {
    const { statusCode: status } = reply.raw
    const latencyMs = performance.now() - beganMs
    const { name, reference } = by
    const start = name === null || reference === null ? ['ipfs', cid] : ['names', ...reference.split('/')]
    const path = `/${[...start, ...segments].map(encodeURIComponent).join('/')}`
    reads.read(readContextOf(request), { cid, path, range: null, bytes: 0, format, status, latencyMs, name })
  })
}

function pathOf(request: FastifyRequest, limits: InspectLimits): ContentPath {
  const text = pathBelow(request, objectPrefix)
  return parseContentPath(text, limits).path
}

const gatewayPath = ({ root, segments }: ContentPath) =>
  `/ipfs/${[root.toString(), ...segments.map(encodeURIComponent)].join('/')}`

interface ListQuery {
  readonly limit: number
  readonly after?: string
  readonly detail: boolean
}

/** @returns undefined when no entries are asked for @throws AppError REQUEST_INVALID */
function parseListQuery(query: URLSearchParams, limits: InspectLimits): ListQuery | undefined {
  for (const name of query.keys()) {
    if (!['entries', 'limit', 'after', 'detail', 'name'].includes(name)) {
      throw new AppError('REQUEST_INVALID', `unknown parameter ${JSON.stringify(name.slice(0, 100))}`, {
        hint: 'allowed here: entries, limit, after, detail, name',
      })
    }
    if (query.getAll(name).length > 1) throw new AppError('REQUEST_INVALID', `parameter ${name} is given twice`)
  }
  const detail = flag(query, 'detail')
  const entries = flag(query, 'entries')
  const after = query.get('after')
  const text = query.get('limit')
  if (!entries) {
    if (!['limit', 'after', 'detail'].some((name) => query.has(name))) return undefined
    throw new AppError('REQUEST_INVALID', 'limit, after and detail go with entries=true')
  }
  const limit = text === null ? Math.min(entriesDefault, limits.listingEntriesMax) : Number(text)
  if (text !== null && (!/^\d{1,9}$/.test(text) || limit < 1 || limit > limits.listingEntriesMax)) {
    throw new AppError('REQUEST_INVALID', `limit is 1 to ${limits.listingEntriesMax}`)
  }
  return { limit, detail, ...(after === null ? {} : { after }) }
}

function flag(query: URLSearchParams, name: string): boolean {
  const text = query.get(name)
  if (text === null || text === 'false' || text === '0') return false
  if (text === '' || text === 'true' || text === '1') return true
  throw new AppError('REQUEST_INVALID', `${name} is true or false`)
}

function entryJson({ name, cid, dagBytes, description, missing }: ListedEntry) {
  const lack = missing === undefined ? {} : { missing }
  const link = { name, cid: cid.toString(), dagBytes: jsonNumber(dagBytes), ...lack }
  return description === undefined ? link : { ...link, ...descriptionJson(description) }
}

function descriptionJson({ kind, size, mode, mtime, target }: Description) {
  const time = mtime === undefined ? undefined : formatRfc3339(mtime)
  return {
    kind,
    size: jsonNumber(size),
    ...(mode === undefined ? {} : { mode: mode.toString(8).padStart(4, '0') }),
    ...(time === undefined ? {} : { mtime: time }),
    ...(target === undefined ? {} : { target }),
  }
}

/** A number where JSON readers keep it exact, else its digits in a string. */
function jsonNumber(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString()
}
