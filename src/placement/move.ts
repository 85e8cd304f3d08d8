import type { StoreRef } from '../blocks/store-ref.ts'
import { AppError } from '../errors.ts'

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

/** One message a root and store: the same is never queued twice. */
export const moveKey = ({ rootKey, to }: Pick<MoveTask, 'rootKey' | 'to'>): string => `${to.store}.${rootKey}`

export const encodeMove = (task: MoveTask): Buffer => Buffer.from(JSON.stringify(task))

/** @throws AppError REQUEST_INVALID for what is no task of ours */
export function decodeMove(data: Uint8Array): MoveTask {
  try {
    const task = JSON.parse(Buffer.from(data).toString('utf8')) as MoveTask
    const isTask = (task.action === 'add' || task.action === 'remove') && typeof task.root === 'string'
    if (isTask && typeof task.to.store === 'string' && Array.isArray(task.from)) return task
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'this is no task of the move queue', { cause })
  }
  throw new AppError('REQUEST_INVALID', 'this is no task of the move queue')
}
