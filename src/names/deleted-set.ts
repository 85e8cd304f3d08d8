import type { CID } from 'multiformats/cid'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deletedBytes, type ObjectEffect, rootKey } from './name-fold.ts'
import { writeRevision } from './revisioned.ts'
import { WatchedKeys } from './watched-keys.ts'

/** Roots that were taken out of view; held in memory, for every read asks. */
export class DeletedSet {
  readonly #bucket: KvBucket
  readonly #space: string
  readonly #watched: WatchedKeys<Set<string>>

  constructor(nats: Nats, bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#space = space
    const prefix = `${space}.`
    this.#watched = new WatchedKeys(nats, bucket, {
      filter: `${prefix}>`,
      empty: () => new Set<string>(),
      decode: (key) => key.slice(prefix.length),
    })
  }

  /** Whatever spelling, version and codec the CID has. */
  has(cid: CID): boolean {
    return this.#watched.keys.size > 0 && this.#watched.keys.has(rootKey(cid))
  }

  caughtUp(waitMs: number, signal: AbortSignal): Promise<void> {
    return this.#watched.caughtUp(waitMs, signal)
  }

  /** Content that was added and is in view already costs nothing. */
  async apply(effect: ObjectEffect): Promise<void> {
    const { root, revision, deleted } = effect
    const key = `${this.#space}.${root}`
    if (!deleted && !this.#watched.keys.has(root) && (await this.#bucket.get(key)) === undefined) return
    const { seq } = await writeRevision(this.#bucket, key, revision, deleted ? deletedBytes(effect) : undefined)
    if (seq !== undefined) this.#watched.wrote(root, deleted, seq)
  }

  close(): Promise<void> {
    return this.#watched.close()
  }
}
