import { parseRfc3339, type UnixTime } from '../lib/unix-time.ts'
import { type NameReply, nameReplyOf } from './name-replies.ts'
import { count, type Fields, fieldsOf, text, unexpected } from './reply-fields.ts'

/** What the API answers, checked field by field: a proxy's page or another program must not pass for a result. */
export interface PutReply {
  readonly cid: string
  readonly size: number
  readonly blocks: number
  readonly newBlocks: number
  readonly roots: readonly string[]
  /** What the name is now that was to be set with it. */
  readonly name?: NameReply
  /** How many copies there are, where the node watches over them. */
  readonly copies?: { readonly verified: number; readonly wanted: number }
  readonly provisional?: boolean
}

export interface CarReply extends Omit<PutReply, 'cid'> {
  /** The first root; null of a partial CAR that names none. */
  readonly cid: string | null
  /** What it stands for is not all there. */
  readonly partial?: true
  /** The blocks that are not there; null where that is not known. */
  readonly missing?: readonly string[] | null
}

export type Kind = 'file' | 'directory' | 'symlink' | 'node'

interface NodeAttributes {
  readonly cid: string
  readonly kind: Kind
  /** Content bytes. */
  readonly size: number
  /** POSIX permission bits. */
  readonly mode?: number
  readonly mtime?: UnixTime
  /** Symlink only. */
  readonly target?: string
}

export interface StatReply extends NodeAttributes {
  readonly codec: string
  readonly links: number
  readonly blockBytes: number
  /** The answer as it came, for `--json`. */
  readonly json: Readonly<Record<string, unknown>>
}

export interface EntryReply extends Omit<NodeAttributes, 'kind'> {
  /** missing: its block was never put. */
  readonly kind: Kind | 'missing'
  readonly name: string
  readonly dagBytes: number
  readonly json: Readonly<Record<string, unknown>>
}

const kinds: readonly string[] = ['file', 'directory', 'symlink', 'node'] satisfies Kind[]

export function putReplyOf(value: unknown): PutReply {
  const fields = fieldsOf(value)
  return { cid: text(fields, 'cid'), ...sumsOf(fields) }
}

export function carReplyOf(value: unknown): CarReply {
  const fields = fieldsOf(value)
  const { partial, missing } = fields
  return {
    cid: fields.cid === null ? null : text(fields, 'cid'),
    ...sumsOf(fields),
    ...(partial === true ? { partial, missing: Array.isArray(missing) ? missing.map(String) : null } : {}),
  }
}

function sumsOf(fields: Fields): Omit<PutReply, 'cid'> {
  const roots = Array.isArray(fields.roots) ? fields.roots.map(String) : [text(fields, 'cid')]
  return {
    size: count(fields, 'size'),
    blocks: count(fields, 'blocks'),
    newBlocks: count(fields, 'newBlocks'),
    roots,
    ...(typeof fields.name === 'object' && fields.name !== null ? { name: nameReplyOf(fields.name) } : {}),
    ...copiesOf(fields),
  }
}

function copiesOf({ copies, provisional }: Fields): Pick<PutReply, 'copies' | 'provisional'> {
  if (typeof copies !== 'object' || copies === null) return {}
  const counted = fieldsOf(copies)
  const sum = { verified: count(counted, 'verified'), wanted: count(counted, 'wanted') }
  return { copies: sum, provisional: provisional === true }
}

export function statReplyOf(value: unknown): StatReply {
  const fields = fieldsOf(value)
  return {
    ...attributesOf(fields),
    codec: text(fields, 'codec'),
    links: count(fields, 'links'),
    blockBytes: count(fields, 'blockBytes'),
    json: fields,
  }
}

export function entriesOf(value: unknown): { readonly entries: readonly EntryReply[]; readonly next?: string } {
  const fields = fieldsOf(value)
  if (!Array.isArray(fields.entries)) throw unexpected('entries')
  const entries = fields.entries.map((entry: unknown) => {
    const entryFields = fieldsOf(entry)
    return {
      ...(entryFields.missing === true ? missingOf(entryFields) : attributesOf(entryFields)),
      name: text(entryFields, 'name'),
      dagBytes: count(entryFields, 'dagBytes'),
      json: entryFields,
    }
  })
  return typeof fields.next === 'string' ? { entries, next: fields.next } : { entries }
}

const missingOf = (fields: Fields) => ({ cid: text(fields, 'cid'), kind: 'missing', size: 0 }) as const

function attributesOf(fields: Fields): NodeAttributes {
  const kind = text(fields, 'kind')
  if (!kinds.includes(kind)) throw unexpected('kind')
  return {
    cid: text(fields, 'cid'),
    kind: kind as Kind,
    size: count(fields, 'size'),
    ...modeOf(fields.mode),
    ...mtimeOf(fields.mtime),
    ...(typeof fields.target === 'string' ? { target: fields.target } : {}),
  }
}

/** A number, or an octal string like `0644`. */
function modeOf(value: unknown): { readonly mode?: number } {
  const mode = typeof value === 'string' && /^[0-7]+$/.test(value) ? Number.parseInt(value, 8) : value
  return typeof mode === 'number' && Number.isInteger(mode) ? { mode: mode & 0o777 } : {}
}

/** RFC 3339. */
function mtimeOf(value: unknown): { readonly mtime?: UnixTime } {
  const mtime = typeof value === 'string' ? parseRfc3339(value) : undefined
  return mtime === undefined ? {} : { mtime }
}
