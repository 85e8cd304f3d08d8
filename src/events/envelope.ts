import { uuidv7 } from '../lib/uuid.ts'
import { canonicalJson, type Json } from './canonical.ts'

/** What an event is about, and what happened to it. */
export interface EventVerbs {
  object: 'added' | 'deleted' | 'imported' | 'exported' | 'restored' | 'lost' | 'failed' | 'read' | 'missed'
  name: 'set' | 'removed' | 'failed' | 'conflicted' | 'resolved'
  copy: 'requested' | 'made' | 'verified' | 'failed' | 'removed' | 'satisfied' | 'degraded' | 'repaired'
  policy: 'set' | 'failed'
  site: 'set' | 'up' | 'down' | 'failed'
  store: 'set' | 'failed'
  projection: 'set' | 'removed' | 'failed'
  ipns: 'published' | 'removed' | 'failed'
  reads: 'dropped'
  message: 'dead'
  index: 'repaired'
  log: 'begun' | 'lost'
}
export type Entity = keyof EventVerbs

/** Who acts, and in what undertaking; travels from the entrance to every event that an act leaves. */
export interface Context {
  /** Of the command or query; UUIDv7 unless the caller gave one. It is the idempotency key. */
  readonly id: string
  /** The id was made here, for this command: no earlier one can have it, and nobody needs to look. */
  readonly fresh?: boolean
  /**
   * Whose ids these are, so that nobody takes an id from another by using it first. Undefined: of the admin or of the node
   * itself, whose ids are used as they are.
   */
  readonly idScope?: string | undefined
  /** Groups all messages of one undertaking; the id itself at the root. */
  readonly correlation: string
  /** The message that caused this command; undefined at the root. */
  readonly causation: string | undefined
  /** Person or agent that the message belongs to; the principal unless it said otherwise. */
  readonly owner: string
  /** Who was authenticated, and how. */
  readonly principal: string
  readonly via: 'http' | 'nats' | 'node'
  /** W3C trace context, carried through. */
  readonly traceparent: string | undefined
}

/** One thing to be recorded. */
export interface Draft<E extends Entity = Entity> {
  readonly entity: E
  readonly verb: EventVerbs[E]
  /** The last tokens of the NATS subject: a CID, or a name's key. */
  readonly key: string
  /** The CloudEvents subject: the CID or the name itself. */
  readonly subject: string
  readonly data: { readonly [key: string]: Json | undefined }
}

/** CloudEvents 1.0 in structured mode, attributes as messaging.md §2 has them. */
export interface CloudEvent {
  readonly specversion: '1.0'
  readonly id: string
  readonly source: string
  readonly type: string
  readonly subject: string
  readonly time: string
  readonly datacontenttype: 'application/json'
  readonly correlationid: string
  readonly causationid: string
  readonly owner: string
  readonly authid: string
  readonly authtype: string
  readonly traceparent?: string
  readonly data: { readonly [key: string]: Json | undefined }
}

/** An event ready to be published: encoded once, never again. */
export interface Encoded {
  readonly id: string
  readonly natsSubject: string
  readonly event: CloudEvent
  readonly payload: Buffer
}

export interface EventSource {
  readonly domain: string
  readonly site: string
  readonly space: string
  /** This process: new at each start. */
  readonly node: string
}

/**
 * @param id of the event; the first event of a command takes the command's id, so that a repeated command is noticed
 */
export function encodeEvent(draft: Draft, context: Context, source: EventSource, id: string = uuidv7()): Encoded {
  const { domain, site, space, node } = source
  const event: CloudEvent = {
    specversion: '1.0',
    id,
    source: `//${domain}/${site}/${node}`,
    type: `${domain}.${draft.entity}.${draft.verb}.v1`,
    subject: draft.subject,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    correlationid: context.correlation,
    causationid: context.causation ?? context.id,
    owner: context.owner,
    authid: context.principal,
    authtype: authType(context),
    ...(context.traceparent === undefined ? {} : { traceparent: context.traceparent }),
    data: draft.data,
  }
  const natsSubject = `${domain}.evt.${site}.${space}.${draft.entity}.${draft.verb}.${draft.key}`
  return { id, natsSubject, event, payload: Buffer.from(canonicalJson(event as unknown as Json)) }
}

/** As the auth context extension of CloudEvents has it. */
export function authType({ via, principal }: { readonly via: string; readonly principal: string }): string {
  if (via === 'node') return 'system'
  return principal === 'anonymous' ? 'unauthenticated' : 'user'
}

/** Undefined for what is not one of our events. */
export function decodeEvent(payload: Uint8Array): CloudEvent | undefined {
  try {
    const value = JSON.parse(Buffer.from(payload).toString('utf8')) as Partial<CloudEvent> | null
    const isEvent = value?.specversion === '1.0' && typeof value.id === 'string' && typeof value.data === 'object'
    return isEvent ? (value as CloudEvent) : undefined
  } catch {
    return undefined
  }
}
