import { setTimeout as delay } from 'node:timers/promises'
import { isAppError } from '../errors.ts'
import type { KvBucket } from './kv-bucket.ts'

export interface LeaseOptions {
  /** Of the bucket's keys: one lease. */
  readonly key: string
  /** This node. */
  readonly holder: string
  /** A holder that gives no sign for so long has lost it. */
  readonly ttlMs?: number
}

const ttlMsDefault = 10_000

/**
 * Work that one node of a site does at a time. A lease is no lock: one that stalls may go on working for a moment beside its
 * successor, so what is done under it must bear that (compare-and-set, or work that twice does no harm).
 */
export class Lease {
  readonly #bucket: KvBucket
  readonly #key: string
  readonly #holder: string
  readonly #ttlMs: number
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #held = false

  constructor(bucket: KvBucket, { key, holder, ttlMs = ttlMsDefault }: LeaseOptions) {
    this.#bucket = bucket
    this.#key = key
    this.#holder = holder
    this.#ttlMs = ttlMs
  }

  get held(): boolean {
    return this.#held
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
    const stop = this.#stop.signal
    let seen: { readonly seq: number; readonly atMs: number } | undefined
    while (!stop.aborted) {
      const present = await this.#bucket.get(this.#key, stop).catch(() => undefined)
      const seq = present?.seq ?? 0
      if (seen?.seq !== seq) seen = { seq, atMs: performance.now() }
      const isFree = present === undefined || present.removed || performance.now() - seen.atMs > this.#ttlMs
      // By our own clock, since we saw it last change: no clocks have to agree.
      const taken = isFree ? await this.#write(seq) : undefined
      if (taken !== undefined) await this.#hold(taken, work)
      await delay(this.#ttlMs / 4, undefined, { signal: stop }).catch(() => undefined)
    }
  }

  async #hold(seq: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const lost = new AbortController()
    const signal = AbortSignal.any([this.#stop.signal, lost.signal])
    this.#held = true
    const working = this.#repeat(work, signal)
    let last: number | undefined = seq
    while (last !== undefined) {
      await delay(this.#ttlMs / 4, undefined, { signal: this.#stop.signal }).catch(() => undefined)
      if (this.#stop.signal.aborted) break
      last = await this.#write(last)
    }
    this.#held = false
    lost.abort(new Error('the lease was lost'))
    await working
    if (last !== undefined) await this.#bucket.write(this.#key, undefined, last).catch(() => undefined)
  }

  async #repeat(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await work(signal).catch(() => undefined)
      await delay(this.#ttlMs / 20, undefined, { signal }).catch(() => undefined)
    }
  }

  /** @returns the sequence; undefined when another one was faster, or nobody knows */
  async #write(lastSeq: number): Promise<number | undefined> {
    const value = Buffer.from(JSON.stringify({ holder: this.#holder }))
    try {
      return await this.#bucket.write(this.#key, value, lastSeq)
    } catch (error) {
      if (isAppError(error)) return undefined
      throw error
    }
  }
}
