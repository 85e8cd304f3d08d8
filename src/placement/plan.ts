import { storeKey } from '../blocks/store-ref.ts'
import { type Candidate, Field, weightOfCandidates } from './field.ts'
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

  constructor(policy: CompiledPolicy, inventory: Inventory, options: PlanOptions) {
    this.#policy = policy
    this.#inventory = inventory
    const { demandRateMin = demandRateMinDefault, storesPerSiteMax = storesPerSiteMaxDefault } = options
    this.#options = { ...options, demandRateMin, storesPerSiteMax }
  }

  /**
   * What should become of one root. Pure: equal input gives an equal plan, at every site. Never plans a removal that leaves
   * fewer than `min` verified copies in reach, and at most one at a time.
   */
  plan(facts: RootFacts, context: RootContext): Plan {
    const rule = this.#policy.ruleFor(facts, context, this.#options.nowMs)
    let field = this.#fields.get(rule)
    if (field === undefined) {
      field = new Field(rule, this.#inventory, this.#options.storesPerSiteMax)
      this.#fields.set(rule, field)
    }
    return facts.deleted ? nothingWanted(facts, rule) : planIn(field, facts, this.#nearOf(facts, rule, context))
  }

  /** Sites that want a copy near by, the most wanted first. */
  #nearOf(facts: RootFacts, { near }: PolicyRule, { demand, projectedAt }: RootContext): readonly string[] {
    if (near === undefined) return []
    const { demandRateMin } = this.#options
    const held = new Set(facts.copies.map(({ site }) => site))
    const isHot = (site: string) => (demand[site] ?? 0) >= (held.has(site) ? demandRateMin / 2 : demandRateMin)
    const sites = near.flatMap((place) => {
      if (place === 'projections') return projectedAt.toSorted()
      if (place === 'demand') {
        return Object.keys(demand)
          .filter(isHot)
          .sort((a, b) => (demand[b] ?? 0) - (demand[a] ?? 0) || (a < b ? -1 : 1))
      }
      return this.#inventory.sites.filter((site) => matches(place, site)).map(({ site }) => site)
    })
    return [...new Set(sites)]
  }
}

function nothingWanted({ root }: RootFacts, rule: PolicyRule): Plan {
  const wanted = { min: 0, max: 0 }
  const none = { have: 0, failureDomains: 0, satisfied: true, degraded: false, steps: [], unmet: [] }
  return { root, rule: rule.name, wanted, ...none }
}

function planIn(field: Field, facts: RootFacts, near: readonly string[]): Plan {
  const { rule } = field
  const { min, max } = rule.copies
  const held = new Map(facts.copies.map((copy) => [storeKey(copy), copy]))
  const live = facts.copies.filter((copy) => copy.state === 'verified' && field.isReachable(copy))
  const targets = field.choose(facts, near, held)
  const chosen = new Set(targets.map(({ key }) => key))
  const adds = targets.flatMap((target) => addOf(target, facts, live, held, field) ?? [])
  const allowed = live.filter((copy) => field.isAllowed(copy))
  const have = field.weightOf(allowed)
  const failureDomains = field.domainsOf(live).size
  const unmet = [...field.unmet]
  if (weightOfCandidates(targets) < min) {
    unmet.push(`rule ${rule.name} wants ${min} copies, and there is room for ${weightOfCandidates(targets)}`)
  }
  if (live.length === 0) unmet.push('no verified copy is in reach')
  return {
    root: facts.root,
    rule: rule.name,
    wanted: { min, max },
    have,
    failureDomains,
    satisfied: have >= min,
    degraded: failureDomains < Math.min(min, field.domainsWanted),
    steps: [...adds, ...removalOf(facts, live, chosen, field)],
    unmet,
  }
}

function addOf(
  target: Candidate,
  facts: RootFacts,
  live: readonly Copy[],
  held: ReadonlyMap<string, Copy>,
  field: Field,
): PlanStep | undefined {
  const state = held.get(target.key)?.state
  if (state === 'verified' || state === 'requested' || state === 'removing' || live.length === 0) return undefined
  const from = live.toSorted(
    (a, b) => Number(b.site === target.site) - Number(a.site === target.site) || (storeKey(a) < storeKey(b) ? -1 : 1),
  )
  return {
    kind: 'add',
    root: facts.root,
    to: { site: target.site, store: target.store },
    newStore: target.isNew,
    from: from.map(({ site, store }) => ({ site, store })),
    bytes: facts.bytes ?? 0,
    why: `rule ${field.rule.name}: ${target.why}`,
  }
}

/** One surplus copy, when all that the rule wants is there without it. */
function removalOf(facts: RootFacts, live: readonly Copy[], chosen: ReadonlySet<string>, field: Field): PlanStep[] {
  if (facts.copies.some(({ state }) => state === 'removing')) return []
  const wanted = live.filter((copy) => chosen.has(storeKey(copy)))
  // A removal waits for every copy that is still to come: what is there may be what it is read from.
  if (wanted.length < chosen.size || field.weightOf(wanted) < field.rule.copies.min) return []
  // `live` are at sites that are up: one that does not hear it is not told.
  const surplus = live.filter((copy) => !chosen.has(storeKey(copy)))
  // What should not lie there goes first, then the last by name.
  const [first] = surplus.toSorted(
    (a, b) => Number(field.isAllowed(a)) - Number(field.isAllowed(b)) || (storeKey(a) < storeKey(b) ? 1 : -1),
  )
  if (first === undefined) return []
  const why = field.isAllowed(first)
    ? `rule ${field.rule.name}: more copies than it wants`
    : `rule ${field.rule.name}: no copy should lie there`
  const to = { site: first.site, store: first.store }
  return [{ kind: 'remove', root: facts.root, to, newStore: false, from: [], bytes: facts.bytes ?? 0, why }]
}
