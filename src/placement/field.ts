import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { Copy, Inventory, RootFacts, StoreRecord } from './model.ts'
import { matches } from './place.ts'
import type { PolicyRule } from './plan-model.ts'
import { hash32, rendezvousScore } from './rendezvous.ts'

/** A store that a copy may lie in by a rule. */
export interface Candidate extends StoreRef {
  readonly key: string
  readonly hash: number
  /** Does not exist yet. */
  readonly isNew: boolean
  readonly avoided: boolean
  /** What no two copies should share. */
  readonly domains: readonly string[]
  /** How many copies it counts for: its zones. */
  readonly weight: number
  readonly freeBytes: number
  readonly why: string
}

/** Kept free in a store that is chosen anew, so that a plan does not turn with every block: a share of what is needed. */
const reserveShare = 0.05

/** An inventory as one rule sees it. */
export class Field {
  readonly rule: PolicyRule
  /** Why the rule cannot be met by any content. */
  readonly unmet: readonly string[]
  /** Failure domains that the rule asks for: one where it only wants stores. */
  readonly domainsWanted: number
  readonly #sites: ReadonlyMap<string, Inventory['sites'][number]>
  readonly #stores: ReadonlyMap<string, StoreRecord>
  readonly #existing: readonly Candidate[]
  readonly #further: readonly Candidate[]

  constructor(rule: PolicyRule, inventory: Inventory, storesPerSiteMax: number) {
    this.rule = rule
    this.#sites = new Map(inventory.sites.map((site) => [site.site, site]))
    const present = inventory.stores.filter(
      ({ state, site }) => state !== 'removed' && this.#sites.get(site)?.state === 'active',
    )
    this.#stores = new Map(present.map((store) => [storeKey(store), store]))
    const takers = present.filter((store) => this.#isUp(store) && this.isAllowed(store))
    this.#existing = takers.map((store) => this.#candidate(store, store.freeBytes ?? Number.POSITIVE_INFINITY, false))
    this.#further = furtherStores(takers, inventory.stores, storesPerSiteMax).map((at) =>
      this.#candidate(at, Number.POSITIVE_INFINITY, true),
    )
    this.unmet = takers.length === 0 ? [`rule ${rule.name}: no store that is up may hold a copy`] : []
    this.domainsWanted = rule.spread === 'store' ? 1 : Number.POSITIVE_INFINITY
  }

  /** Its store exists and its site is up. */
  isReachable(at: StoreRef): boolean {
    return this.#stores.has(storeKey(at)) && this.#isUp(at)
  }

  /** The rule lets a copy lie there. */
  isAllowed(at: StoreRef): boolean {
    return this.#stores.get(storeKey(at))?.state === 'active' && this.#isOneOf(this.rule.sites, at, true)
  }

  /** How many copies these count for. */
  weightOf(copies: readonly Copy[]): number {
    return copies.reduce((sum, copy) => sum + this.#weight(copy), 0)
  }

  domainsOf(copies: readonly Copy[]): ReadonlySet<string> {
    return new Set(copies.flatMap((copy) => this.#failureDomains(copy)))
  }

  /** Where the copies should be, the most wanted first: at least `min`, at most `max`, if there is room. */
  choose(facts: RootFacts, near: readonly string[], held: ReadonlyMap<string, Copy>): readonly Candidate[] {
    return choose({ rule: this.rule, existing: this.#existing, further: this.#further }, facts, near, held)
  }

  #isUp({ site }: StoreRef): boolean {
    return this.#sites.get(site)?.up === true
  }

  #isOneOf(places: readonly string[] | undefined, { site }: StoreRef, otherwise: boolean): boolean {
    const record = this.#sites.get(site)
    return record !== undefined && (places?.some((place) => matches(place, record)) ?? otherwise)
  }

  #weight(at: StoreRef): number {
    return Math.max(1, this.#stores.get(storeKey(at))?.zones.length ?? 1)
  }

  #failureDomains(at: StoreRef): readonly string[] {
    const zones = this.#stores.get(storeKey(at))?.zones ?? []
    if (zones.length > 0) return zones
    const zone = this.#sites.get(at.site)?.labels.zone
    return [zone === undefined ? `site:${at.site}` : zone]
  }

  #spreadDomains(at: StoreRef): readonly string[] {
    if (this.rule.spread === 'store') return [storeKey(at)]
    return this.rule.spread === 'site' ? [at.site] : this.#failureDomains(at)
  }

  #candidate(at: StoreRef, freeBytes: number, isNew: boolean): Candidate {
    const key = storeKey(at)
    return {
      site: at.site,
      store: at.store,
      key,
      hash: hash32(key),
      isNew,
      avoided: this.#isOneOf(this.rule.avoid, at, false),
      domains: this.#spreadDomains(at),
      weight: this.#weight(at),
      freeBytes,
      why: isNew ? `a further store at ${at.site}, for want of other places` : `${key} may hold it`,
    }
  }
}

export const weightOfCandidates = (candidates: readonly Candidate[]): number =>
  candidates.reduce((sum, { weight }) => sum + weight, 0)

/** Names for stores that do not exist yet, round the sites in turn: `b`, `c`, … */
function furtherStores(takers: readonly StoreRecord[], all: readonly StoreRecord[], perSiteMax: number): StoreRef[] {
  const result: StoreRef[] = []
  const sites = [...new Set(takers.map(({ site }) => site))].sort()
  for (let round = 0; round < perSiteMax; round++) {
    for (const site of sites) {
      const taken = new Set(all.filter((store) => store.site === site).map(({ store }) => store))
      const present = takers.filter((store) => store.site === site).length
      const names = 'abcdefghijklmnopqrstuvwxyz'.split('').filter((name) => !taken.has(name))
      const store = names[round]
      if (store !== undefined && present + round < perSiteMax) result.push({ site, store })
    }
  }
  return result
}

interface Choice {
  readonly rule: PolicyRule
  readonly existing: readonly Candidate[]
  readonly further: readonly Candidate[]
}

interface Rated {
  readonly candidate: Candidate
  readonly near: number
  readonly held: boolean
  readonly score: number
}

/**
 * First the copies that make the content safe: each on a failure domain of its own as long as there is one, near ones first.
 * Then further ones up to `max`: at sites that want it near, and where it lies already.
 */
function choose(
  { rule, existing, further }: Choice,
  facts: RootFacts,
  near: readonly string[],
  held: ReadonlyMap<string, Copy>,
): readonly Candidate[] {
  const { min, max } = rule.copies
  const rootHash = hash32(facts.root)
  const need = (facts.bytes ?? 0) * (1 + reserveShare)
  const rate = (candidate: Candidate): Rated[] => {
    const state = held.get(candidate.key)?.state
    const isHeld = state === 'verified' || state === 'requested'
    if (!isHeld && candidate.freeBytes < need) return []
    const rank = near.indexOf(candidate.site)
    const score = rendezvousScore(rootHash, candidate.hash)
    return [{ candidate, near: rank < 0 ? 0 : near.length - rank, held: isHeld, score }]
  }
  const rated = existing.flatMap(rate)
  const chosen: Candidate[] = []
  const used = new Set<string>()
  const take = ({ candidate }: Rated) => {
    chosen.push(candidate)
    for (const domain of candidate.domains) used.add(domain)
  }
  const weight = () => weightOfCandidates(chosen)
  while (weight() < min && rated.length > 0) {
    for (const one of rated.splice(best(rated, used, rule.spread !== undefined), 1)) take(one)
  }
  // In their order: each root that needs one takes the same, so that no more are made than are needed.
  for (const one of further.flatMap(rate)) if (weight() < min) take(one)
  for (const one of rated.filter(({ near: wanted, held: is }) => wanted > 0 || is).sort(asExtra)) {
    const { candidate } = one
    if (weight() + candidate.weight > max) continue
    const isMissingThere = one.near > 0 && !chosen.some(({ site }) => site === candidate.site)
    if (isMissingThere || one.held) take(one)
  }
  return chosen
}

const asExtra = (a: Rated, b: Rated): number =>
  b.near - a.near ||
  Number(b.held) - Number(a.held) ||
  b.score - a.score ||
  (a.candidate.key < b.candidate.key ? -1 : 1)

/** Index of the best: a new failure domain, then nearness, then what need not be avoided, then where it lies already. */
function best(rated: readonly Rated[], used: ReadonlySet<string>, spreads: boolean): number {
  let at = 0
  for (let index = 1; index < rated.length; index++) {
    const one = rated[index]
    const other = rated[at]
    if (one !== undefined && other !== undefined && compare(one, other, used, spreads) > 0) at = index
  }
  return at
}

function compare(a: Rated, b: Rated, used: ReadonlySet<string>, spreads: boolean): number {
  const fresh = ({ candidate }: Rated) => Number(candidate.domains.some((domain) => !used.has(domain)))
  return (
    fresh(a) - fresh(b) ||
    Number(b.candidate.avoided) - Number(a.candidate.avoided) ||
    a.near - b.near ||
    (spreads ? 0 : Number(a.held) - Number(b.held)) ||
    a.score - b.score ||
    (a.candidate.key < b.candidate.key ? 1 : -1)
  )
}
