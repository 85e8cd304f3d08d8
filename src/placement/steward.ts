import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { Copy, Inventory, RootFacts } from './model.ts'

/**
 * Who decides which surplus copy goes, and tells how the root fares: the site where it was put first, which the log has fixed
 * for all; if that one has left for good, the first by name with a verified copy.
 */
export function stewardOf(facts: RootFacts, { sites }: Inventory): string | undefined {
  const origin = sites.find(({ site }) => site === facts.originSite)
  if (origin?.state === 'active') return origin.site
  const isActive = ({ site }: Copy) => sites.some((one) => one.site === site && one.state === 'active' && one.up)
  return facts.copies.find((copy) => copy.state === 'verified' && isActive(copy))?.site
}

/**
 * While the steward is not heard, or has left and nobody has a copy, the first site that is heard tells how the root fares:
 * nobody decides in its place.
 */
export function tellerOf(facts: RootFacts, { sites }: Inventory): string | undefined {
  const origin = sites.find(({ site }) => site === facts.originSite)
  const isAbsent = origin !== undefined && (!origin.up || origin.state === 'removed')
  return isAbsent ? sites.find(({ up, state }) => up && state === 'active')?.site : undefined
}

/**
 * A site that was removed and is silent, or a store that was removed: what lay there cannot be asked for. A site that was
 * removed and is heard all the same is read like any other.
 */
export function isGone({ site, store }: StoreRef, { sites, stores }: Inventory): boolean {
  const at = sites.find((one) => one.site === site)
  if (at?.state === 'removed' && !at.up) return true
  return stores.some((one) => one.site === site && one.store === store && one.state === 'removed')
}

/**
 * Where the last whole copies of a root went with a site or a store that is gone; undefined while there may be one somewhere.
 * What was damaged where it lies is not told here (see `Repair`).
 */
export function lostWith({ copies }: RootFacts, inventory: Inventory): readonly string[] | undefined {
  const whole = copies.filter(({ state }) => state === 'verified' || state === 'removing')
  if (whole.length === 0 || !whole.every((copy) => isGone(copy, inventory))) return undefined
  return whole.map(storeKey)
}
