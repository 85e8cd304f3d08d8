import type { CID } from 'multiformats/cid'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deletedBytes, type ObjectEffect, rootKey } from './name-fold.ts'
import { writeRevision } from './revisioned.ts'
import { WatchedKeys } from './watched-keys.ts'

/** Roots that were taken out of view; held in memory, for every read asks. */
export class DeletedSet {
  readonly #roots = new Set<string>()
  readonly #bucket: KvBucket
  readonly #space: string
  readonly #watched: WatchedKeys

  constructor(nats: Nats, bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#space = space
    const roots = this.#roots
    const keys = {
      add: (root: string) => roots.add(root),
      delete: (root: string) => roots.delete(root),
      load: (all: Iterable<string>) => {
        roots.clear()
        for (const root of all) roots.add(root)
      },
    }
    const prefix = `${space}.`
    this.#watched = new WatchedKeys(nats, bucket, `${prefix}>`, keys, (key) => key.slice(prefix.length))
  }

  /** Whatever spelling, version and codec the CID has. */
  has(cid: CID): boolean {
    return this.#roots.size > 0 && this.#roots.has(rootKey(cid))
  }

  caughtUp(waitMs: number, signal: AbortSignal): Promise<void> {
    return this.#watched.caughtUp(waitMs, signal)
  }

  /** Content that was added and is in view already costs nothing. */
  async apply(effect: ObjectEffect): Promise<void> {
    const { root, revision, deleted } = effect
    const key = `${this.#space}.${root}`
    if (!deleted && !this.#roots.has(root) && (await this.#bucket.get(key)) === undefined) return
    const { seq } = await writeRevision(this.#bucket, key, revision, deleted ? deletedBytes(effect) : undefined)
    if (seq !== undefined) this.#watched.wrote(root, deleted, seq)
  }

  close(): Promise<void> {
    return this.#watched.close()
  }
}
