import { setImmediate as breathe } from 'node:timers/promises'
import { mapAhead } from '../lib/streams.ts'
import { unlessAborted } from '../lib/unless-aborted.ts'
import type { IsNamed } from './contexts.ts'
import type { Facts } from './facts.ts'
import type { Inventory, RootFacts } from './model.ts'
import { placementPicture } from './picture.ts'
import { type PlacementSummary, Summary } from './summary.ts'

export interface OverviewParts {
  readonly facts: Pick<Facts, 'all'>
  readonly inventory: () => Inventory
  readonly isNamed: IsNamed
}

const keptMsMin = 3_000
/** Adding up goes on for no more than this share of the time, however often it is asked for. */
const shareMax = 1 / 10
const looksAhead = 32

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
    const { facts: all, inventory, isNamed } = this.#parts
    const { signal } = this.#stop
    const summary = new Summary(inventory())
    for await (const page of all.all(signal)) {
      const deleted: RootFacts[] = []
      for (const [, facts] of page) {
        if (facts.deleted) deleted.push(facts)
        else summary.add(facts)
      }
      const looked = mapAhead(deleted, looksAhead, async (facts) => ({ facts, named: await isNamed(facts, signal) }))
      for await (const { facts, named } of looked) if (named) summary.add(facts)
      await breathe()
    }
    const endMs = performance.now()
    const keptMs = Math.max(keptMsMin, (endMs - startMs) / shareMax)
    this.#kept = { summary: summary.result, untilMs: endMs + keptMs }
    return this.#kept.summary
  }
}
