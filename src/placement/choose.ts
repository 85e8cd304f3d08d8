import { type Candidate, copyAt } from './field.ts'
import type { RootFacts } from './model.ts'
import type { PolicyRule } from './plan-model.ts'
import { hash32, rendezvousScore } from './rendezvous.ts'

/** Kept free in a store that is chosen anew, so that a plan does not turn with every block: a share of what is needed. */
const reserveShare = 0.05

export interface Choice {
  readonly rule: PolicyRule
  /** Stores that are there. */
  readonly existing: readonly Candidate[]
  /** Stores that may be made, in the order in which they would be. */
  readonly further: readonly Candidate[]
}

/** Where a copy is wanted first. */
export interface Near {
  /** The most wanted first. */
  readonly sites: readonly string[]
  /** Those of them that want it only as long as it is read or shown there. */
  readonly passing: readonly string[]
  /** The rule is one that brings copies to readers: a further copy that is near nobody goes again. */
  readonly isOfReaders: boolean
}

export const nearNothing: Near = Object.freeze({ sites: [], passing: [], isOfReaders: false })
export const nearNobody: Near = Object.freeze({ ...nearNothing, isOfReaders: true })

interface Rated {
  readonly candidate: Candidate
  /** 0 = nobody wants it near there. */
  readonly near: number
  /** The same for the copies that make it safe. */
  readonly base: number
  readonly held: boolean
  /** It lies where it was put: of copies that are equal otherwise that one stays. */
  readonly home: boolean
  readonly score: number
  taken: boolean
}

/**
 * First the copies that make the content safe: each on a failure domain of its own as long as there is one, near ones first.
 * Then further ones up to `max`: at sites that want it near, and where it lies already. Readers come and go, so they get
 * further copies, and choose among the safe ones only where the rule has no room for others.
 */
export function chooseAmong({ rule, existing, further }: Choice, facts: RootFacts, near: Near) {
  const { min, max } = rule.copies
  const spreads = rule.spread !== undefined
  const rated = ratedOf(existing, facts, near, max > min)
  const chosen: Candidate[] = []
  const used: string[] = []
  let weight = 0
  const take = (candidate: Candidate) => {
    chosen.push(candidate)
    for (const domain of candidate.domains) used.push(domain)
    weight += candidate.weight
  }
  while (weight < min) {
    const one = best(rated, used, spreads)
    if (one === undefined) break
    one.taken = true
    take(one.candidate)
  }
  // In their order: each root that needs one takes the same, so that no more are made than are needed.
  for (const candidate of further) {
    if (weight >= min) break
    take(candidate)
  }
  if (weight >= max) return chosen
  for (const { candidate, near: wanted, held } of extrasOf(rated)) {
    if (weight + candidate.weight > max) continue
    const stays = held && (wanted > 0 || !near.isOfReaders)
    if (stays || (wanted > 0 && !chosen.some(({ site }) => site === candidate.site))) take(candidate)
  }
  return chosen
}

function ratedOf(
  existing: readonly Candidate[],
  { root, bytes, copies, originSite }: RootFacts,
  { sites, passing }: Near,
  hasRoom: boolean,
): Rated[] {
  const rootHash = hash32(root)
  const need = (bytes ?? 0) * (1 + reserveShare)
  const rated: Rated[] = []
  for (const candidate of existing) {
    const state = copyAt(copies, candidate)?.state
    const held = state === 'verified' || state === 'requested'
    if (!held && candidate.freeBytes < need) continue
    const rank = sites.length === 0 ? -1 : sites.indexOf(candidate.site)
    const near = rank < 0 ? 0 : sites.length - rank
    const base = hasRoom && near > 0 && passing.includes(candidate.site) ? 0 : near
    const home = held && candidate.site === originSite
    const score = rendezvousScore(rootHash, candidate.hash)
    rated.push({ candidate, near, base, held, home, score, taken: false })
  }
  return rated
}

function extrasOf(rated: readonly Rated[]): readonly Rated[] {
  const extras: Rated[] = []
  for (const one of rated) if (!one.taken && (one.near > 0 || one.held)) extras.push(one)
  return extras.length > 1 ? extras.sort(asExtra) : extras
}

const asExtra = (a: Rated, b: Rated): number =>
  b.near - a.near ||
  Number(b.held) - Number(a.held) ||
  b.score - a.score ||
  (a.candidate.key < b.candidate.key ? -1 : 1)

/** A new failure domain first, then nearness, then what need not be avoided, then where it lies already. */
function best(rated: readonly Rated[], used: readonly string[], spreads: boolean): Rated | undefined {
  let found: Rated | undefined
  let isFresh = false
  for (const one of rated) {
    if (one.taken) continue
    const fresh = isNew(one.candidate.domains, used)
    if (found !== undefined && !beats(one, fresh, found, isFresh, spreads)) continue
    found = one
    isFresh = fresh
  }
  return found
}

function isNew(domains: readonly string[], used: readonly string[]): boolean {
  for (const domain of domains) if (!used.includes(domain)) return true
  return false
}

function beats(a: Rated, aFresh: boolean, b: Rated, bFresh: boolean, spreads: boolean): boolean {
  if (aFresh !== bFresh) return aFresh
  if (a.candidate.avoided !== b.candidate.avoided) return b.candidate.avoided
  if (a.base !== b.base) return a.base > b.base
  if (!spreads && a.held !== b.held) return a.held
  if (!spreads && a.home !== b.home) return a.home
  return a.score === b.score ? a.candidate.key < b.candidate.key : a.score > b.score
}
