import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { faultHint } from '../events/log-fault.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deletedBytes, rootKey } from './name-fold.ts'
import { type ObjectEffect, type ObjectLife, standingOfObject } from './object-life.ts'
import type { ObjectLog } from './object-log.ts'
import { revisionOf, writeRevision } from './revisioned.ts'
import { WatchedKeys } from './watched-keys.ts'

const neverAborted = new AbortController().signal
/** Of roots whose standing is asked of the log. */
const looksAtOnce = 32

type LogOfObjects = Pick<ObjectLog, 'lifeOf' | 'everDeleted' | 'isReadable'>

/** What a comparison with the log came to. */
export interface DeletedCheck {
  /** Roots that the log says are out of view, and the bucket did not. */
  readonly missing: number
  /** Roots that were in the bucket, and the log says are in view. */
  readonly extra: number
  /** Events that the bucket was folded from, and the log does not give any more. Their roots stay out of view. */
  readonly unreadable: readonly number[]
}

/**
 * Roots that were taken out of view; held in memory, for every read asks. A root leaves it only when the log says so, never
 * because the bucket was lost or damaged: what was deleted must not be served again.
 */
export class DeletedSet {
  readonly #bucket: KvBucket
  readonly #space: string
  readonly #log: LogOfObjects
  readonly #watched: WatchedKeys<Set<string>>
  /** Something is wrong with the bucket. */
  onDamage: () => void = () => undefined
  /** Some of the bucket could not be read, or was gone, and it was not compared with the log since. */
  damaged = false
  /** Why it cannot be known what was deleted: neither the bucket nor the log holds all of it. Then nothing is in view. */
  doubt: string | undefined

  constructor(nats: Nats, bucket: KvBucket, space: string, log: LogOfObjects) {
    this.#log = log
    this.#bucket = bucket
    this.#space = space
    const prefix = `${space}.`
    this.#watched = new WatchedKeys(nats, bucket, {
      filter: `${prefix}>`,
      empty: () => new Set<string>(),
      decode: (key) => key.slice(prefix.length),
      onUnreadable: () => this.#damage(),
      onVanished: () => this.#damage(),
    })
  }

  #damage(): void {
    this.damaged = true
    this.onDamage()
  }

  /** @throws AppError LOG_DAMAGED while it cannot be known what was deleted */
  throwIfUnknown(): void {
    if (this.doubt === undefined) return
    const why = `which content was deleted is not known: ${this.doubt}, and the event log is damaged`
    throw new AppError('LOG_DAMAGED', why, { hint: faultHint })
  }

  /**
   * Compares it with the log: all that was ever deleted, and all that is held to be. What differs is held right in memory at
   * once, whatever becomes of the bucket.
   * @param write brings the bucket up too; only where all of it can be read
   * @throws AppError STORE_UNAVAILABLE
   */
  async compare({ write, signal }: { readonly write: boolean; readonly signal: AbortSignal }): Promise<DeletedCheck> {
    const roots = await this.#log.everDeleted(signal)
    const { keys } = this.#watched
    const inBucket = write ? await this.#keysInBucket(signal) : keys
    const doubtful = new Set([...roots.keys()].filter((root) => !keys.has(root) || !inBucket.has(root)))
    for (const key of keys) if (!roots.has(key) || !inBucket.has(key)) doubtful.add(key)
    for (const key of inBucket) if (!roots.has(key)) doubtful.add(key)
    const found = { missing: 0, extra: 0, unreadable: [] as number[] }
    const all = [...doubtful]
    for (let at = 0; at < all.length; at += looksAtOnce) {
      await Promise.all(
        all.slice(at, at + looksAtOnce).map(async (root) => {
          const cid = roots.get(root) ?? CID.parse(root)
          const standing = standingOfObject(await this.#log.lifeOf(cid, [], signal))
          const isDeleted = standing?.deleted === true
          const unread = isDeleted ? undefined : await this.#unreadIn(root, standing?.revision ?? 0, signal)
          if (unread !== undefined) {
            found.unreadable.push(unread)
            return
          }
          if (isDeleted && !(keys.has(root) && inBucket.has(root))) found.missing++
          if (!isDeleted && (keys.has(root) || inBucket.has(root))) found.extra++
          if (write && (isDeleted || inBucket.has(root))) {
            await this.#bring(root, isDeleted ? standing : undefined, standing?.revision)
          } else await this.#hold(root, cid, signal)
        }),
      )
    }
    return found
  }

  /** The event that the bucket has of this root, where it is newer than what the log says and the log does not give it. */
  async #unreadIn(root: string, revision: number, signal: AbortSignal): Promise<number | undefined> {
    const record = await this.#bucket.get(`${this.#space}.${root}`, signal)
    if (record === undefined || record.removed) return undefined
    const known = revisionOf(record)
    return known > revision && !(await this.#log.isReadable(known, signal)) ? known : undefined
  }

  /** In memory alone. What happens meanwhile is heard before or after it, so the log is asked until it says the same again. */
  async #hold(root: string, cid: CID, signal: AbortSignal): Promise<void> {
    for (let held: number | undefined; ; ) {
      const standing = standingOfObject(await this.#log.lifeOf(cid, [], signal))
      const revision = standing?.revision ?? 0
      if (revision === held) return
      this.#watched.hold(root, standing?.deleted === true)
      held = revision
    }
  }

  /** Whoever writes meanwhile has something newer, which stays. */
  async #bring(root: string, deletion: ObjectEffect | undefined, revision = 0): Promise<void> {
    const value = deletion === undefined ? undefined : deletedBytes(deletion)
    const key = `${this.#space}.${root}`
    const { seq } = await writeRevision(this.#bucket, key, revision, value, { evenSame: true })
    if (seq !== undefined) this.#watched.wrote(root, value !== undefined, seq)
  }

  async #keysInBucket(signal: AbortSignal): Promise<Set<string>> {
    const prefix = `${this.#space}.`
    const keys = new Set<string>()
    for await (const page of this.#bucket.matching(`${prefix}>`, signal)) {
      for (const { key } of page) keys.add(key.slice(prefix.length))
    }
    return keys
  }

  get size(): number {
    return this.#watched.keys.size
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
      const value = deleted ? deletedBytes(standing) : undefined
      const { seq } = await writeRevision(this.#bucket, key, revision, value).catch(async (error: unknown) => {
        // What was deleted is out of view all the same, here at once.
        await this.#hold(root, CID.parse(first.cid), neverAborted)
        throw error
      })
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
