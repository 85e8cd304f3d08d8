import { setImmediate as breathe } from 'node:timers/promises'
import { unlessAborted } from '../lib/unless-aborted.ts'
import type { Facts } from './facts.ts'
import type { Inventory } from './model.ts'
import { placementPicture } from './picture.ts'
import { type PlacementSummary, Summary } from './summary.ts'

export interface OverviewParts {
  readonly facts: Pick<Facts, 'all'>
  readonly inventory: () => Inventory
}

const keptMsMin = 3_000
/** Adding up goes on for no more than this share of the time, however often it is asked for. */
const shareMax = 1 / 10

/** Where copies lie, added up over all roots. Kept for a while and made by one at a time: asking often costs nothing. */
export class Overview {
  readonly #parts: OverviewParts
  readonly #stop = new AbortController()
  #kept: { readonly summary: PlacementSummary; readonly untilMs: number } | undefined
  #adding: Promise<PlacementSummary> | undefined

  constructor(parts: OverviewParts) {
    this.#parts = parts
  }

  /** @throws AppError STORE_UNAVAILABLE; the signal's reason */
  summary({ signal }: { readonly signal: AbortSignal }): Promise<PlacementSummary> {
    if (this.#kept !== undefined && performance.now() < this.#kept.untilMs) return Promise.resolve(this.#kept.summary)
    this.#adding ??= this.#add().finally(() => {
      this.#adding = undefined
    })
    return unlessAborted(this.#adding, signal)
  }

  /** As an SVG. */
  async picture(options: { readonly signal: AbortSignal }): Promise<string> {
    return placementPicture(await this.summary(options))
  }

  close(): void {
    this.#stop.abort(new Error('the node stops'))
  }

  async #add(): Promise<PlacementSummary> {
    const startMs = performance.now()
    const summary = new Summary(this.#parts.inventory())
    for await (const page of this.#parts.facts.all(this.#stop.signal)) {
      for (const [, facts] of page) summary.add(facts)
      await breathe()
    }
    const endMs = performance.now()
    const keptMs = Math.max(keptMsMin, (endMs - startMs) / shareMax)
    this.#kept = { summary: summary.result, untilMs: endMs + keptMs }
    return this.#kept.summary
  }
}
