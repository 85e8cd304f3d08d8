import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { chooseAmong, type Near } from './choose.ts'
import type { Copy, Inventory, RootFacts, SiteRecord, StoreRecord } from './model.ts'
import { matches } from './place.ts'
import type { PolicyRule } from './plan-model.ts'
import { hash32 } from './rendezvous.ts'

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

/** A store that exists, as one rule sees it. */
export interface Place {
  readonly key: string
  readonly up: boolean
  /** The rule lets a copy lie there. */
  readonly allowed: boolean
  /** How many copies one there counts for. */
  readonly weight: number
  readonly failureDomains: readonly string[]
  /** As what it may be chosen; undefined where it is down or not allowed. */
  readonly candidate: Candidate | undefined
}

/** Zones where the store says them, else that of its site, else the site itself. */
export function failureDomainsOf(
  store: Pick<StoreRecord, 'zones' | 'site'> | undefined,
  site: Labelled,
): readonly string[] {
  if (store !== undefined && store.zones.length > 0) return store.zones
  return [site.labels.zone ?? `site:${site.site}`]
}

type Labelled = Pick<SiteRecord, 'site' | 'labels'>

/** An inventory as one rule sees it. What many roots share is worked out once: it is asked a million times. */
export class Field {
  readonly rule: PolicyRule
  /** Why the rule cannot be met by any content. */
  readonly unmet: readonly string[]
  /** Failure domains that the rule asks for: one where it only wants stores. */
  readonly domainsWanted: number
  readonly #sites: ReadonlyMap<string, Inventory['sites'][number]>
  /** By site, then by store. */
  readonly #places = new Map<string, Map<string, Place>>()
  readonly #existing: readonly Candidate[]
  readonly #further: readonly Candidate[]

  constructor(rule: PolicyRule, inventory: Inventory, storesPerSiteMax: number) {
    this.rule = rule
    this.#sites = new Map(inventory.sites.map((site) => [site.site, site]))
    // A site that was removed and is heard all the same is emptied like a store that is drained.
    const isThere = ({ site }: StoreRef) => this.#isActive(site) || this.#sites.get(site)?.up === true
    const present = inventory.stores.filter((store) => store.state !== 'removed' && isThere(store))
    const takers = present.filter((store) => this.#isUp(store) && this.#isAllowed(store))
    const existing = new Map(
      takers.map((store) => [store, this.#candidate(store, store, store.freeBytes ?? Number.POSITIVE_INFINITY)]),
    )
    for (const store of present) this.#add(store, existing.get(store))
    this.#existing = [...existing.values()]
    this.#further = furtherStores(takers, inventory.stores, storesPerSiteMax).map((at) =>
      this.#candidate(at, undefined, Number.POSITIVE_INFINITY),
    )
    this.unmet = takers.length === 0 ? [`rule ${rule.name}: no store that is up may hold a copy`] : []
    this.domainsWanted = rule.spread === 'store' ? 1 : Number.POSITIVE_INFINITY
  }

  /** Undefined for a store, or of a site, that is not there any more. */
  placeOf({ site, store }: StoreRef): Place | undefined {
    return this.#places.get(site)?.get(store)
  }

  /** Where the copies should be, the most wanted first: at least `min`, at most `max`, if there is room. */
  choose(facts: RootFacts, near: Near): readonly Candidate[] {
    return chooseAmong({ rule: this.rule, existing: this.#existing, further: this.#further }, facts, near)
  }

  #add(store: StoreRecord, candidate: Candidate | undefined): void {
    const stores = this.#places.get(store.site) ?? new Map<string, Place>()
    this.#places.set(store.site, stores)
    stores.set(store.store, {
      key: storeKey(store),
      up: this.#isUp(store),
      allowed: this.#isAllowed(store),
      weight: weightOf(store),
      failureDomains: this.#failureDomains(store, store),
      candidate,
    })
  }

  #isActive(site: string): boolean {
    return this.#sites.get(site)?.state === 'active'
  }

  #isUp({ site }: StoreRef): boolean {
    return this.#sites.get(site)?.up === true
  }

  #isAllowed(store: StoreRecord): boolean {
    return store.state === 'active' && this.#isActive(store.site) && this.#isOneOf(this.rule.sites, store, true)
  }

  #isOneOf(places: readonly string[] | undefined, { site }: StoreRef, otherwise: boolean): boolean {
    const record = this.#sites.get(site)
    return record !== undefined && (places?.some((place) => matches(place, record)) ?? otherwise)
  }

  #failureDomains(at: StoreRef, store: StoreRecord | undefined): readonly string[] {
    return failureDomainsOf(store, this.#sites.get(at.site) ?? { site: at.site, labels: {} })
  }

  #spreadDomains(at: StoreRef, store: StoreRecord | undefined): readonly string[] {
    if (this.rule.spread === 'store') return [storeKey(at)]
    return this.rule.spread === 'site' ? [at.site] : this.#failureDomains(at, store)
  }

  #candidate({ site, store: name }: StoreRef, store: StoreRecord | undefined, freeBytes: number): Candidate {
    const at = { site, store: name }
    const key = storeKey(at)
    const why = store === undefined ? `a further store at ${site}, for want of other places` : `${key} may hold it`
    return {
      ...at,
      key,
      hash: hash32(key),
      isNew: store === undefined,
      avoided: this.#isOneOf(this.rule.avoid, at, false),
      domains: this.#spreadDomains(at, store),
      weight: weightOf(store),
      freeBytes,
      why: `rule ${this.rule.name}: ${why}`,
    }
  }
}

const weightOf = (store: StoreRecord | undefined): number => Math.max(1, store?.zones.length ?? 1)

/** Where it lies, if it does. There are few copies of a root: looking is cheaper than a map for each. */
export function copyAt(copies: readonly Copy[], { site, store }: StoreRef): Copy | undefined {
  for (const copy of copies) if (copy.site === site && copy.store === store) return copy
  return undefined
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
