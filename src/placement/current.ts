import type { StoreRef } from '../blocks/store-ref.ts'
import type { Copy, Inventory, RootFacts } from './model.ts'

/** Server and node need not have the same clock. */
const skewMsMax = 60_000

/**
 * Which of the copies that the log tells of can still be there: a store that was made anew (its disk was lost, its streams
 * were deleted) holds nothing of what was verified in the one before.
 */
export class CurrentCopies {
  /** By site, then by store: verified before this is not verified. */
  readonly #since = new Map<string, Map<string, string>>()

  constructor({ stores }: Pick<Inventory, 'stores'>) {
    for (const { site, store, createdAt } of stores) {
      const createdMs = Date.parse(createdAt)
      if (Number.isNaN(createdMs)) continue
      const ofSite = this.#since.get(site) ?? new Map<string, string>()
      this.#since.set(site, ofSite.set(store, new Date(createdMs - skewMsMax).toISOString()))
    }
  }

  /** The facts without copies that are gone; the same object when none is. */
  of(facts: RootFacts): RootFacts {
    return facts.copies.every((copy) => this.#isCurrent(copy))
      ? facts
      : { ...facts, copies: facts.copies.filter((copy) => this.#isCurrent(copy)) }
  }

  /** A copy there that was verified before this is gone; undefined for a store that is not known. */
  since({ site, store }: StoreRef): string | undefined {
    return this.#since.get(site)?.get(store)
  }

  #isCurrent(copy: Copy): boolean {
    const since = this.since(copy)
    return since === undefined || copy.verifiedAt === undefined || copy.verifiedAt >= since
  }
}
