import { AppError } from '../errors.ts'
import { pause } from '../lib/pause.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetFrom, directGetSince, wholeStream } from '../nats/direct-get.ts'
import { lastSequence, nextAtLeader } from '../nats/event-stream.ts'
import { isTransient } from '../nats/publish.ts'
import type { CloudEvent } from './envelope.ts'
import { type LoggedEvent, loggedEvent, Tail } from './tail.ts'

/** All that is given must hold. */
export interface FeedFilter {
  readonly entity?: string
  readonly verb?: string
  /** Of the name that the event is about; events about anything else do not pass. */
  readonly namePrefix?: string
  /** Of the object, or of what a name stands for; CIDv1 base32. */
  readonly cid?: string
  readonly owner?: string
  /** Of the undertaking: a put and all that was done for it at any site. */
  readonly correlation?: string
}

export interface FedEvent {
  readonly sequence: number
  readonly event: CloudEvent
}

export interface FeedOptions {
  readonly signal: AbortSignal
  /** False: ends with what the log held at the call. */
  readonly live: boolean
}

export interface FeedParts {
  readonly nats: Nats
  readonly stream: string
  readonly domain: string
  /** Whose log is read; it holds the events of all sites. */
  readonly site: string
  readonly space: string
  /** How long an answer is waited for where nobody follows. */
  readonly waitMs: number
}

/** Of the first page out of the log; each further one has twice as much, since each costs the server a look over all the log. */
const pageEvents = 256
const pageBytesMax = 128 * 1024
const pageGrowthMax = 8
const pauseMs = 100

/**
 * The log read forwards: what is old in pages, as fast as the reader takes them, then what happens, out of one shared tail.
 * A follower costs one page of memory, and nothing at the server. One who falls behind the tail reads pages again.
 */
export class Feed {
  readonly #parts: FeedParts
  readonly #tail: Tail

  constructor(parts: FeedParts) {
    this.#parts = parts
    this.#tail = new Tail(parts.nats, parts.stream, parts)
  }

  get followers(): number {
    return this.#tail.followers
  }

  /**
   * Events after the sequence `after`, once each and in order. An outage of the server is waited out.
   * @throws the signal's reason; AppError STORE_UNAVAILABLE when it is not live and the server stays away
   */
  async *follow(filter: FeedFilter, after: number, { signal, live }: FeedOptions): AsyncGenerator<FedEvent> {
    const { waitMs, space, stream, domain } = this.#parts
    const patience = live ? Number.POSITIVE_INFINITY : waitMs
    const leave = await patiently(patience, signal, () => this.#tail.join())
    try {
      const until = live ? Number.POSITIVE_INFINITY : await this.last({ signal })
      const passes = passing(filter, space)
      const subject = subjectOf(filter, domain, space)
      let position = after
      let growth = 1
      while (position < until) {
        signal.throwIfAborted()
        const from = position
        const times = growth
        const kept = this.#tail.since(from)
        const recent = kept ?? (await patiently(patience, signal, () => this.#page(stream, subject, from, times)))
        growth = kept === undefined ? Math.min(2 * growth, pageGrowthMax) : 1
        for (const logged of recent.events) {
          if (logged.sequence > until) return
          if (passes(logged)) yield { sequence: logged.sequence, event: logged.event }
        }
        if (recent.upTo > position) position = recent.upTo
        else if (this.#tail.last <= position) await this.#tail.after(position, signal)
        // It is known to be there, and whoever was asked lags behind.
        else await pause(pauseMs, signal)
      }
    } finally {
      leave()
    }
  }

  /** @throws AppError STORE_UNAVAILABLE */
  last({ signal }: { readonly signal: AbortSignal }): Promise<number> {
    const { nats, stream, waitMs } = this.#parts
    return patiently(waitMs, signal, () => lastSequence(nats, stream))
  }

  /**
   * The sequence before the first event that the server stored at this time or later.
   * @throws AppError STORE_UNAVAILABLE
   */
  async sequenceBefore(time: Date, { signal }: { readonly signal: AbortSignal }): Promise<number> {
    const { nats, stream, domain, waitMs } = this.#parts
    const last = await this.last({ signal })
    const { requests } = nats.log
    const found = await patiently(waitMs, signal, () => directGetSince(requests, stream, `${domain}.evt.>`, time))
    return found === undefined ? last : found.seq - 1
  }

  /** The next events on `subject` after `position`. @throws TransientError */
  async #page(stream: string, subject: string, position: number, growth: number) {
    const { nats } = this.#parts
    const known = this.#tail.last
    const { requests } = nats.log
    // Who asks for everything is given other spaces too, and passes them over.
    const asked = subject.endsWith('.*.*.>') ? wholeStream : subject
    const { messages } = await directGetFrom(
      requests,
      stream,
      asked,
      position + 1,
      growth * pageEvents,
      growth * pageBytesMax,
    )
    const events = messages.flatMap(({ seq, subject, data }) => loggedEvent(seq, subject, data) ?? [])
    const end = messages.at(-1)
    if (end !== undefined) return { events, upTo: end.seq }
    const next = await nextAtLeader(nats, stream, subject, position + 1)
    // A follower of the leader that has not caught up says "no more" of what it does not have yet.
    return { events, upTo: next === undefined ? known : Math.min(known, next - 1) }
  }
}

/** What the server can choose by: the rest is looked at here. */
function subjectOf({ entity, verb, cid }: FeedFilter, domain: string, space: string): string {
  const key = entity === 'object' && cid !== undefined ? cid : '>'
  return `${domain}.evt.*.${space}.${entity ?? '*'}.${verb ?? '*'}.${key}`
}

function passing(filter: FeedFilter, space: string): (logged: LoggedEvent) => boolean {
  const { entity, verb, namePrefix, cid, owner, correlation } = filter
  return (logged) => {
    const { event } = logged
    if (logged.space !== space) return false
    if (entity !== undefined && logged.entity !== entity) return false
    if (verb !== undefined && logged.verb !== verb) return false
    if (owner !== undefined && event.owner !== owner) return false
    if (correlation !== undefined && event.correlationid !== correlation) return false
    if (cid !== undefined && event.subject !== cid && !linksTo(event.data.cid, cid)) return false
    return namePrefix === undefined || (nameOf(logged)?.startsWith(namePrefix) ?? false)
  }
}

function nameOf({ entity, event }: LoggedEvent): string | undefined {
  if (entity === 'name') return event.subject
  return typeof event.data.name === 'string' ? event.data.name : undefined
}

/** A CID in an event's data is a link of DAG-JSON. */
function linksTo(value: unknown, cid: string): boolean {
  if (typeof value === 'string') return value === cid
  return typeof value === 'object' && value !== null && '/' in value && value['/'] === cid
}

async function patiently<T>(waitMs: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + waitMs
  for (;;) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (!isTransient(error)) throw error
      if (performance.now() > endMs) {
        throw new AppError('STORE_UNAVAILABLE', 'the event log does not answer', { cause: error })
      }
      await pause(pauseMs, signal)
    }
  }
}
