import { only } from '../lib/streams.ts'
import type { CallOptions } from './client.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import type { Query } from './node-url.ts'
import { count, type Fields, fieldsOf, text, unexpected } from './reply-fields.ts'

/** What stands below `/ipns/` for a name, as the node answers. */
export interface IpnsReply {
  /** A key as base36 CIDv1, or a domain name. */
  readonly name: string
  /** `record` or `dnslink`. */
  readonly kind: string
  readonly value: string
  /** Of a record: uint64 in decimal. */
  readonly sequence: string | undefined
  /** Of a record: until when it holds. */
  readonly validity: string | undefined
  readonly revision: number
  /** The signed record, where the answer holds it. */
  readonly record: Buffer | undefined
  /** What was sent did not count more than what was there. */
  readonly kept: boolean
  /** The answer as it came, for `--json`. */
  readonly json: Fields
}

export interface PublishOptions {
  /** Its label or its name. */
  readonly key: string
  readonly lifetimeSeconds?: number | undefined
  readonly ttlSeconds?: number | undefined
}

/** IPNS records and DNSLinks of a node. */
export interface IpnsClient {
  /** @throws AppError IPNS_INVALID | NAME_INVALID | REVISION_CONFLICT when a newer record is there */
  importRecord(key: string, record: Uint8Array, options: CallOptions): Promise<IpnsReply>
  setDnsLink(
    domain: string,
    value: string,
    options: CallOptions & { readonly ttlSeconds?: number | undefined },
  ): Promise<IpnsReply>
  /** Binds a name to a key of the node. @throws AppError NAME_NOT_FOUND */
  publish(name: string, options: CallOptions & PublishOptions): Promise<IpnsReply>
  /** @throws AppError NAME_NOT_FOUND */
  get(name: string, options: CallOptions): Promise<IpnsReply>
  /**
   * Where the name leads to now, over all names on the way: `/ipfs/<cid>[/path]`, not percent-encoded.
   * @throws AppError NAME_INVALID | IPNS_UNRESOLVED
   */
  resolve(name: string, options: CallOptions): Promise<string>
  remove(name: string, options: CallOptions): Promise<void>
  /** In the order of their names, page by page as they are asked for. */
  list(options: CallOptions): AsyncIterable<IpnsReply>
}

export function createIpnsClient(call: NodeCall): IpnsClient {
  const put = async (name: string, query: Query, type: string, bytes: Uint8Array, { signal }: CallOptions) => {
    const headers = { 'content-type': type, 'content-length': String(bytes.byteLength) }
    const path = ipnsPath(name)
    return ipnsReplyOf(await call.json({ method: 'PUT', path, query, headers, body: only(bytes), signal }))
  }
  return {
    importRecord: (key, record, options) => put(key, {}, 'application/vnd.ipfs.ipns-record', record, options),
    setDnsLink: (domain, value, { ttlSeconds: ttl, signal }) =>
      put(domain, { ttl }, 'text/plain', Buffer.from(value), { signal }),
    publish: async (name, { signal, ...options }) => {
      const body = jsonBody({ publish: { name, ...options } })
      return ipnsReplyOf(await call.json({ method: 'POST', path: ['ipns'], signal, ...body }))
    },
    get: async (name, { signal }) => ipnsReplyOf(await call.json({ method: 'GET', path: ipnsPath(name), signal })),
    resolve: async (name, { signal }) =>
      text(
        fieldsOf(await call.json({ method: 'GET', path: ipnsPath(name), query: { resolve: true }, signal })),
        'path',
      ),
    remove: async (name, { signal }) => {
      await call.json({ method: 'DELETE', path: ipnsPath(name), signal })
    },
    list: (options) => pages(call, options),
  }
}

async function* pages(call: NodeCall, { signal }: CallOptions): AsyncGenerator<IpnsReply> {
  let cursor: string | undefined
  do {
    const page = fieldsOf(await call.json({ method: 'GET', path: ['ipns'], query: { cursor }, signal }))
    if (!Array.isArray(page.entries)) throw unexpected('entries')
    for (const entry of page.entries) yield ipnsReplyOf(entry)
    const next = typeof page.next === 'string' ? page.next : undefined
    // A node that answers the same page for ever must not keep us here.
    if (next !== undefined && next === cursor) throw unexpected('next page')
    cursor = next
  } while (cursor !== undefined)
}

export function ipnsReplyOf(value: unknown): IpnsReply {
  const fields = fieldsOf(value)
  const optional = (name: string) => (typeof fields[name] === 'string' ? text(fields, name) : undefined)
  const record = optional('record')
  return {
    name: text(fields, 'name'),
    kind: text(fields, 'kind'),
    value: text(fields, 'value'),
    sequence: optional('sequence'),
    validity: optional('validity'),
    revision: count(fields, 'revision'),
    record: record === undefined ? undefined : Buffer.from(record, 'base64'),
    kept: fields.kept === true,
    json: fields,
  }
}

const ipnsPath = (name: string): readonly string[] => ['ipns', name]
