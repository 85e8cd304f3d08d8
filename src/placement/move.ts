import { CID } from 'multiformats/cid'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { AppError } from '../errors.ts'
import { rootKey } from '../names/name-fold.ts'
import type { Copy } from './model.ts'

/** One thing to be done at a site: a copy to be made there, or to be dropped. */
export interface MoveTask {
  readonly action: 'add' | 'remove'
  readonly root: string
  /** See `rootKey`. */
  readonly rootKey: string
  readonly to: StoreRef
  /** Verified copies, the best first. */
  readonly from: readonly StoreRef[]
  /** A copy there that was verified before this lay in a store of the same name that is gone. */
  readonly notBefore?: string | undefined
  readonly rule: string
  readonly why: string
  /** Groups all events of the undertaking. */
  readonly correlation: string
  /** The event that caused it. */
  readonly causation: string
}

/**
 * One message for each root, store and action: the same is never queued twice, and what is done but not acknowledged yet does
 * not hold the place of its opposite.
 */
export const moveKey = ({ action, rootKey, to }: Pick<MoveTask, 'action' | 'rootKey' | 'to'>): string =>
  action === 'add' ? `${to.store}.${rootKey}` : `${to.store}.${rootKey}.${action}`

/** Where to read. What the task names is as old as the task: those copies may have gone, and others come, while it waited. */
export function sourcesOf({ from, to }: MoveTask, copies: readonly Copy[]): readonly StoreRef[] {
  const verified = copies.filter((copy) => copy.state === 'verified' && storeKey(copy) !== storeKey(to))
  const there = new Set(verified.map(storeKey))
  const still = from.filter((at) => there.has(storeKey(at)))
  if (still.length > 0) return still
  return verified.length > 0 ? verified : from
}

export const encodeMove = (task: MoveTask): Buffer => Buffer.from(JSON.stringify(task))

/** @throws AppError REQUEST_INVALID for what is no task of ours, or one that nobody could carry out */
export function decodeMove(data: Uint8Array): MoveTask {
  try {
    const task = JSON.parse(Buffer.from(data).toString('utf8')) as MoveTask
    const isTask = (task.action === 'add' || task.action === 'remove') && Array.isArray(task.from)
    const texts = [task.root, task.rootKey, task.rule, task.why, task.correlation, task.causation]
    const isWhole = texts.every((text) => typeof text === 'string') && [task.to, ...task.from].every(isPlace)
    if (isTask && isWhole && rootKey(CID.parse(task.root)) === task.rootKey) return task
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'this is no task of the move queue', { cause })
  }
  throw new AppError('REQUEST_INVALID', 'this is no task of the move queue')
}

function isPlace(at: Partial<StoreRef> | undefined): boolean {
  const isName = (text: unknown) => typeof text === 'string' && /^[\w-]{1,64}$/.test(text)
  return isName(at?.site) && isName(at?.store)
}
