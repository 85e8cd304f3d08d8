import { AppError } from '../errors.ts'
import type { CallOptions } from './client.ts'
import type { OnProgress } from './http.ts'
import {
  historyOf,
  type NameReply,
  type NamesPage,
  type NameVersionReply,
  nameReplyOf,
  namesPageOf,
} from './name-replies.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import { segmentsOf } from './node-url.ts'

/** What has to be true of a name for a change of it to be made; nothing given = the last one wins. */
export interface NameCondition {
  readonly ifRevision?: number | undefined
  readonly ifAbsent?: boolean | undefined
}

export interface NameContent {
  readonly body: AsyncIterable<Uint8Array>
  readonly bytes: number | undefined
  readonly onProgress?: OnProgress
}

/** Names of a node. Changes: REVISION_CONFLICT when a condition does not hold. */
export interface NamesClient {
  /** `name`, `name@<revision>` or `name@<RFC 3339 time>`. @throws AppError NAME_NOT_FOUND | NAME_INVALID */
  get(reference: string, options: CallOptions): Promise<NameReply>
  set(name: string, cid: string, options: CallOptions & NameCondition): Promise<NameReply>
  /** Stores the content and names it, in one commit. */
  setContent(name: string, content: NameContent, options: CallOptions & NameCondition): Promise<NameReply>
  remove(name: string, options: CallOptions & NameCondition): Promise<void>
  rename(from: string, to: string, options: CallOptions & { readonly replace: boolean }): Promise<NameReply>
  /** Back to what it was before `revision` (default: before its last change). @returns undefined when it had no content then */
  undo(name: string, revision: number | undefined, options: CallOptions): Promise<NameReply | undefined>
  /** Newest last. */
  history(name: string, options: CallOptions): Promise<readonly NameVersionReply[]>
  /** In the order of their UTF-8 bytes, page by page as they are asked for. */
  list(prefix: string, options: CallOptions & { readonly limit?: number | undefined }): AsyncIterable<NameReply>
  /** The names that stand for this CID. */
  ofCid(cid: string, options: CallOptions): AsyncIterable<NameReply>
}

const pageNames = 1000

export function createNamesClient(call: NodeCall): NamesClient {
  const change = (value: unknown, signal: AbortSignal) =>
    call.json({ method: 'POST', path: ['names'], signal, ...jsonBody(value) })
  return {
    get: async (reference, { signal }) =>
      nameReplyOf(await call.json({ method: 'GET', path: namePath(reference), signal })),
    set: async (name, cid, { signal, ...condition }) =>
      nameReplyOf(
        await call.json({
          method: 'PUT',
          path: namePath(name),
          query: { cid },
          headers: conditionHeaders(condition),
          signal,
        }),
      ),
    setContent: async (name, { body, bytes, onProgress }, { signal, ...condition }) => {
      const length: Record<string, string> = bytes === undefined ? {} : { 'content-length': String(bytes) }
      const headers = { ...conditionHeaders(condition), ...length }
      const progress = onProgress === undefined ? {} : { onProgress }
      return nameReplyOf(await call.json({ method: 'PUT', path: namePath(name), headers, body, signal, ...progress }))
    },
    remove: async (name, { signal, ...condition }) => {
      await call.json({ method: 'DELETE', path: namePath(name), headers: conditionHeaders(condition), signal })
    },
    rename: async (from, to, { signal, replace }) => {
      const entry = entriesOf(await change({ rename: { from, to, replace } }, signal)).find(({ name }) => name === to)
      if (entry === undefined) throw new AppError('INTERNAL', `the node did not say what ${to} is now`)
      return entry
    },
    undo: async (name, revision, { signal }) => {
      const undo = revision === undefined ? { name } : { name, revision }
      return entriesOf(await change({ undo }, signal))[0]
    },
    history: async (name, { signal }) => {
      const versions: NameVersionReply[] = []
      for (let cursor: string | undefined; ; ) {
        const query = { history: true, cursor }
        const page = historyOf(await call.json({ method: 'GET', path: namePath(name), query, signal }))
        versions.push(...page.versions)
        if (page.next === undefined) return versions
        if (page.next === cursor) throw new AppError('INTERNAL', 'the history does not advance')
        cursor = page.next
      }
    },
    list: (prefix, { signal, limit }) =>
      pages((cursor, left) => {
        const query = { prefix, cursor, limit: Math.min(pageNames, left) }
        return call.json({ method: 'GET', path: ['names'], query, signal })
      }, limit),
    ofCid: (cid, { signal }) =>
      pages((cursor) => call.json({ method: 'GET', path: ['names'], query: { cid, cursor }, signal }), undefined),
  }
}

const namePath = (reference: string): readonly string[] => ['names', ...segmentsOf(reference)]

export function conditionHeaders({ ifRevision, ifAbsent }: NameCondition): Record<string, string> {
  return {
    ...(ifRevision === undefined ? {} : { 'if-match': `"${ifRevision}"` }),
    ...(ifAbsent === true ? { 'if-none-match': '*' } : {}),
  }
}

/** The names that are left after a change. */
function entriesOf(value: unknown): NameReply[] {
  const entries = typeof value === 'object' && value !== null && 'entries' in value ? value.entries : undefined
  if (!Array.isArray(entries)) throw new AppError('INTERNAL', 'the answer of the node has no entries')
  return entries.filter((entry) => entry !== null).map(nameReplyOf)
}

async function* pages(
  fetchPage: (cursor: string | undefined, left: number) => Promise<unknown>,
  limit: number | undefined,
): AsyncGenerator<NameReply> {
  let left = limit ?? Number.POSITIVE_INFINITY
  let cursor: string | undefined
  do {
    const page: NamesPage = namesPageOf(await fetchPage(cursor, left))
    for (const name of page.names) {
      if (left-- > 0) yield name
    }
    // A node that answers the same page for ever must not keep us here.
    if (page.next !== undefined && page.next === cursor) throw new AppError('INTERNAL', 'the listing does not advance')
    cursor = page.next
  } while (cursor !== undefined && left > 0)
}
