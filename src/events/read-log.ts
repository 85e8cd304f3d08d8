import { setTimeout as delay } from 'node:timers/promises'
import { BufferPool } from '../lib/buffer-pool.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { Nats } from '../nats/connection.ts'
import { publish, publishRun } from '../nats/publish.ts'
import { Frames } from '../nats/wire-frames.ts'
import type { EventSource } from './envelope.ts'
import { encodeDropped, type ReadContext, type ReadEntry } from './read-event.ts'
import { ReadTemplates } from './read-template.ts'

export interface ReadLogParts {
  readonly nats: Nats
  readonly source: EventSource
  /** Reads that wait in memory; more are dropped, and counted. */
  readonly pendingMax?: number
  /** Makes the stream where somebody has deleted it. */
  readonly makeAnew?: () => Promise<void>
  /** False while a record could fill up the store; the read is dropped then, and counted. */
  readonly hasRoom?: () => boolean
}

const pendingMaxDefault = 10_000
const pendingBytesMax = 8 * MiB
/** The event of one read may not be larger: its path is as long as a client likes. */
const framesBytes = 64 * KiB
const pendingFramesMax = pendingBytesMax / framesBytes
/** Of what shares an acknowledgement. Far below the 10,000 messages that a stream of the server holds for its writer. */
const framesPerRunMax = 16
/** How long reads gather, so that they share a run. */
const lingerMs = 5
/** Longest silence about drops while they go on. */
const dropReportMs = 1_000
const pauseMs = 100
/** What a stop waits for reads that are not written yet. */
const closeMs = 2_000

/**
 * Records reads behind the requests: `read` writes the event into a bounded buffer, as it will go over the wire, and
 * everything else happens later, in runs of messages that share one acknowledgement. Nothing else is kept of a read: objects
 * that live as long as a run takes would cost the garbage collector more than the event costs to write.
 * A read that was recorded may be lost with the process, and may be there twice (with one id) after an outage: it is a log of
 * use, not of state.
 */
export class EventReadLog {
  readonly #nats: Nats
  readonly #source: EventSource
  readonly #templates: ReadTemplates
  readonly #pendingMax: number
  readonly #hasRoom: () => boolean
  readonly #makeAnew: () => Promise<void>
  readonly #closing = new AbortController()
  readonly #buffers = new BufferPool(framesBytes, framesPerRunMax)
  /** Oldest first. Those of a run that is under way are among them. */
  #filled: Frames[] = []
  /** The last of `#filled`, while it may be written to. */
  #open: Frames | undefined
  #pending = 0
  #dropped = 0
  #droppedSince = 0
  #reportedMs = Number.NEGATIVE_INFINITY
  #lastSequence = 0
  #flushing: Promise<void> | undefined
  #reporter: NodeJS.Timeout | undefined

  constructor({ nats, source, pendingMax, hasRoom = () => true, makeAnew = async () => undefined }: ReadLogParts) {
    this.#makeAnew = makeAnew
    this.#hasRoom = hasRoom
    this.#nats = nats
    this.#source = source
    this.#templates = new ReadTemplates(source)
    this.#pendingMax = pendingMax ?? pendingMaxDefault
  }

  /** Never waits, never fails. */
  read(context: ReadContext, record: ReadEntry): void {
    if (this.#pending < this.#pendingMax && this.#hasRoom() && this.#write(context, record)) this.#pending++
    else this.#drop(1)
    this.#flushing ??= this.#flush()
  }

  /** @returns false when there is no room */
  #write(context: ReadContext, record: ReadEntry): boolean {
    const template = this.#templates.of(context, record)
    if (template === undefined) return false
    let frames = this.#open
    let at = frames?.begin(template.frame, template.bytesMax) ?? -1
    if (frames === undefined || at < 0) {
      if (this.#filled.length >= pendingFramesMax) return false
      frames = new Frames(this.#buffers.take())
      at = frames.begin(template.frame, template.bytesMax)
      if (at < 0) return false
      this.#filled.push(frames)
      this.#open = frames
    }
    frames.finish(template.write(frames.buffer, at, record.latencyMs, Date.now()))
    return true
  }

  #drop(count: number): void {
    if (this.#dropped === 0) this.#droppedSince = Date.now()
    this.#dropped += count
  }

  /** Its stream was deleted. @returns how it is now @throws AppError STORE_UNAVAILABLE */
  async restore(): Promise<string> {
    await this.#makeAnew()
    // Sequences begin again.
    this.#lastSequence = 0
    return 'it is there again, empty, and takes reads'
  }

  /** Writes what is left, within two seconds. @returns how many reads were lost with it */
  async close(): Promise<number> {
    this.#closing.abort()
    clearTimeout(this.#reporter)
    this.#reportedMs = Number.NEGATIVE_INFINITY
    if (this.#pending + this.#dropped > 0) this.#flushing ??= this.#flush()
    const gaveUp = new AbortController()
    await Promise.race([this.#flushing, delay(closeMs, undefined, { signal: gaveUp.signal }).catch(() => undefined)])
    gaveUp.abort()
    const lost = this.#pending + this.#dropped
    this.#forget()
    this.#dropped = 0
    return lost
  }

  async #flush(): Promise<void> {
    do {
      if (this.#filled.length < framesPerRunMax) await pause(lingerMs, this.#closing.signal)
      await this.#sendRun()
    } while (this.#pending > 0 || this.#reportDue())
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

  async #sendRun(): Promise<void> {
    const run = this.#filled.slice(0, framesPerRunMax)
    if (run.at(-1) === this.#open) this.#open = undefined
    const { channel, requests } = this.#nats.log
    try {
      if (run.length > 0) {
        const { seq } = await publishRun(channel, requests, run)
        this.#written(run, seq)
      }
      if (this.#reportDue()) await this.#reportDrops()
    } catch {
      // Whatever it is, the reads wait, bounded, and what comes beyond is counted: a read must not fail for its record.
      await pause(pauseMs, undefined)
      if (this.#closing.signal.aborted) {
        this.#dropped += this.#pending
        this.#forget()
        this.#reportedMs = performance.now()
      }
    }
  }

  #written(run: readonly Frames[], sequence: number): void {
    this.#filled.splice(0, run.length)
    let count = 0
    for (const frames of run) {
      count += frames.count
      this.#buffers.give(frames.buffer)
    }
    this.#pending -= count
    // Only the last message is acknowledged. Had the stream not taken some before it, it would have grown by less.
    const grown = sequence - this.#lastSequence
    if (this.#lastSequence > 0 && grown > 0 && grown < count) this.#drop(count - grown)
    this.#lastSequence = sequence
  }

  async #reportDrops(): Promise<void> {
    const dropped = this.#dropped
    const { seq } = await publish(this.#nats.log.requests, encodeDropped(dropped, this.#droppedSince, this.#source))
    this.#lastSequence = seq
    this.#dropped -= dropped
    this.#droppedSince = Date.now()
    this.#reportedMs = performance.now()
  }

  #forget(): void {
    this.#filled = []
    this.#open = undefined
    this.#pending = 0
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}
