import { CID } from 'multiformats/cid'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deletedBytes, rootKey } from './name-fold.ts'
import { type ObjectLife, standingOfObject } from './object-life.ts'
import type { ObjectLog } from './object-log.ts'
import { writeRevision } from './revisioned.ts'
import { WatchedKeys } from './watched-keys.ts'

const neverAborted = new AbortController().signal

/** Roots that were taken out of view; held in memory, for every read asks. */
export class DeletedSet {
  readonly #bucket: KvBucket
  readonly #space: string
  readonly #log: Pick<ObjectLog, 'lifeOf'>
  readonly #watched: WatchedKeys<Set<string>>

  constructor(nats: Nats, bucket: KvBucket, space: string, log: Pick<ObjectLog, 'lifeOf'>) {
    this.#log = log
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

  /**
   * Content that was put and is in view already costs nothing. Else how it stands is asked of the log, and asked again once a
   * deletion is written: whoever puts it in between may have found nothing here to take back.
   * @param heard of one root @throws AppError STORE_UNAVAILABLE
   */
  async apply(heard: ObjectLife): Promise<void> {
    const [first] = heard
    if (first === undefined) return
    const { root } = first
    const key = `${this.#space}.${root}`
    const isDeletion = heard.some(({ deleted }) => deleted)
    if (!isDeletion && !this.#watched.keys.has(root) && (await this.#bucket.get(key)) === undefined) return
    for (let written = 0; ; ) {
      const standing = standingOfObject(await this.#log.lifeOf(CID.parse(first.cid), heard, neverAborted))
      if (standing === undefined || standing.revision === written) return
      const { revision, deleted } = standing
      const { seq } = await writeRevision(this.#bucket, key, revision, deleted ? deletedBytes(standing) : undefined)
      if (seq === undefined) return
      this.#watched.wrote(root, deleted, seq)
      if (!deleted) return
      written = revision
    }
  }

  close(): Promise<void> {
    return this.#watched.close()
  }
}
