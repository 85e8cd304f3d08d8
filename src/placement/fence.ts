import { setTimeout as delay } from 'node:timers/promises'
import type { KvBucket } from '../nats/kv-bucket.ts'

/** A fence that nobody has touched for so long belongs to a sweep that is no more. */
const abandonedMsDefault = 60_000
const lookMs = 50

/**
 * Keeps the sweep of a store and copies on their way into it apart, over all nodes of the site: KV `<d>_placement`,
 * `<space>.fence.<site>.<store>`.
 *
 * A copy is told in the log (`copy.requested`) before it is asked here whether something is swept; a sweep puts up the fence
 * before it looks which copies the log knows. Both are read and written at the leader, so one of the two sees the other.
 */
export class Fence {
  readonly #bucket: KvBucket
  readonly #prefix: string
  readonly #abandonedMs: number

  constructor(
    bucket: KvBucket,
    { space, site }: { readonly space: string; readonly site: string },
    abandonedMs?: number,
  ) {
    this.#bucket = bucket
    this.#prefix = `${space}.fence.${site}.`
    this.#abandonedMs = abandonedMs ?? abandonedMsDefault
  }

  /** Until nothing is swept out of the store. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async swept(store: string, signal: AbortSignal): Promise<void> {
    let seen: { readonly seq: number; readonly atMs: number } | undefined
    for (;;) {
      const record = await this.#bucket.get(this.#prefix + store, signal)
      if (record === undefined || record.removed) return
      // By our own clock, since we saw it last change.
      if (seen?.seq !== record.seq) seen = { seq: record.seq, atMs: performance.now() }
      if (performance.now() - seen.atMs > this.#abandonedMs) return
      await delay(lookMs, undefined, { signal })
    }
  }

  /**
   * Runs `work` behind the fence: nobody else sweeps, and copies told from now on wait. `holds` is false when so much time has
   * passed that others no longer wait: then nothing may be deleted any more.
   * @returns undefined when another one sweeps @throws AppError STORE_UNAVAILABLE
   */
  async behind<T>(
    store: string,
    signal: AbortSignal,
    work: (holds: () => boolean) => Promise<T>,
  ): Promise<T | undefined> {
    const key = this.#prefix + store
    const present = await this.#bucket.get(key, signal)
    const isUp = present !== undefined && !present.removed
    if (isUp && !(await this.#isAbandoned(key, present.seq, signal))) return undefined
    const sentMs = performance.now()
    const seq = await this.#bucket.write(key, Buffer.from('{}'), present?.seq ?? 0)
    if (seq === undefined) return undefined
    try {
      return await work(() => performance.now() - sentMs < this.#abandonedMs / 2)
    } finally {
      await this.#bucket.write(key, undefined, seq)
    }
  }

  async #isAbandoned(key: string, seq: number, signal: AbortSignal): Promise<boolean> {
    const endMs = performance.now() + this.#abandonedMs
    while (performance.now() < endMs) {
      await delay(this.#abandonedMs / 10, undefined, { signal })
      const now = await this.#bucket.get(key, signal)
      if (now === undefined || now.removed || now.seq !== seq) return false
    }
    return true
  }
}
