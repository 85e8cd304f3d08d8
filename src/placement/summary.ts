import { storeKey } from '../blocks/store-ref.ts'
import type { Copy, Inventory, RootFacts } from './model.ts'

/** What lies in one store, by what is known of the roots. */
export interface StoreSummary {
  readonly site: string
  readonly store: string
  readonly up: boolean
  readonly state: 'active' | 'draining' | 'removed'
  readonly primary: boolean
  readonly zones: readonly string[]
  /** Bytes in its buckets; of a cut-off site as it last said. */
  readonly usedBytes: number
  /** Roots by the state of their copy there. */
  readonly copies: Readonly<Record<Copy['state'], number>>
  /** Of the DAGs with a verified copy there; what two share counts twice. */
  readonly rootBytes: number
}

export interface PlacementSummary {
  readonly stores: readonly StoreSummary[]
  readonly roots: {
    readonly all: number
    /** As the log last told; the rest needed nothing. */
    readonly degraded: number
    readonly lost: number
    readonly bytes: number
  }
}

/** Adds up the facts of roots in view, one after the other: memory for the stores only. */
export class Summary {
  readonly #inventory: Inventory
  readonly #stores = new Map<string, { copies: Record<Copy['state'], number>; rootBytes: number }>()
  #all = 0
  #degraded = 0
  #lost = 0
  #bytes = 0

  constructor(inventory: Inventory) {
    this.#inventory = inventory
  }

  add(facts: RootFacts): void {
    this.#all++
    this.#bytes += facts.bytes ?? 0
    if (facts.told === 'degraded') this.#degraded++
    if (facts.lost) this.#lost++
    for (const copy of facts.copies) {
      const sum = this.#sumOf(storeKey(copy))
      sum.copies[copy.state]++
      if (copy.state === 'verified') sum.rootBytes += facts.bytes ?? 0
    }
  }

  get result(): PlacementSummary {
    const up = new Set(this.#inventory.sites.filter((site) => site.up).map(({ site }) => site))
    const stores = this.#inventory.stores.map((store): StoreSummary => {
      const { site, store: name, state, primary, zones, usedBytes } = store
      return { site, store: name, up: up.has(site), state, primary, zones, usedBytes, ...this.#sumOf(storeKey(store)) }
    })
    return { stores, roots: { all: this.#all, degraded: this.#degraded, lost: this.#lost, bytes: this.#bytes } }
  }

  #sumOf(key: string) {
    const known = this.#stores.get(key)
    if (known !== undefined) return known
    const sum = { copies: { requested: 0, verified: 0, removing: 0, failed: 0 }, rootBytes: 0 }
    this.#stores.set(key, sum)
    return sum
  }
}
