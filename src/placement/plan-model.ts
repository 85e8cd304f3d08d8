import type { StoreRef } from '../blocks/store-ref.ts'

/** JSON-Logic; see `json-logic.ts` for the operators. */
export type Expression = unknown

/** One rule; the first whose `when` holds is the one. */
export interface PolicyRule {
  readonly name: string
  /** Over name(s), mediaType, size, owner, ageSeconds, demand, site. Absent = always. */
  readonly when?: Expression
  readonly copies: { readonly min: number; readonly max: number }
  /** Where copies may lie: names of sites, or `label=value`. Absent = anywhere. */
  readonly sites?: readonly string[]
  /**
   * What no two copies should share as long as there is a choice (zone, where absent). Where it is given, copies are also
   * spread evenly over all stores; where it is absent, a copy stays where it lies as long as nothing speaks against that.
   */
  readonly spread?: 'zone' | 'site' | 'store'
  /** Where a copy is wanted first: `site:<name>`, `label=value`, `projections`, `demand`. */
  readonly near?: readonly string[]
  readonly avoid?: readonly string[]
  /** What a put waits for when the request does not say. */
  readonly ack: 'local' | 'policy' | number
  /** After this age content is no longer kept by this rule. In seconds. */
  readonly ttlSeconds?: number
}

export interface Policy {
  readonly version: 1
  readonly rules: readonly PolicyRule[]
}

/**
 * Used where no rule matches, and while no policy was ever set: the copy that was put, and one at each site where somebody has
 * said that it is shown there, up to what one would want by far.
 */
export const defaultRule: PolicyRule = {
  name: 'default',
  copies: { min: 1, max: 16 },
  near: ['projections'],
  ack: 'local',
}

export interface PlanStep {
  readonly kind: 'add' | 'remove'
  readonly root: string
  readonly to: StoreRef
  /** The store does not exist yet: a further one at a site that has to hold several copies. */
  readonly newStore: boolean
  /** Of an add: verified copies to read from, the best first. */
  readonly from: readonly StoreRef[]
  /** To be copied, or freed. */
  readonly bytes: number
  readonly why: string
}

/** What should become of one root, and why. The same input gives the same plan, at every site. */
export interface Plan {
  readonly root: string
  readonly rule: string
  readonly wanted: { readonly min: number; readonly max: number }
  /** Verified copies in reach. A store that spans zones counts once for each of its zones. */
  readonly have: number
  readonly failureDomains: number
  /** min copies are there, verified, where the rule allows them. */
  readonly satisfied: boolean
  /** On fewer failure domains than copies are wanted. */
  readonly degraded: boolean
  /** Adds before removes; a remove is only there when the policy holds without it. */
  readonly steps: readonly PlanStep[]
  /** Each rule or bound that cannot be met, and why. */
  readonly unmet: readonly string[]
}
