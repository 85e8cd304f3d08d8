import { setTimeout as delay } from 'node:timers/promises'
import type { StoreHandle } from '../blocks/stores.ts'
import { areUneven } from '../blocks/thin-blocks.ts'
import type { ByteRate } from '../lib/byte-rate.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import { patiently } from '../nats/patience.ts'
import { replicaState } from '../nats/replica-listing.ts'
import { evenReplicas, type MendParts } from './mend-findings.ts'

export interface ReplicaWatchParts extends MendParts {
  /** The stores of this site that hold anything, now. */
  readonly stores: () => Promise<readonly StoreHandle[]>
  readonly rate: ByteRate
  readonly lookEveryMs?: number
}

const lookEveryMsDefault = 5_000

/**
 * Compares the replicas of a bucket when a server was away, or another one leads: one that came back with holes in its files has
 * to be mended before the next one goes, since that one, when it catches up, is made to drop what its leader does not have.
 * A round of the scrubber may be weeks away.
 */
export class ReplicaWatch {
  readonly #parts: ReplicaWatchParts
  /** By stream: who led it when its replicas were last found even, or made so. */
  readonly #even = new Map<string, string>()

  constructor(parts: ReplicaWatchParts) {
    this.#parts = parts
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { stores, onTrouble, lookEveryMs = lookEveryMsDefault } = this.#parts
    // One bucket that cannot be looked at must not keep the others from it.
    const passOver = (error: unknown) => {
      signal.throwIfAborted()
      onTrouble(error)
    }
    while (!signal.aborted) {
      try {
        for (const handle of await stores()) {
          for (const bucket of handle.buckets) {
            if (bucket.replicas > 1) await this.#look(handle, bucket, signal).catch(passOver)
          }
        }
      } catch (error) {
        if (!signal.aborted) onTrouble(error)
      }
      await delay(lookEveryMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #look(handle: StoreHandle, bucket: BlockBucket, signal: AbortSignal): Promise<void> {
    const { nats, waitMs, rate } = this.#parts
    const { stream } = bucket
    const { leader, areThere, areCurrent } = await patiently(waitMs, signal, () => replicaState(nats, stream))
    if (!areThere) this.#even.delete(stream)
    if (leader === undefined || !areCurrent || this.#even.get(stream) === leader) return
    const isUneven = await patiently(waitMs, signal, () => areUneven(nats, bucket))
    if (isUneven === undefined) return
    if (isUneven && (await evenReplicas(this.#parts, handle, bucket, rate, signal)) === undefined) return
    this.#even.set(stream, leader)
  }
}
