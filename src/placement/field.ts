import { type Copy, type Inventory, type RootFacts, type StoreRecord, type StoreRef, storeKey } from './model.ts'
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

/** An inventory as one rule sees it. */
export interface Field {
  readonly rule: PolicyRule
  /** Why the rule cannot be met by any content. */
  readonly unmet: readonly string[]
  /** Failure domains that the rule asks for: one where it only wants stores. */
  readonly domainsWanted: number
  /** Its store exists and its site is up. */
  isReachable(at: StoreRef): boolean
  /** The rule lets a copy lie there. */
  isAllowed(at: StoreRef): boolean
  /** A surplus copy there can be told to go: its site hears it. */
  mayTakeFrom(at: StoreRef): boolean
  weightOf(copies: readonly Copy[]): number
  weightOfCandidates(candidates: readonly Candidate[]): number
  domainsOf(copies: readonly Copy[]): ReadonlySet<string>
  /** Where the copies should be, the most wanted first: at least `min`, at most `max`, if there is room. */
  choose(facts: RootFacts, near: readonly string[], held: ReadonlyMap<string, Copy>): readonly Candidate[]
}

/** Kept free in a store that is chosen anew, so that a plan does not turn with every block: a share of what is free. */
const reserveShare = 0.05

export function fieldOf(rule: PolicyRule, inventory: Inventory, storesPerSiteMax: number): Field {
  const sites = new Map(inventory.sites.map((site) => [site.site, site]))
  const stores = inventory.stores.filter(
    ({ state, site }) => state !== 'removed' && sites.get(site)?.state === 'active',
  )
  const byKey = new Map(stores.map((store) => [storeKey(store), store]))
  const isUp = ({ site }: StoreRef) => sites.get(site)?.up === true
  const allows = ({ site }: StoreRef) => {
    const record = sites.get(site)
    return record !== undefined && (rule.sites?.some((place) => matches(place, record)) ?? true)
  }
  const isAvoided = ({ site }: StoreRef) => {
    const record = sites.get(site)
    return record !== undefined && (rule.avoid?.some((place) => matches(place, record)) ?? false)
  }
  const failureDomains = (at: StoreRef): readonly string[] => {
    const zones = byKey.get(storeKey(at))?.zones ?? []
    if (zones.length > 0) return zones
    const zone = sites.get(at.site)?.labels.zone
    return [zone === undefined ? `site:${at.site}` : `zone:${zone}`]
  }
  const spreadDomains = (at: StoreRef): readonly string[] => {
    if (rule.spread === 'store') return [storeKey(at)]
    return rule.spread === 'site' ? [at.site] : failureDomains(at)
  }
  const weight = (at: StoreRef) => Math.max(1, byKey.get(storeKey(at))?.zones.length ?? 1)
  const candidateOf = (at: StoreRef, isNew: boolean, freeBytes: number): Candidate => ({
    site: at.site,
    store: at.store,
    key: storeKey(at),
    hash: hash32(storeKey(at)),
    isNew,
    avoided: isAvoided(at),
    domains: spreadDomains(at),
    weight: isNew ? 1 : weight(at),
    freeBytes,
    why: isNew ? `a further store at ${at.site}, for want of other places` : `${storeKey(at)} may hold it`,
  })
  const takers = stores.filter((store) => store.state === 'active' && isUp(store) && allows(store))
  const existing = takers.map((store) => candidateOf(store, false, store.freeBytes ?? Number.POSITIVE_INFINITY))
  const further = furtherStores(takers, inventory.stores, storesPerSiteMax).map((at) =>
    candidateOf(at, true, Number.POSITIVE_INFINITY),
  )
  const allowedKeys = new Set(stores.filter((store) => store.state === 'active' && allows(store)).map(storeKey))
  const choice = { rule, existing, further }
  return {
    rule,
    unmet: takers.length === 0 ? [`rule ${rule.name}: no store that is up may hold a copy`] : [],
    domainsWanted: rule.spread === 'store' ? 1 : Number.POSITIVE_INFINITY,
    isReachable: (at) => byKey.has(storeKey(at)) && isUp(at),
    isAllowed: (at) => allowedKeys.has(storeKey(at)),
    mayTakeFrom: isUp,
    weightOf: (copies) => copies.reduce((sum, copy) => sum + weight(copy), 0),
    weightOfCandidates: (candidates) => candidates.reduce((sum, candidate) => sum + candidate.weight, 0),
    domainsOf: (copies) => new Set(copies.flatMap((copy) => failureDomains(copy))),
    choose: (facts, near, held) => choose(choice, facts, near, held),
  }
}

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
  const weight = () => chosen.reduce((sum, candidate) => sum + candidate.weight, 0)
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
