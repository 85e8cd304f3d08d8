import { setTimeout as delay } from 'node:timers/promises'
import { isAppError } from '../errors.ts'
import { withDeadline } from '../lib/deadline.ts'
import { unlessAborted } from '../lib/unless-aborted.ts'
import type { KvBucket } from './kv-bucket.ts'

export interface LeaseOptions {
  /** Of the bucket's keys: one lease. */
  readonly key: string
  /** This node. */
  readonly holder: string
  /** A holder that gives no sign for so long has lost it. */
  readonly ttlMs?: number
  /** What the work threw, which is begun again. */
  readonly onTrouble?: (error: unknown) => void
}

const ttlMsDefault = 10_000

/** A stop waits no longer to give it back: without that it is free when its time is over. */
const givingBackMs = 1_000

/**
 * Work that one node of a site does at a time. A holder that cannot renew it stops before anybody else may take it, unless its
 * whole process stands still: then it may go on for a moment beside its successor when it wakes. So what is done under it must
 * bear that (compare-and-set, or work that twice does no harm).
 */
export class Lease {
  readonly #bucket: KvBucket
  readonly #options: LeaseOptions
  readonly #ttlMs: number
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  /** By our clock; 0 = not held. Nobody else takes it before. */
  #heldUntilMs = 0

  constructor(bucket: KvBucket, options: LeaseOptions) {
    this.#bucket = bucket
    this.#options = options
    this.#ttlMs = options.ttlMs ?? ttlMsDefault
  }

  get held(): boolean {
    return performance.now() < this.#heldUntilMs
  }

  /**
   * From now on: whenever this node holds the lease, `work` runs; its signal aborts when the lease is lost or `close` is
   * called. When it ends by itself it is begun again.
   */
  start(work: (signal: AbortSignal) => Promise<void>): void {
    this.#running = this.#run(work)
  }

  /** Ends the work and gives the lease back. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    await this.#running
  }

  async #run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { key, holder } = this.#options
    const stop = this.#stop.signal
    // By our own clock, since we saw it last change: no clocks have to agree.
    let seen: { readonly seq: number; readonly atMs: number } | undefined
    while (!stop.aborted) {
      try {
        const present = await this.#bucket.get(key, stop)
        const seq = present?.seq ?? 0
        if (seen?.seq !== seq) seen = { seq, atMs: performance.now() }
        const isOurs = present !== undefined && !present.removed && holderOf(present.value) === holder
        const isFree = present === undefined || present.removed || isOurs
        if (isFree || performance.now() - seen.atMs > this.#ttlMs) await this.#take(seq, work)
      } catch (error) {
        if (!stop.aborted) this.#tell(error)
      }
      await delay(this.#ttlMs / 4, undefined, { signal: stop }).catch(() => undefined)
    }
  }

  async #take(seq: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const sentMs = performance.now()
    const taken = await this.#write(seq, sentMs)
    if (taken === undefined) return
    const lost = new AbortController()
    const working = this.#repeat(work, AbortSignal.any([this.#stop.signal, lost.signal]))
    const last = await this.#renew(taken)
    this.#heldUntilMs = 0
    lost.abort(new Error('the lease was lost'))
    await working
    if (last === undefined) return
    const giving = AbortSignal.timeout(Math.min(this.#ttlMs, givingBackMs))
    await unlessAborted(this.#bucket.write(this.#options.key, undefined, last), giving).catch(() => undefined)
  }

  /** @returns the sequence by which it is held when this node stops; undefined = it was lost */
  async #renew(taken: number): Promise<number | undefined> {
    const stop = this.#stop.signal
    for (let last = taken; ; ) {
      await delay(this.#ttlMs / 4, undefined, { signal: stop }).catch(() => undefined)
      if (stop.aborted) return last
      const renewed = this.held ? await this.#write(last, performance.now()) : undefined
      if (renewed === undefined) return stop.aborted ? last : undefined
      last = renewed
    }
  }

  /** @returns the sequence; undefined when another one was faster, or nobody knew in time */
  async #write(lastSeq: number, sentMs: number): Promise<number | undefined> {
    const { key, holder } = this.#options
    // Others count from when they saw it change, which is after it was sent.
    const untilMs = sentMs + this.#ttlMs * 0.75
    const endMs = this.held ? this.#heldUntilMs : untilMs
    return withDeadline(Math.max(1, Math.floor(endMs - sentMs)), this.#stop.signal, async (end) => {
      try {
        const seq = await unlessAborted(this.#bucket.write(key, Buffer.from(JSON.stringify({ holder })), lastSeq), end)
        if (seq !== undefined) this.#heldUntilMs = untilMs
        return seq
      } catch (error) {
        if (!end.aborted && !isAppError(error)) this.#tell(error)
        return undefined
      }
    })
  }

  async #repeat(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await work(signal).catch((error: unknown) => {
        if (!signal.aborted) this.#tell(error)
      })
      await delay(this.#ttlMs / 20, undefined, { signal }).catch(() => undefined)
    }
  }

  #tell(error: unknown): void {
    this.#options.onTrouble?.(error)
  }
}

function holderOf(value: Buffer): string | undefined {
  try {
    return (JSON.parse(value.toString('utf8')) as { readonly holder?: string }).holder
  } catch {
    return undefined
  }
}
