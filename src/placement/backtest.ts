import type { StoreRef } from '../blocks/store-ref.ts'
import type { Copy, Inventory, RootContext, RootFacts } from './model.ts'
import { Planner, type PlanOptions } from './plan.ts'
import type { PlanStep } from './plan-model.ts'
import type { CompiledPolicy } from './policy.ts'

/** One read as the read log has it. */
export interface ReadOfLog {
  readonly rootKey: string
  readonly site: string
  readonly bytes: number
  readonly timeMs: number
}

export interface SiteHits {
  readonly reads: number
  /** Answered from a copy at the site. */
  readonly hits: number
  /** Of what was read elsewhere. */
  readonly bytesCrossed: number
}

export interface BacktestResult {
  readonly reads: number
  readonly roots: number
  /** Of content that is not known here any more, or never was. */
  readonly readsUnknown: number
  readonly hitRate: number
  readonly sites: Readonly<Record<string, SiteHits & { readonly hitRate: number }>>
  /** By reads that no copy at their site could answer. */
  readonly bytesCrossed: number
  /** By copies that the policy had made. */
  readonly copies: {
    readonly made: number
    readonly removed: number
    readonly bytes: number
    readonly bytesCrossed: number
  }
}

export interface BacktestOptions extends Omit<PlanOptions, 'nowMs'> {
  /** Reads count for half after so long. */
  readonly halfLifeMs?: number
}

const halfLifeMsDefault = 10 * 60_000
const roundsMax = 32
/** A rate changes with each read; planning for each would only cost. */
const planEveryMs = 30_000

interface Track {
  facts: RootFacts
  readonly rates: Map<string, { count: number; atMs: number }>
  plannedMs: number
}

/**
 * What a policy would have meant for reads that were: a root lies where it was put first, then where the policy has it,
 * copies are made and dropped at once, and reads heat it as they come. Pure: nothing but its input and what it has been told.
 */
export class Backtest {
  readonly #policy: CompiledPolicy
  readonly #inventory: Inventory
  readonly #options: BacktestOptions
  readonly #tracks = new Map<string, Track>()
  readonly #sites = new Map<string, { reads: number; hits: number; bytesCrossed: number }>()
  readonly #copies = { made: 0, removed: 0, bytes: 0, bytesCrossed: 0 }
  readonly #byDemand: boolean
  readonly #byAge: boolean
  #unknown = 0

  constructor(policy: CompiledPolicy, inventory: Inventory, options: BacktestOptions = {}) {
    this.#policy = policy
    // Nobody knows who was down then.
    this.#inventory = { ...inventory, sites: inventory.sites.map((site) => ({ ...site, up: site.state === 'active' })) }
    this.#options = options
    const asks = JSON.stringify(policy.rules)
    this.#byDemand = asks.includes('"demand"')
    this.#byAge = asks.includes('"ageSeconds"') || asks.includes('"ttlSeconds"')
  }

  knows(rootKey: string): boolean {
    return this.#tracks.has(rootKey)
  }

  get roots(): number {
    return this.#tracks.size
  }

  /** Before its first read. Of the copies of now it takes the one that the content came by. */
  begin(rootKey: string, facts: RootFacts, context: RootContext, timeMs: number): void {
    const origin = facts.copies.find(({ site }) => site === facts.originSite) ?? facts.copies[0]
    const at = origin ?? { site: facts.originSite, store: this.#storeOf(facts.originSite) }
    const copies: readonly Copy[] = [{ ...at, state: 'verified', verifiedAt: facts.addedAt, eventId: '' }]
    const track = { facts: { ...facts, copies, deleted: false }, rates: new Map(), plannedMs: Number.NEGATIVE_INFINITY }
    this.#tracks.set(rootKey, track)
    this.#settle(track, context, timeMs)
  }

  /** In the order of time. One of a root that was not begun is only counted. */
  read({ rootKey, site, bytes, timeMs }: ReadOfLog, context: RootContext): void {
    const track = this.#tracks.get(rootKey)
    if (track === undefined) {
      this.#unknown++
      return
    }
    const sums = this.#sites.get(site) ?? { reads: 0, hits: 0, bytesCrossed: 0 }
    this.#sites.set(site, sums)
    sums.reads++
    if (track.facts.copies.some((copy) => copy.site === site)) sums.hits++
    else sums.bytesCrossed += bytes
    if (!this.#byDemand && !this.#byAge) return
    this.#heat(track, site, timeMs)
    if (timeMs - track.plannedMs >= planEveryMs || !track.facts.copies.some((copy) => copy.site === site)) {
      this.#settle(track, context, timeMs)
    }
  }

  result(): BacktestResult {
    let reads = 0
    let hits = 0
    let bytesCrossed = 0
    for (const sums of this.#sites.values()) {
      reads += sums.reads
      hits += sums.hits
      bytesCrossed += sums.bytesCrossed
    }
    const sites = [...this.#sites].sort(([a], [b]) => (a < b ? -1 : 1))
    return {
      reads,
      roots: this.#tracks.size,
      readsUnknown: this.#unknown,
      hitRate: shareOf(hits, reads),
      sites: Object.fromEntries(
        sites.map(([site, sums]) => [site, { ...sums, hitRate: shareOf(sums.hits, sums.reads) }]),
      ),
      bytesCrossed,
      copies: this.#copies,
    }
  }

  /** Carries out steps until there are none. */
  #settle(track: Track, context: RootContext, timeMs: number): void {
    track.plannedMs = timeMs
    const demand = this.#byDemand ? this.#demandOf(track, timeMs) : {}
    const planner = new Planner(this.#policy, this.#inventory, { ...this.#options, nowMs: timeMs })
    for (let round = 0; round < roundsMax; round++) {
      const { steps } = planner.plan(track.facts, { ...context, demand })
      // A store that does not exist is no place for a copy in this game: the site would have it in any case.
      const real = steps.filter(({ newStore }) => !newStore)
      if (real.length === 0) return
      for (const step of real) this.#carryOut(track, step)
    }
  }

  #carryOut(track: Track, { kind, to, bytes }: PlanStep): void {
    const { facts } = track
    const others = facts.copies.filter((copy) => copy.site !== to.site || copy.store !== to.store)
    if (kind === 'remove') {
      this.#copies.removed++
      track.facts = { ...facts, copies: others }
      return
    }
    this.#copies.made++
    this.#copies.bytes += bytes
    if (!others.some(({ site }) => site === to.site)) this.#copies.bytesCrossed += bytes
    const copy: Copy = { ...to, state: 'verified', verifiedAt: facts.addedAt, eventId: '' }
    track.facts = { ...facts, copies: [...others, copy].sort(byPlace) }
  }

  #heat({ rates }: Track, site: string, timeMs: number): void {
    const rate = rates.get(site)
    const count = rate === undefined ? 0 : this.#decayed(rate, timeMs)
    rates.set(site, { count: count + 1, atMs: timeMs })
  }

  /** Reads a minute. */
  #demandOf({ rates }: Track, timeMs: number): Record<string, number> {
    const perMinute = Math.LN2 / (this.#halfLifeMs / 60_000)
    return Object.fromEntries(Array.from(rates, ([site, rate]) => [site, this.#decayed(rate, timeMs) * perMinute]))
  }

  #decayed({ count, atMs }: { readonly count: number; readonly atMs: number }, timeMs: number): number {
    return count * 2 ** (-Math.max(0, timeMs - atMs) / this.#halfLifeMs)
  }

  get #halfLifeMs(): number {
    return this.#options.halfLifeMs ?? halfLifeMsDefault
  }

  #storeOf(site: string): string {
    const stores = this.#inventory.stores.filter((store) => store.site === site)
    return (stores.find(({ primary }) => primary) ?? stores[0])?.store ?? 'a'
  }
}

const shareOf = (part: number, whole: number): number => (whole === 0 ? 0 : Number((part / whole).toFixed(4)))

const byPlace = (a: StoreRef, b: StoreRef): number =>
  a.site === b.site ? (a.store < b.store ? -1 : 1) : a.site < b.site ? -1 : 1
