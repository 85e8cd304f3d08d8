import type { CID } from 'multiformats/cid'
import type { LimitConfig } from '../config.ts'
import type { Get } from '../content/get.ts'
import { type Propagation, propagationFields, propagationHeaders } from '../content/propagation.ts'
import type { Inspect, ListedEntry, Stat } from '../content/stat.ts'
import type { Context, NameEntry, Verbs } from '../content/verbs.ts'
import { AppError, isAppError } from '../errors.ts'
import { Turns } from '../lib/turns.ts'
import { formatRfc3339, type UnixTime } from '../lib/unix-time.ts'
import type { Outgoing } from '../nats/messaging.ts'
import { header, type Query } from './protocol.ts'
import { type NameVerbs, type OpenParts, openReference, referenceOf, resolve } from './reference.ts'
import { jsonReply } from './reply.ts'
import { argument, countArgument, flagArgument, plainText, type Request } from './request.ts'

export interface QueryParts {
  readonly get: Pick<Get, 'open'>
  readonly inspect: Inspect
  readonly verbs: NameVerbs & Pick<Verbs, 'listNames' | 'namesOf'>
  readonly isDeleted: OpenParts['isDeleted']
  status(): Promise<object>
  /** Of one root: its copies and what its policy wants. Undefined: this node does not know. */
  readonly objectStatus?: ObjectStatusOf | undefined
  /** Why content lies where it lies. Undefined: this node does not know. */
  readonly why?: ((reference: string, options: { readonly signal: AbortSignal }) => Promise<object>) | undefined
  readonly propagation?: Propagation | undefined
  readonly limits: LimitConfig
}

/** @throws AppError BLOCK_NOT_FOUND for what was never put here */
export type ObjectStatusOf = (root: CID, options: { readonly signal: AbortSignal }) => Promise<object>

/** What a query answers, of those that answer in one message. @throws AppError */
export type QueryHandler = (request: Request, context: Context, signal: AbortSignal) => Promise<Outgoing>

const entriesDefault = 1000
/** Slices of lists that are read at a time: one core does not do more at once. */
const listsAtOnce = 4
/** Some 5 ms of work. */
const sliceMax = 250

export function queryHandlers(parts: QueryParts): Readonly<Record<Exclude<Query, 'get'>, QueryHandler>> {
  const { inspect, verbs, limits } = parts
  const turns = new Turns(listsAtOnce)
  return {
    stat: async (request, _context, signal) => {
      const { target, entry, path } = await openReference(request, parts, signal)
      const count = await parts.propagation?.tell(path.root.toV1().toString())
      const fields = { ...statJson(inspect.stat(target)), ...nameFields(entry), ...propagationFields(count) }
      return jsonReply(fields, propagationHeaders(count))
    },
    list: async (request, _context, signal) => {
      const { target, entry } = await openReference(request, parts, signal)
      const limit = limitOf(request, limits.listingEntriesMax)
      const after = argument(request, 'after')
      const detail = flagArgument(request, 'detail')
      const { items: entries, next } = await inSlices({ turns, limit, after, signal }, async (asked, from) => {
        const page = await inspect.list(target, { limit: asked, detail, signal, ...from })
        return { items: page.entries, next: page.next }
      })
      return jsonReply({
        cid: String(target.cid),
        ...nameFields(entry),
        entries: entries.map(entryJson),
        ...more(next),
      })
    },
    resolve: async (request, _context, signal) => {
      const reference = referenceOf(request, limits)
      if (reference.kind === 'name' && reference.segments.length === 0) {
        const { entry } = await resolve(reference, verbs, limits, signal)
        return jsonReply({ ...entry })
      }
      const { target, entry } = await openReference(request, parts, signal)
      return jsonReply({ cid: String(target.cid), ...nameFields(entry) })
    },
    names: (request, _context, signal) => names(request, parts, turns, signal),
    links: async (request, _context, signal) => {
      const { target, entry } = await openReference(request, parts, signal)
      return jsonReply({ cid: String(target.cid), ...nameFields(entry), links: inspect.links(target).map(String) })
    },
    status: (request, _context, signal) => status(request, parts, signal),
    why: async (request, _context, signal) => {
      if (parts.why === undefined) throw notWatching()
      const { path, entry } = await resolve(referenceOf(request, limits), verbs, limits, signal)
      const reference = entry === undefined ? String(path.root) : `${entry.name}@${entry.revision}`
      return jsonReply(await parts.why(reference, { signal }))
    },
    has: async (request, _context, signal) => {
      try {
        const { target } = await openReference(request, parts, signal)
        return jsonReply({ has: true, cid: String(target.cid) })
      } catch (error) {
        if (isAppError(error) && absent.has(error.code)) return jsonReply({ has: false })
        throw error
      }
    },
  }
}

/** Of the node; of a root, where one is named. */
async function status(request: Request, parts: QueryParts, signal: AbortSignal): Promise<Outgoing> {
  const isNamed = ['ref', 'cid', 'name'].some((field) => argument(request, field) !== undefined)
  if (!isNamed && plainText(request) === undefined) return jsonReply(await parts.status())
  const { path } = await resolve(referenceOf(request, parts.limits), parts.verbs, parts.limits, signal)
  if (parts.objectStatus === undefined) {
    throw notWatching()
  }
  return jsonReply(await parts.objectStatus(path.root, { signal }))
}

const notWatching = () =>
  new AppError('REQUEST_INVALID', 'this node does not watch over copies', { hint: 'see STOWAGE_PLACEMENT' })

const absent: ReadonlySet<string> = new Set([
  'BLOCK_NOT_FOUND',
  'PATH_NOT_FOUND',
  'NAME_NOT_FOUND',
  'IPNS_UNRESOLVED',
  'OBJECT_DELETED',
])

/** The names of a CID, or a page of those that start with a prefix. */
async function names(
  request: Request,
  { verbs, limits }: QueryParts,
  turns: Turns,
  signal: AbortSignal,
): Promise<Outgoing> {
  const text = plainText(request) ?? argument(request, 'ref')
  const cid = argument(request, 'cid') ?? (text === undefined ? undefined : cidIn(text, request, limits))
  if (cid !== undefined) {
    const { path } = await resolve(referenceOf(withCid(request, cid), limits), noNames, limits, signal)
    const found = await turns.run(request, signal, () => verbs.namesOf(path.root, { signal }))
    return jsonReply({ cid: String(path.root), names: found })
  }
  const prefix = argument(request, 'prefix') ?? (text ?? '').replace(/^name:/, '')
  const cursor = argument(request, 'cursor')
  const limit = limitOf(request, limits.listingEntriesMax)
  const page = await inSlices({ turns, limit, after: cursor, signal }, async (asked, from) => {
    const { names: items, next } = await verbs.listNames(prefix, {
      limit: asked,
      signal,
      ...(from.after === undefined ? {} : { cursor: from.after }),
    })
    return { items, next }
  })
  return jsonReply({ names: page.items, ...more(page.next) })
}

interface Page<T> {
  readonly items: readonly T[]
  readonly next?: string | undefined
}

/** One page, read slice by slice: who asks for a lot takes turns with others, each request being one of them. */
async function inSlices<T>(
  options: { readonly turns: Turns; readonly limit: number; readonly after?: string | undefined; signal: AbortSignal },
  read: (limit: number, from: { readonly after?: string }) => Promise<Page<T>>,
): Promise<Page<T>> {
  const { turns, limit, signal } = options
  const items: T[] = []
  let { after } = options
  do {
    const asked = Math.min(sliceMax, limit - items.length)
    const from = after === undefined ? {} : { after }
    const slice: Page<T> = await turns.run(items, signal, () => read(asked, from))
    items.push(...slice.items)
    after = slice.next
    // A slice may have fewer than asked for, of which some are gone meanwhile.
  } while (after !== undefined && items.length < limit)
  return { items, next: after }
}

const noNames: Pick<Verbs, 'resolveName'> = {
  resolveName: () => Promise.reject(new AppError('CID_INVALID', 'a CID was expected')),
}

const withCid = (request: Request, cid: string): Request => ({ ...request, fields: { cid }, body: new Uint8Array() })

/** The text when it is a CID; a name never is one. */
function cidIn(text: string, request: Request, limits: LimitConfig): string | undefined {
  if (text.startsWith('cid:')) return text.slice(4)
  if (text.includes('/') || text.startsWith('name:')) return undefined
  const { kind } = referenceOf({ ...request, fields: { ref: text }, body: new Uint8Array() }, limits)
  return kind === 'cid' ? text : undefined
}

function limitOf(request: Request, max: number): number {
  return countArgument(request, 'limit', { min: 1, max }) ?? Math.min(entriesDefault, max)
}

const more = (next: string | undefined) => (next === undefined ? {} : { next })

const nameFields = (entry: NameEntry | undefined) =>
  entry === undefined ? {} : { name: entry.name, revision: entry.revision, mediaType: entry.mediaType }

/** For replies that carry content. */
export function entryHeaders(entry: NameEntry | undefined): Record<string, string> {
  if (entry === undefined) return {}
  const heads = entry.heads === undefined ? {} : { [header.heads]: String(entry.heads.length) }
  return { [header.name]: entry.name, [header.revision]: String(entry.revision), ...heads }
}

function statJson({ cid, size, dagBytes, mode, mtime, ...rest }: Stat): object {
  return {
    cid: String(cid),
    ...rest,
    size: jsonNumber(size),
    ...(dagBytes === undefined ? {} : { dagBytes: jsonNumber(dagBytes) }),
    ...attributesJson({ mode, mtime }),
  }
}

function entryJson({ name, cid, dagBytes, description, missing }: ListedEntry): object {
  const lack = missing === undefined ? {} : { missing }
  const link = { name, cid: String(cid), dagBytes: jsonNumber(dagBytes), ...lack }
  if (description === undefined) return link
  const { size, mode, mtime, ...rest } = description
  return { ...link, ...rest, size: jsonNumber(size), ...attributesJson({ mode, mtime }) }
}

function attributesJson({ mode, mtime }: { mode: number | undefined; mtime: UnixTime | undefined }): object {
  const time = mtime === undefined ? undefined : formatRfc3339(mtime)
  return {
    ...(mode === undefined ? {} : { mode: mode.toString(8).padStart(4, '0') }),
    ...(time === undefined ? {} : { mtime: time }),
  }
}

/** A number where JSON readers keep it exact, else its digits in a string. */
export function jsonNumber(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString()
}
