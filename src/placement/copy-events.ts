import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type Json, link } from '../events/canonical.ts'
import type { Draft } from '../events/envelope.ts'

/**
 * The events about copies, each written in one place, so that `fold.ts` reads what is written here. The key of all of them
 * is the root, so that `<d>.evt.*.<space>.copy.*.<root>` is the life of its copies.
 */
type Data = { readonly [key: string]: Json | undefined }

function draft(verb: Draft<'copy'>['verb'], root: string, data: Data): Draft<'copy'> {
  return { entity: 'copy', verb, key: root, subject: root, data: { cid: link(root), ...data } }
}

const at = ({ site, store }: StoreRef): Data => ({ site, store })

export interface CopySize {
  readonly blocks: number
  readonly bytes: number
  /** Blocks that were never put, of a root that was taken in as partial; left out when there are none. */
  readonly missing?: number
}

export const copyEvents = {
  /** A copy is to be made by its destination, or removed by it. */
  requested: (
    root: string,
    action: 'add' | 'remove',
    to: StoreRef,
    { rule, why, from = [] }: { readonly rule: string; readonly why: string; readonly from?: readonly StoreRef[] },
  ) => draft('requested', root, { ...at(to), action, rule, why, from: from.map(storeKey) }),
  /** Every block is stored; `newBlocks` were not there before. */
  made: (root: string, to: StoreRef, size: CopySize & { readonly newBlocks: number; readonly seconds: number }) =>
    draft('made', root, { ...at(to), ...size }),
  /** Every block was read from the store and hashed, but for those that were never put. */
  verified: (root: string, to: StoreRef, size: CopySize) => draft('verified', root, { ...at(to), ...size }),
  failed: (root: string, to: StoreRef, failure: { readonly code: string; readonly message: string }) =>
    draft('failed', root, { ...at(to), ...failure }),
  removed: (root: string, from: StoreRef) => draft('removed', root, at(from)),
  /**
   * Blocks were damaged or missing in one store and were written again out of another; `block` is the first of them, and
   * the root too where nobody knows which roots it belongs to.
   */
  repaired: (root: string, block: string, to: StoreRef, from: StoreRef, blocks = 1) =>
    draft('repaired', root, { ...at(to), block: link(block), blocks, from: storeKey(from) }),
  /** Whether the policy holds for the root; only when that changes. */
  told: (
    root: string,
    state: 'satisfied' | 'degraded',
    plan: {
      readonly rule: string
      readonly have: number
      readonly failureDomains: number
      readonly wanted: { readonly min: number; readonly max: number }
      readonly unmet: readonly string[]
    },
  ) => {
    const { rule, have, failureDomains, wanted, unmet } = plan
    return draft(state, root, { rule, have, failureDomains, wanted: { ...wanted }, unmet })
  },
}

/** Content whose last verified copy is damaged beyond repair, and its return. */
export const lossEvents = {
  lost: (root: string, failure: { readonly code: string; readonly message: string }): Draft<'object'> => ({
    ...{ entity: 'object', verb: 'lost', key: root, subject: root },
    data: { cid: link(root), ...failure },
  }),
  restored: (root: string, copy: StoreRef): Draft<'object'> => ({
    ...{ entity: 'object', verb: 'restored', key: root, subject: root },
    data: { cid: link(root), ...at(copy) },
  }),
}
