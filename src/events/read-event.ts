import { uuidv7 } from '../lib/uuid.ts'
import type { Publication } from '../nats/publish.ts'
import { encodeHeaders } from '../nats/wire-parser.ts'
import { canonicalJson, type Json } from './canonical.ts'
import type { CloudEvent, EventSource } from './envelope.ts'

/** Who read, and in what undertaking. */
export interface ReadContext {
  readonly principal: string
  readonly via: 'http' | 'nats' | 'node'
  readonly traceparent: string | undefined
  /** Undefined or empty: the read is its own root. */
  readonly correlation: string | undefined
}

/** What was asked for, and what came of it. */
export interface ReadEntry {
  /** CIDv1 base32. */
  readonly cid: string
  readonly path: string
  readonly range: string | null
  /** Sent. */
  readonly bytes: number
  readonly format: string
  /** As in HTTP; from 400 on the read is `missed`. */
  readonly status: number
  readonly latencyMs: number
  readonly name: string | null
}

export interface PendingRead {
  readonly context: ReadContext
  readonly record: ReadEntry
  readonly timeMs: number
}

/** The same for all: encoded once. */
const encodedHeaders = encodeHeaders([['Content-Type', 'application/cloudevents+json']])

/**
 * `object.read` or `object.missed`. The same canonical JSON as `canonicalJson` gives for the same event (a test compares
 * them), written out by hand because it runs for each read.
 */
export function encodeRead({ context, record, timeMs }: PendingRead, source: EventSource): Publication {
  const { domain, site, space, node } = source
  const verb = record.status < 400 ? 'read' : 'missed'
  const id = uuidv7()
  const correlation = context.correlation ? JSON.stringify(context.correlation) : `"${id}"`
  const cid = JSON.stringify(record.cid)
  const principal = JSON.stringify(context.principal)
  const text =
    `{"authid":${principal},"authtype":"${context.via === 'node' ? 'system' : 'user'}",` +
    `"causationid":${correlation},"correlationid":${correlation},` +
    `"data":{"bytes":${record.bytes},"cid":{"/":${cid}},` +
    `"format":${JSON.stringify(record.format)},"latencyMs":${Math.round(record.latencyMs * 1000) / 1000},` +
    `"name":${JSON.stringify(record.name)},"path":${JSON.stringify(record.path)},` +
    `"range":${JSON.stringify(record.range)},"status":${record.status}},` +
    `"datacontenttype":"application/json","id":"${id}","owner":${principal},` +
    `"source":"//${domain}/${site}/${node}","specversion":"1.0","subject":${cid},` +
    `"time":"${new Date(timeMs).toISOString()}",` +
    (context.traceparent === undefined ? '' : `"traceparent":${JSON.stringify(context.traceparent)},`) +
    `"type":"${domain}.object.${verb}.v1"}`
  return {
    subject: `${domain}.reads.${site}.${space}.object.${verb}.${record.cid}`,
    payload: Buffer.from(text),
    encodedHeaders,
  }
}

/** `reads.dropped`: so many reads were not recorded, since then. */
export function encodeDropped(count: number, sinceMs: number, source: EventSource): Publication {
  const { domain, site, space, node } = source
  const id = uuidv7()
  const event: CloudEvent = {
    specversion: '1.0',
    id,
    source: `//${domain}/${site}/${node}`,
    type: `${domain}.reads.dropped.v1`,
    subject: node,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    correlationid: id,
    causationid: id,
    owner: 'node',
    authid: 'node',
    authtype: 'system',
    data: { count, since: new Date(sinceMs).toISOString() },
  }
  return {
    subject: `${domain}.reads.${site}.${space}.reads.dropped.${node}`,
    payload: Buffer.from(canonicalJson(event as unknown as Json)),
    encodedHeaders,
  }
}
