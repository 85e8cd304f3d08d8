import { canonicalJson, type Json } from '../events/canonical.ts'
import type { CloudEvent } from '../events/envelope.ts'
import { keyToken } from './name.ts'

/** A Stowage name that this key follows: when the name changes, the key's next record is signed here. */
export interface IpnsBinding {
  readonly name: string
  /** Of the name, at this record. */
  readonly revision: number
  readonly lifetimeSeconds: number
  readonly ttlSeconds: number
}

/** What stands below `/ipns/`, as the index (KV `<domain>_ipns`) keeps it: a function of the log alone. */
export interface IpnsEntry {
  /** A key as base36 CIDv1, or a domain name. */
  readonly name: string
  /** A signed record of a key, or what we say ourselves of a domain name. */
  readonly kind: 'record' | 'dnslink'
  /** `/ipfs/<cid>[/path]` or `/ipns/<name>[/path]`. */
  readonly value: string
  /** Of a record: uint64 in decimal. */
  readonly sequence: string | null
  /** Of a record: until when it holds, RFC 3339. */
  readonly validity: string | null
  readonly ttlSeconds: number | null
  /** Of a record: its bytes in base64. */
  readonly record: string | null
  readonly binding: IpnsBinding | null
  /** Sequence of the event in the log. */
  readonly revision: number
  readonly owner: string
  /** RFC 3339: the event's time. */
  readonly time: string
}

export interface IpnsEffect {
  readonly kind: 'ipns'
  readonly key: string
  readonly name: string
  readonly revision: number
  /** Null = it was removed. */
  readonly entry: IpnsEntry | null
  /** The highest sequence that the key ever had here; a removal does not forget it. */
  readonly sequence: string | null
}

/** The name as one token of a subject or KV key. */
export const ipnsKey = keyToken

export const ipnsBytes = (entry: IpnsEntry): Buffer =>
  Buffer.from(canonicalJson({ ...entry, binding: entry.binding as unknown as Json }))

/** What an `ipns` event means; undefined for one that is none of ours. */
export function readIpns(
  { data, owner, time }: CloudEvent,
  verb: string | undefined,
  key: string,
  revision: number,
): IpnsEffect | undefined {
  const { name, kind, value } = data
  if (typeof name !== 'string' || ipnsKey(name) !== key) return undefined
  const sequence = textOf(data.sequence)
  const base = { kind: 'ipns', key, name, revision, sequence } as const
  if (verb === 'removed') return { ...base, entry: null }
  if (verb !== 'published' || (kind !== 'record' && kind !== 'dnslink') || typeof value !== 'string') return undefined
  const ttl = data.ttlSeconds
  const entry: IpnsEntry = {
    name,
    kind,
    value,
    sequence,
    validity: textOf(data.validity),
    ttlSeconds: typeof ttl === 'number' ? ttl : null,
    record: textOf(data.record),
    binding: bindingOf(data.binding),
    revision,
    owner,
    time,
  }
  return { ...base, entry }
}

const textOf = (value: Json | undefined): string | null => (typeof value === 'string' ? value : null)

function bindingOf(value: Json | undefined): IpnsBinding | null {
  if (typeof value !== 'object' || value === null || !('name' in value)) return null
  const { name, revision, lifetimeSeconds, ttlSeconds } = value as { readonly [field: string]: Json | undefined }
  const whole =
    typeof name === 'string' &&
    typeof revision === 'number' &&
    typeof lifetimeSeconds === 'number' &&
    typeof ttlSeconds === 'number'
  return whole ? { name, revision, lifetimeSeconds, ttlSeconds } : null
}
