import { setTimeout as delay } from 'node:timers/promises'
import type { Nats } from '../nats/connection.ts'
import { eventsPerBatchMax } from '../nats/layout.ts'
import { publishRun } from '../nats/publish.ts'
import type { EventSource } from './envelope.ts'
import { encodeDropped, encodeRead, type PendingRead, type ReadContext, type ReadEntry } from './read-event.ts'

export interface ReadLogParts {
  readonly nats: Nats
  readonly source: EventSource
  /** Reads that wait in memory; more are dropped, and counted. */
  readonly pendingMax?: number
}

const pendingMaxDefault = 10_000
/** How long reads gather, so that they share a batch. */
const lingerMs = 20
/** Longest silence about drops while they go on. */
const dropReportMs = 1_000
const pauseMs = 100
/** What a stop waits for reads that are not written yet. */
const closeMs = 2_000

/**
 * Records reads behind the requests: `read` is a push onto a bounded list, and everything else happens later, in runs of
 * messages that share one acknowledgement. A read that was recorded may be lost with the process, and may be there twice (with one id) after an
 * outage: it is a log of use, not of state.
 */
export class EventReadLog {
  readonly #nats: Nats
  readonly #source: EventSource
  readonly #pendingMax: number
  readonly #closing = new AbortController()
  #pending: PendingRead[] = []
  #dropped = 0
  #droppedSince = 0
  #reportedMs = Number.NEGATIVE_INFINITY
  #flushing: Promise<void> | undefined
  #reporter: NodeJS.Timeout | undefined

  constructor({ nats, source, pendingMax }: ReadLogParts) {
    this.#nats = nats
    this.#source = source
    this.#pendingMax = pendingMax ?? pendingMaxDefault
  }

  /** Never waits, never fails. */
  read(context: ReadContext, record: ReadEntry): void {
    if (this.#pending.length >= this.#pendingMax) {
      if (this.#dropped === 0) this.#droppedSince = Date.now()
      this.#dropped++
    } else {
      this.#pending.push({ context, record, timeMs: Date.now() })
    }
    this.#flushing ??= this.#flush()
  }

  /** Writes what is left, within two seconds. @returns how many reads were lost with it */
  async close(): Promise<number> {
    this.#closing.abort()
    clearTimeout(this.#reporter)
    this.#reportedMs = Number.NEGATIVE_INFINITY
    if (this.#pending.length + this.#dropped > 0) this.#flushing ??= this.#flush()
    const gaveUp = new AbortController()
    await Promise.race([this.#flushing, delay(closeMs, undefined, { signal: gaveUp.signal }).catch(() => undefined)])
    gaveUp.abort()
    const lost = this.#pending.length + this.#dropped
    this.#pending = []
    this.#dropped = 0
    return lost
  }

  async #flush(): Promise<void> {
    await pause(lingerMs, this.#closing.signal)
    while (this.#pending.length > 0 || this.#reportDue()) await this.#sendBatch()
    this.#flushing = undefined
    // Drops that were told of a moment ago: the next read, or this, tells of the rest.
    if (this.#dropped > 0) this.#reporter ??= setTimeout(() => this.#reportLate(), dropReportMs).unref()
  }

  #reportLate(): void {
    this.#reporter = undefined
    this.#flushing ??= this.#flush()
  }

  #reportDue(): boolean {
    return this.#dropped > 0 && performance.now() - this.#reportedMs >= dropReportMs
  }

  async #sendBatch(): Promise<void> {
    const reportsDrops = this.#reportDue()
    const taken = this.#pending.slice(0, eventsPerBatchMax - (reportsDrops ? 1 : 0))
    const publications = taken.map((pending) => encodeRead(pending, this.#source))
    const dropped = this.#dropped
    if (reportsDrops) publications.push(encodeDropped(dropped, this.#droppedSince, this.#source))
    try {
      const { channel, requests } = this.#nats.log
      await publishRun(channel, requests, publications)
      this.#pending.splice(0, taken.length)
      if (!reportsDrops) return
      this.#dropped -= dropped
      this.#droppedSince = Date.now()
      this.#reportedMs = performance.now()
    } catch {
      // Whatever it is, the reads wait, bounded, and what comes beyond is counted: a read must not fail for its record.
      await pause(pauseMs, undefined)
      if (this.#closing.signal.aborted) {
        this.#dropped += this.#pending.length
        this.#pending = []
        this.#reportedMs = performance.now()
      }
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}
