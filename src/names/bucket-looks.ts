import type { Nats } from '../nats/connection.ts'
import { patiently } from '../nats/patience.ts'
import { streamHealth } from '../nats/stream-health.ts'
import type { NameBuckets } from './names.ts'

type Bucket = keyof NameBuckets

/** Looks at the buckets of the indexes: what somebody, or the disk, has done to them. */
export class BucketLooks {
  readonly #nats: Nats
  readonly #buckets: NameBuckets
  readonly #waitMs: number
  /** When each was made that we have looked at. */
  readonly #created = new Map<Bucket, string>()

  constructor(nats: Nats, buckets: NameBuckets, waitMs: number) {
    this.#nats = nats
    this.#buckets = buckets
    this.#waitMs = waitMs
  }

  /**
   * @returns why it has to be made anew; `madeAnew` when that has happened already since the last look, by another node
   * @throws AppError STORE_UNAVAILABLE
   */
  async at(bucket: Bucket): Promise<{ readonly trouble?: string; readonly madeAnew: boolean }> {
    const look = await this.#buckets[bucket].look()
    const before = this.#created.get(bucket)
    if (look !== undefined) this.#created.set(bucket, look.created)
    const madeAnew = look !== undefined && before !== undefined && before !== look.created
    return look === undefined || look.sealed ? { trouble: troubleOf(look), madeAnew } : { madeAnew }
  }

  /** Reads all of it. @returns why it has to be made anew @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async within(bucket: Bucket, signal: AbortSignal): Promise<string | undefined> {
    const look = await this.#buckets[bucket].look()
    if (look === undefined || look.sealed) return troubleOf(look)
    const { stream } = this.#buckets[bucket]
    const health = await patiently(this.#waitMs, signal, () => streamHealth(this.#nats, stream, { signal }))
    if (health !== undefined && health.unreadable > 0) return `${health.unreadable} of its keys cannot be read`
    return health?.inconsistent === true ? 'the server counts it wrongly' : undefined
  }

  /** Drops it and makes it anew, here. @throws AppError STORE_UNAVAILABLE */
  async remake(bucket: Bucket): Promise<void> {
    await this.#buckets[bucket].remake()
    const look = await this.#buckets[bucket].look()
    if (look !== undefined) this.#created.set(bucket, look.created)
  }
}

const troubleOf = (look: object | undefined): string =>
  look === undefined ? 'it was gone' : 'it was sealed, and takes nothing more'
