import type { CID } from 'multiformats/cid'
import type { CloudEvent } from '../events/envelope.ts'
import { linked, rootKey } from '../names/name-fold.ts'
import type { Copy, RootFacts } from './model.ts'

/** What is known of a root of which a part was put, with the word that it was a part (`partial=true`). */
export interface Part {
  /** Keys of the blocks that may be absent; null = any may. */
  readonly missing: ReadonlySet<string> | null
}

/** Most missing blocks that are kept one by one: with more, any block may be absent. */
const missingMax = 1_000

/** What is known of a root as a part; undefined for one that is whole as far as anyone knows. */
export function partOf({ missing, whole }: Pick<RootFacts, 'missing' | 'whole'>): Part | undefined {
  if (missing === undefined || whole === true) return undefined
  return { missing: missing === null ? null : new Set(missing) }
}

/** What a copy of it may lack: for a `DagJob`. */
export const mayMiss = (facts: RootFacts): { readonly missing?: RootFacts['missing'] } =>
  facts.whole === true || facts.missing === undefined ? {} : { missing: facts.missing }

/** Whether this block was never put, as far as is known: its absence is no loss. */
export function mayBeAbsent({ missing }: Part, block: CID): boolean {
  return missing === null || missing.has(rootKey(block))
}

/**
 * What a put of a part adds: a union, so that it comes out the same in whatever order the logs of sites have their puts. What
 * was put later stays in it, until all of the root was hashed somewhere.
 */
export function withMissing(before: RootFacts['missing'], { missing }: CloudEvent['data']): readonly string[] | null {
  // An event of before the missing blocks were told says only that it is a part.
  if (before === null || !Array.isArray(missing)) return null
  const all = new Set([...(before ?? []), ...missing.map((block) => rootKey(linked(block)))])
  return all.size > missingMax ? null : [...all].sort()
}

/**
 * Copies of a part are no copies of what is known to be whole now: their sites make them again, which brings what they lack.
 * A function of what is known, not of the order in which it came.
 */
export function settled(facts: RootFacts): RootFacts {
  const isShort = ({ partial, state }: Copy) => partial === true && state === 'verified'
  if (facts.whole !== true || !facts.copies.some(isShort)) return facts
  return { ...facts, copies: facts.copies.map((copy) => (isShort(copy) ? { ...copy, state: 'failed' } : copy)) }
}
