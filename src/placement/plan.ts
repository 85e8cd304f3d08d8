import type { StoreRef } from '../blocks/store-ref.ts'
import { type Near, nearNobody, nearNothing } from './choose.ts'
import { CurrentCopies } from './current.ts'
import { type Candidate, copyAt, Field, type Place } from './field.ts'
import type { Copy, Inventory, RootContext, RootFacts } from './model.ts'
import { matches } from './place.ts'
import type { Plan, PlanStep, PolicyRule } from './plan-model.ts'
import type { CompiledPolicy } from './policy.ts'

export interface PlanOptions {
  readonly nowMs: number
  /** Reads a minute at a site from which on a rule with `near: demand` wants a copy there. A copy stays until half of that. */
  readonly demandRateMin?: number
  /** Stores that may be made at a site that has to hold several copies, those that are there included. */
  readonly storesPerSiteMax?: number
}

const demandRateMinDefault = 10
const storesPerSiteMaxDefault = 8

/** Planning many roots over one inventory: what they share is made once. */
export class Planner {
  readonly #policy: CompiledPolicy
  readonly #inventory: Inventory
  readonly #options: Required<PlanOptions>
  readonly #fields = new Map<PolicyRule, Field>()
  readonly #current: CurrentCopies

  constructor(policy: CompiledPolicy, inventory: Inventory, options: PlanOptions) {
    this.#policy = policy
    this.#inventory = inventory
    this.#current = new CurrentCopies(inventory)
    const { demandRateMin = demandRateMinDefault, storesPerSiteMax = storesPerSiteMaxDefault } = options
    this.#options = { ...options, demandRateMin, storesPerSiteMax }
  }

  /** A copy there that was verified before this is gone with its store. */
  since(at: StoreRef): string | undefined {
    return this.#current.since(at)
  }

  /**
   * What should become of one root. Pure: equal input gives an equal plan, at every site. Never plans a removal that leaves
   * fewer than `min` verified copies in reach, and at most one at a time.
   */
  plan(known: RootFacts, context: RootContext): Plan {
    const facts = this.#current.of(known)
    const rule = this.#policy.ruleFor(facts, context, this.#options.nowMs)
    let field = this.#fields.get(rule)
    if (field === undefined) {
      field = new Field(rule, this.#inventory, this.#options.storesPerSiteMax)
      this.#fields.set(rule, field)
    }
    // Deleted content that a name holds is in view (names/view.ts), and kept like any other.
    return facts.deleted && context.names.length === 0
      ? nothingWanted(facts, rule)
      : planIn(field, facts, this.#nearOf(facts, rule, context))
  }

  #nearOf(facts: RootFacts, { near }: PolicyRule, { demand, projectedAt }: RootContext): Near {
    if (near === undefined) return nearNothing
    const isOfReaders = near.includes('projections') || near.includes('demand')
    // Nearly always: nobody shows it, and few read it.
    const isQuiet = projectedAt.length === 0 && Object.keys(demand).length === 0
    if (isQuiet && near.every((place) => place === 'projections' || place === 'demand')) return nearNobody
    const { demandRateMin } = this.#options
    const held = new Set(facts.copies.map(({ site }) => site))
    const isHot = (site: string) => (demand[site] ?? 0) >= (held.has(site) ? demandRateMin / 2 : demandRateMin)
    const lasting = new Set<string>()
    const sites = near.flatMap((place) => {
      if (place === 'projections') return projectedAt.toSorted()
      if (place === 'demand') {
        return Object.keys(demand)
          .filter(isHot)
          .sort((a, b) => (demand[b] ?? 0) - (demand[a] ?? 0) || (a < b ? -1 : 1))
      }
      const there = this.#inventory.sites.filter((site) => matches(place, site)).map(({ site }) => site)
      for (const site of there) lasting.add(site)
      return there
    })
    const all = [...new Set(sites)]
    return { sites: all, passing: all.filter((site) => !lasting.has(site)), isOfReaders }
  }
}

function nothingWanted({ root }: RootFacts, rule: PolicyRule): Plan {
  const wanted = { min: 0, max: 0 }
  const none = { have: 0, failureDomains: 0, satisfied: true, degraded: false, steps: [], unmet: [] }
  return { root, rule: rule.name, wanted, ...none }
}

/** A verified copy in reach. */
interface Live {
  readonly copy: Copy
  readonly place: Place
}

function planIn(field: Field, facts: RootFacts, near: Near): Plan {
  const { rule } = field
  const { min, max } = rule.copies
  const live = liveOf(field, facts)
  const targets = field.choose(facts, near)
  const steps: PlanStep[] = []
  let room = 0
  for (const target of targets) {
    room += target.weight
    const add = addOf(target, facts, live)
    if (add !== undefined) steps.push(add)
  }
  const removal = removalOf(facts, live, targets, field)
  if (removal !== undefined) steps.push(removal)
  let have = 0
  for (const { place } of live) if (place.allowed) have += place.weight
  const failureDomains = countDomains(live)
  const unmet = [...field.unmet]
  if (room < min) unmet.push(`rule ${rule.name} wants ${min} copies, and there is room for ${room}`)
  if (live.length === 0) unmet.push('no verified copy is in reach')
  return {
    root: facts.root,
    rule: rule.name,
    wanted: { min, max },
    have,
    failureDomains,
    satisfied: have >= min,
    degraded: failureDomains < Math.min(min, field.domainsWanted),
    steps,
    unmet,
  }
}

function liveOf(field: Field, { copies }: RootFacts): readonly Live[] {
  const live: Live[] = []
  for (const copy of copies) {
    const place = copy.state === 'verified' ? field.placeOf(copy) : undefined
    if (place?.up === true) live.push({ copy, place })
  }
  return live
}

function countDomains(live: readonly Live[]): number {
  const [only] = live
  if (live.length === 1 && only !== undefined && only.place.failureDomains.length === 1) return 1
  return new Set(live.flatMap(({ place }) => place.failureDomains)).size
}

function addOf(target: Candidate, facts: RootFacts, live: readonly Live[]): PlanStep | undefined {
  if (live.length === 0) return undefined
  const state = copyAt(facts.copies, target)?.state
  if (state === 'verified' || state === 'requested' || state === 'removing') return undefined
  const from = live.length === 1 ? live : live.toSorted((a, b) => bySource(a, b, target.site))
  return {
    kind: 'add',
    root: facts.root,
    to: { site: target.site, store: target.store },
    newStore: target.isNew,
    from: from.map(({ copy: { site, store } }) => ({ site, store })),
    bytes: facts.bytes ?? 0,
    why: target.why,
  }
}

/** One at the same site first. */
function bySource(a: Live, b: Live, site: string): number {
  return Number(b.copy.site === site) - Number(a.copy.site === site) || (a.place.key < b.place.key ? -1 : 1)
}

/** One surplus copy, when all that the rule wants is there without it. */
function removalOf(
  facts: RootFacts,
  live: readonly Live[],
  targets: readonly Candidate[],
  field: Field,
): PlanStep | undefined {
  // `live` are at sites that are up: one that does not hear it is not told.
  const surplus: Live[] = []
  let wanted = 0
  let weight = 0
  for (const one of live) {
    const { candidate } = one.place
    if (candidate === undefined || !targets.includes(candidate)) {
      surplus.push(one)
      continue
    }
    wanted++
    weight += one.place.weight
  }
  // What should not lie there goes first, then the last by name.
  const [first] = surplus.sort(
    (a, b) => Number(a.place.allowed) - Number(b.place.allowed) || (a.place.key < b.place.key ? 1 : -1),
  )
  if (
    first === undefined ||
    facts.copies.some((copy) => copy.state === 'removing' && field.placeOf(copy) !== undefined)
  ) {
    return undefined
  }
  // A removal waits for every copy that is still to come: what is there may be what it is read from.
  if (wanted < targets.length || weight < field.rule.copies.min) return undefined
  const why = first.place.allowed ? 'more copies than it wants' : 'no copy should lie there'
  const { site, store } = first.copy
  return {
    kind: 'remove',
    root: facts.root,
    to: { site, store },
    newStore: false,
    from: [],
    bytes: facts.bytes ?? 0,
    why: `rule ${field.rule.name}: ${why}`,
  }
}
