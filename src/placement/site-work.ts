import { setTimeout as delay } from 'node:timers/promises'
import { together } from '../lib/together.ts'
import type { Facts } from './facts.ts'
import type { Follower } from './follower.ts'
import type { Reconciler } from './reconciler.ts'
import { heardWithinMs, type PlacementView } from './view.ts'

export interface SiteWorkParts {
  readonly site: string
  readonly follower: Follower
  readonly reconciler: Reconciler
  readonly facts: Facts
  readonly view: Pick<PlacementView, 'isReady' | 'areHeard'>
  /** Rises whenever what plans go by has changed. */
  readonly changes: () => number
  /** Beside it, for whoever has the lease. */
  readonly beside: readonly ((signal: AbortSignal) => Promise<unknown>)[]
  readonly reviewEveryMs?: number
}

const lookMs = 100
const pendingMax = 1_000
/** Rules may ask for the age of content, and the index of names may have been behind. */
const reviewEveryMsDefault = 60 * 60 * 1000

/**
 * What one node of a site does for all of it, under the lease: it folds the log, and then looks at roots: at those that the log
 * tells of, and at all of them when what plans go by has changed.
 */
export class SiteWork {
  readonly #parts: SiteWorkParts
  #reviews = 0

  constructor(parts: SiteWorkParts) {
    this.#parts = parts
  }

  /** Times that all roots were looked at. */
  get reviews(): number {
    return this.#reviews
  }

  /** Until the signal aborts. @throws what the fold or a review throws: to be begun again */
  run(signal: AbortSignal): Promise<void> {
    const { follower, reconciler, beside } = this.#parts
    return together(
      signal,
      (either) => follower.run(either),
      async (either) => {
        await this.#isKnown(either)
        await together(
          either,
          (both) => reconciler.run(both),
          (both) => this.#review(both),
          ...beside.map((work) => (both: AbortSignal) => work(both)),
        )
      },
    )
  }

  /**
   * Nothing is decided on half of what is known: before the policy has been read a copy would look like one too many, before
   * the log has been read up a copy that is gone would count, and before the sites were heard they all look down.
   */
  async #isKnown(signal: AbortSignal): Promise<void> {
    const { follower, view } = this.#parts
    while (!view.isReady || !follower.isCaughtUp) await delay(lookMs, undefined, { signal })
    const endMs = performance.now() + heardWithinMs
    while (performance.now() < endMs && !view.areHeard) await delay(lookMs, undefined, { signal })
  }

  /** All roots: once at the start, when what plans go by has changed, when some were left out, and now and then. */
  async #review(signal: AbortSignal): Promise<void> {
    const { reconciler, changes, reviewEveryMs = reviewEveryMsDefault } = this.#parts
    let reviewed = -1
    let reviewedMs = 0
    while (!signal.aborted) {
      const isDue = performance.now() - reviewedMs > reviewEveryMs
      if (reviewed !== changes() || reconciler.takeOverflowed() || isDue) {
        reviewed = changes()
        reviewedMs = performance.now()
        await this.#all(reviewed, signal)
        this.#reviews++
      }
      await delay(lookMs, undefined, { signal })
    }
  }

  async #all(change: number, signal: AbortSignal): Promise<void> {
    const { facts, reconciler, changes } = this.#parts
    for await (const page of facts.all(signal)) {
      for (const [key, known] of page) {
        while (reconciler.pending >= pendingMax) await delay(lookMs / 4, undefined, { signal })
        reconciler.consider(key, known, true)
      }
      // It begins again with what is true now.
      if (change !== changes()) return
    }
  }
}
