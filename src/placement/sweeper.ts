import { setTimeout as delay } from 'node:timers/promises'
import type { StoreHandle } from '../blocks/stores.ts'
import type { Sweep, SweepReport } from './sweep.ts'

export interface SweeperParts {
  readonly sweep: Pick<Sweep, 'run'>
  /** Stores of this site that hold copies only. */
  readonly stores: () => Promise<readonly StoreHandle[]>
  readonly onTrouble: (error: unknown) => void
  /** After a copy was removed: more may follow. */
  readonly afterMs?: number
  /** Also when nothing was heard: what a sweep that was cut off left. */
  readonly everyMs?: number
}

const lookMs = 500
const afterMsDefault = 60_000
const everyMsDefault = 24 * 3600 * 1000

/** Sweeps stores when copies were removed out of them, one store at a time. */
export class Sweeper {
  readonly #parts: SweeperParts
  /** Stores to be swept, and when. */
  readonly #due = new Map<string, number>()
  readonly #last = new Map<string, SweepReport>()
  #freed = 0

  constructor(parts: SweeperParts) {
    this.#parts = parts
  }

  /** The last report of each store, and the sum of blocks freed since the start. */
  get status(): { readonly freed: number; readonly stores: readonly SweepReport[] } {
    return { freed: this.#freed, stores: [...this.#last.values()] }
  }

  /** A copy was removed out of this store of the site. */
  want(store: string): void {
    const { afterMs = afterMsDefault } = this.#parts
    if (!this.#due.has(store)) this.#due.set(store, performance.now() + afterMs)
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { stores, sweep, onTrouble, everyMs = everyMsDefault } = this.#parts
    // What was wanted of the one before is not known.
    let allMs = performance.now() - everyMs + (this.#parts.afterMs ?? afterMsDefault)
    while (!signal.aborted) {
      const nowMs = performance.now()
      const isAllDue = nowMs - allMs > everyMs
      if (isAllDue) allMs = nowMs
      const isDue = [...this.#due.values()].some((dueMs) => dueMs <= nowMs)
      try {
        for (const handle of isDue || isAllDue ? await stores() : []) {
          if (!isAllDue && (this.#due.get(handle.store) ?? Number.POSITIVE_INFINITY) > nowMs) continue
          this.#due.delete(handle.store)
          const report = await sweep.run(handle, signal)
          this.#last.set(handle.store, report)
          this.#freed += report.freed
          if (report.young > 0) this.want(handle.store)
        }
      } catch (error) {
        if (signal.aborted) return
        onTrouble(error)
        allMs = nowMs - everyMs + (this.#parts.afterMs ?? afterMsDefault)
      }
      await delay(lookMs, undefined, { signal }).catch(() => undefined)
    }
  }
}
