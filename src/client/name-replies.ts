import { count, type Fields, fieldsOf, text, unexpected } from './reply-fields.ts'

/** What a name stands for, as the node answers. */
export interface NameReply {
  readonly name: string
  readonly cid: string
  /** Number of its last event; compare-and-set goes by it. */
  readonly revision: number
  /** How many things it stands for; more than 1 where sites changed it without hearing each other. */
  readonly heads: number
  /** Content in bytes, where the node knows it. */
  readonly size: number | undefined
  readonly owner: string
  /** RFC 3339. */
  readonly time: string
  /** The answer as it came, for `--json`. */
  readonly json: Fields
}

export interface NameVersionReply {
  readonly revision: number
  /** `set` or `removed`. */
  readonly verb: string
  /** Where it was made. */
  readonly site: string
  /** Of a removal: what the name stood for until then, where the node says it. */
  readonly cid: string | undefined
  readonly size: number | undefined
  readonly owner: string
  readonly time: string
  readonly json: Fields
}

export interface NamesPage {
  readonly names: readonly NameReply[]
  /** Cursor of the next page. */
  readonly next: string | undefined
}

export function nameReplyOf(value: unknown): NameReply {
  const fields = fieldsOf(value)
  return {
    name: text(fields, 'name'),
    cid: text(fields, 'cid'),
    revision: count(fields, 'revision'),
    heads: Array.isArray(fields.heads) ? fields.heads.length : 1,
    size: optionalCount(fields, 'size'),
    owner: text(fields, 'owner'),
    time: text(fields, 'time'),
    json: fields,
  }
}

export function namesPageOf(value: unknown): NamesPage {
  const fields = fieldsOf(value)
  if (!Array.isArray(fields.names)) throw unexpected('names')
  return { names: fields.names.map(nameReplyOf), next: typeof fields.next === 'string' ? fields.next : undefined }
}

/** A page of it; all of it, mostly. */
export function historyOf(value: unknown): {
  readonly versions: readonly NameVersionReply[]
  readonly next: string | undefined
} {
  const { versions, next } = fieldsOf(value)
  if (!Array.isArray(versions)) throw unexpected('versions')
  return { versions: versions.map(versionReplyOf), next: typeof next === 'string' ? next : undefined }
}

function versionReplyOf(value: unknown): NameVersionReply {
  const fields = fieldsOf(value)
  return {
    revision: count(fields, 'revision'),
    verb: text(fields, 'verb'),
    site: text(fields, 'site'),
    cid: typeof fields.cid === 'string' ? fields.cid : undefined,
    size: optionalCount(fields, 'size'),
    owner: text(fields, 'owner'),
    time: text(fields, 'time'),
    json: fields,
  }
}

function optionalCount(fields: Fields, name: string): number | undefined {
  return fields[name] === null || fields[name] === undefined ? undefined : count(fields, name)
}
