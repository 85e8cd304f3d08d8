import { confidenceOf } from './confidence.ts'
import { CurrentCopies } from './current.ts'
import { Field } from './field.ts'
import type { Copy, Inventory, RootContext, RootFacts } from './model.ts'
import { partOf } from './partial.ts'
import type { Plan, PolicyRule } from './plan-model.ts'

export interface CopyStatus extends Copy {
  /** Failure domains that it lies in. */
  readonly zones: readonly string[]
  /** Its site is heard and its store is there: it can be read now. */
  readonly reachable: boolean
}

/** What is known of one root: its copies, what its rule wants, and how far that holds. */
export interface ObjectStatus {
  readonly cid: string
  readonly names: readonly string[]
  readonly bytes: number | undefined
  readonly rule: string
  readonly wanted: Plan['wanted']
  /** Verified, in reach, where the rule allows them: what counts. */
  readonly verified: number
  readonly satisfied: boolean
  readonly degraded: boolean
  readonly provisional: boolean
  readonly failureDomains: number
  /** In [0, 1]; see `confidence.ts`. */
  readonly confidence: number
  readonly unmet: readonly string[]
  /** What is still to be done. */
  readonly steps: Plan['steps']
  readonly copies: readonly CopyStatus[]
  /** It was taken in as partial, and is not known to be whole: all else here is said of the part that was put. */
  readonly partial: boolean
  /** How many blocks may be absent because they were never put; null where that is not known. 0 = none. */
  readonly missing: number | null
  /** Out of view: no name holds it either. */
  readonly deleted: boolean
  readonly lost: boolean
  readonly originSite: string
  readonly projectedAt: readonly string[]
  readonly demand: RootContext['demand']
  /** Sequence in the log of this site up to which it is told. */
  readonly position: number
}

export interface StatusParts {
  readonly facts: RootFacts
  readonly context: RootContext
  readonly plan: Plan
  readonly rule: PolicyRule
  readonly inventory: Inventory
  readonly nowMs: number
}

export function objectStatus({ facts: known, context, plan, rule, inventory, nowMs }: StatusParts): ObjectStatus {
  const facts = new CurrentCopies(inventory).of(known)
  const part = partOf(facts)
  const field = new Field(rule, inventory, 0)
  const copies = facts.copies.map((copy): CopyStatus => {
    const place = field.placeOf(copy)
    return { ...copy, zones: place?.failureDomains ?? [], reachable: place?.up === true }
  })
  const checked = copies.flatMap(({ state, reachable, verifiedAt, zones }) =>
    state === 'verified' && reachable && verifiedAt !== undefined ? [{ verifiedAt, domains: zones }] : [],
  )
  const { wanted, have, satisfied, degraded, failureDomains, unmet, steps } = plan
  return {
    cid: facts.root,
    names: context.names,
    bytes: facts.bytes,
    rule: plan.rule,
    wanted,
    verified: have,
    satisfied,
    degraded,
    provisional: !satisfied,
    failureDomains,
    confidence: Number(confidenceOf(checked, nowMs).toFixed(6)),
    unmet,
    steps,
    copies,
    partial: part !== undefined,
    missing: part === undefined ? 0 : (part.missing?.size ?? null),
    deleted: facts.deleted && context.names.length === 0,
    lost: facts.lost,
    originSite: facts.originSite,
    projectedAt: context.projectedAt,
    demand: context.demand,
    position: facts.revision,
  }
}
