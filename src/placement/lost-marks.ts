import { CID } from 'multiformats/cid'
import { storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { type AppError, isAppError } from '../errors.ts'
import type { RootFacts } from './model.ts'

/**
 * Marks in a store the blocks that are gone there without a trace, once a root tells that they must have been there: so they
 * are known as lost by their own CID too, and not only below that root. Each read or walk that fails marks the block that
 * it failed for. Not in a store with replicas: another one of them may have it.
 */
export class LostMarks {
  readonly #primary: StoreHandle
  readonly #onTrouble: (error: unknown) => void
  readonly #stop = new AbortController()
  readonly #underWay = new Set<Promise<void>>()

  constructor(primary: StoreHandle, onTrouble: (error: unknown) => void) {
    this.#primary = primary
    this.#onTrouble = onTrouble
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    await Promise.all(this.#underWay)
  }

  /** @param failure of a root whose last copy lies in this store; nothing is done for what has left a trace, or names no block */
  async mark({ raw }: StoreHandle, { code, block }: AppError, signal: AbortSignal): Promise<void> {
    if (code !== 'BLOCK_NOT_FOUND' || block === undefined) return
    if (raw.buckets.every(({ replicas }) => replicas === 1)) await raw.markLost(CID.parse(block), { signal })
  }

  /** A read met a loss. Is not waited for: what cannot be marked now is met again. */
  readonly onLost = ({ copies }: RootFacts, failure: AppError): void => {
    const primary = storeKey(this.#primary)
    if (!copies.some((copy) => storeKey(copy) === primary && (copy.state === 'verified' || copy.state === 'failed')))
      return
    const marking: Promise<void> = this.mark(this.#primary, failure, this.#stop.signal)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted && !isAppError(error, 'STORE_UNAVAILABLE')) this.#onTrouble(error)
      })
      .finally(() => this.#underWay.delete(marking))
    this.#underWay.add(marking)
  }
}
