import { uuidv7 } from '../lib/uuid.ts'
import type { Publication } from '../nats/publish.ts'
import { canonicalJson, type Json } from './canonical.ts'
import type { CloudEvent, EventSource } from './envelope.ts'
import { readHeaders } from './read-template.ts'

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
    encodedHeaders: readHeaders,
  }
}
