import type { LayoutConfig } from '../config.ts'
import { isAppError } from '../errors.ts'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { Nats } from '../nats/connection.ts'
import { KvBucket, type KvRecord } from '../nats/kv-bucket.ts'
import {
  deletedBucket,
  ipnsBucket,
  nameBucket,
  outcomeBucket,
  placementBucket,
  policyBucket,
  refBucket,
} from '../nats/layout.ts'
import { digestOf } from '../nats/log-identity.ts'

/** Which log a projection was folded from, and to where: an event of this log had this sequence and this digest. */
export interface FoldMark {
  readonly epoch: string
  readonly sequence: number
  /** See `digestOf`. */
  readonly digest: string
}

/** What one projection says of its log. */
export interface Witness {
  readonly projection: Projection
  /** Undefined where none was written yet, or it was lost. */
  readonly mark: FoldMark | undefined
  /** The newest revision of an entry that was written after the mark; 0 = none. */
  readonly newest: number
}

/** Everything that is folded from the log. */
export const projections = ['names', 'refs', 'deleted', 'ipns', 'outcomes', 'placement', 'policy'] as const
export type Projection = (typeof projections)[number]

/** An event, as whoever folds it has it. */
export interface FoldedMessage {
  readonly subject: string
  readonly sequence: number
  readonly payload: Uint8Array
}

const writeEveryMs = 1_000
const never = new AbortController().signal

/** A key that no space can have: those begin with a letter or digit. */
export const markKey = (space: string): string => `=log.${space}`

const bucketOf: Readonly<Record<Projection, (domain: string) => string>> = {
  names: nameBucket,
  refs: refBucket,
  deleted: deletedBucket,
  ipns: ipnsBucket,
  outcomes: outcomeBucket,
  placement: placementBucket,
  policy: policyBucket,
}

/**
 * Ties projections to their log: each bucket holds, beside its state, which log it was folded from and to where. Written behind
 * the fold, once a second at the most; what was folded after it tells its revision itself.
 */
export class FoldMarks {
  readonly #buckets: ReadonlyMap<Projection, KvBucket>
  readonly #key: string
  readonly #epoch: () => string
  readonly #folded = new Map<Projection, FoldedMessage>()
  /** What is known to have stood in a bucket. */
  readonly #known = new Map<Projection, number>()
  readonly #listeners: ((projection: Projection) => unknown)[] = []
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(buckets: ReadonlyMap<Projection, KvBucket>, space: string, epoch: () => string) {
    this.#buckets = buckets
    this.#key = markKey(space)
    this.#epoch = epoch
  }

  /** Of those projections that are there: none is made for it. @throws AppError STORE_UNAVAILABLE */
  static async open(nats: Nats, layout: LayoutConfig, waitMs: number, epoch: () => string): Promise<FoldMarks> {
    const { domain, space, replicas } = layout
    const buckets = new Map<Projection, KvBucket>()
    for (const projection of projections) {
      const bucket = KvBucket.handle(nats, bucketOf[projection](domain), { replicas, waitMs, description: '' })
      buckets.set(projection, bucket)
    }
    return new FoldMarks(buckets, space, epoch)
  }

  /** Told when a bucket lost the mark that it had: it lost more than that. Until `reset` it gets no other one. */
  onLost(listener: (projection: Projection) => unknown): void {
    this.#listeners.push(listener)
  }

  /** All up to this event was folded into these projections, or is being folded by others. */
  folded(into: readonly Projection[], message: FoldedMessage): void {
    for (const projection of into) {
      if ((this.#folded.get(projection)?.sequence ?? 0) < message.sequence) this.#folded.set(projection, message)
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#flush()
    }, writeEveryMs)
  }

  /** @param thorough also what was written after the mark; else `newest` is 0 @throws AppError STORE_UNAVAILABLE */
  async read(thorough: boolean): Promise<Witness[]> {
    return Promise.all(
      Array.from(this.#buckets, async ([projection, bucket]): Promise<Witness> => {
        if (!(await bucket.exists())) return { projection, mark: undefined, newest: 0 }
        const record = await bucket.get(this.#key)
        const newest = thorough ? await newestRevision(bucket, (record?.seq ?? 0) + 1) : 0
        const mark = markIn(record)
        if (mark !== undefined && !this.#known.has(projection)) this.#known.set(projection, mark.sequence)
        return { projection, mark, newest }
      }),
    )
  }

  /** Whatever stood there: the projection was made anew from the log as it is. @throws AppError STORE_UNAVAILABLE */
  async reset(projection: Projection, mark: FoldMark): Promise<void> {
    const bucket = this.#buckets.get(projection)
    if (bucket === undefined || !(await bucket.exists())) return
    this.#folded.delete(projection)
    await put(bucket, this.#key, mark, () => true)
    this.#known.set(projection, mark.sequence)
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flush()
    await settledWithin(closeWaitMs, this.#writing)
  }

  #flush(): void {
    const due = [...this.#folded]
    this.#folded.clear()
    const epoch = this.#epoch()
    this.#writing = this.#writing.then(async () => {
      for (const [projection, { subject, sequence, payload }] of due) {
        const bucket = this.#buckets.get(projection)
        const mark = { epoch, sequence, digest: digestOf(subject, payload) }
        // A mark that is behind costs a look at more entries, nothing else.
        await (bucket === undefined ? undefined : this.#advance(projection, bucket, mark))?.catch(() => undefined)
      }
    })
  }

  async #advance(projection: Projection, bucket: KvBucket, mark: FoldMark): Promise<void> {
    const isThere = await bucket.exists()
    const present = isThere ? markIn(await bucket.get(this.#key)) : undefined
    if (!isThere || (present?.sequence ?? 0) < (this.#known.get(projection) ?? 0)) {
      for (const listener of this.#listeners) listener(projection)
      return
    }
    await put(bucket, this.#key, mark, (known) => known.epoch !== mark.epoch || known.sequence < mark.sequence)
    this.#known.set(projection, Math.max(present?.sequence ?? 0, mark.sequence))
  }
}

async function put(
  bucket: KvBucket,
  key: string,
  mark: FoldMark,
  replaces: (present: FoldMark) => boolean,
): Promise<void> {
  for (;;) {
    const present = await bucket.get(key)
    const known = markIn(present)
    if (known !== undefined && !replaces(known)) return
    if ((await bucket.write(key, Buffer.from(JSON.stringify(mark)), present?.seq ?? 0)) !== undefined) return
  }
}

function markIn(record: KvRecord | undefined): FoldMark | undefined {
  if (record === undefined || record.removed) return undefined
  try {
    const { epoch, sequence, digest } = JSON.parse(record.value.toString('utf8')) as Partial<FoldMark>
    const isWhole = typeof epoch === 'string' && typeof sequence === 'number' && typeof digest === 'string'
    return isWhole ? { epoch, sequence, digest } : undefined
  } catch {
    return undefined
  }
}

/** The newest revision in a bucket, of all spaces: they share the log. */
async function newestRevision(bucket: KvBucket, fromSeq: number): Promise<number> {
  let newest = 0
  try {
    for await (const page of bucket.scan(fromSeq, never)) {
      for (const record of page) newest = Math.max(newest, revisionIn(record))
    }
  } catch (error) {
    if (!isAppError(error)) throw error
  }
  return newest
}

/** The revision in an entry, as the indexes write it (`names/revisioned.ts`); an outcome says `sequence`. 0 = it has none. */
function revisionIn({ key, value, removed, header }: KvRecord): number {
  if (key.startsWith('=')) return 0
  if (removed) return Number(header('Stowage-Revision')) || 0
  try {
    const entry = JSON.parse(value.toString('utf8')) as {
      revision?: unknown
      sequence?: unknown
      events?: unknown
    } | null
    const { revision, sequence, events } = entry ?? {}
    if (typeof revision === 'number') return revision
    return typeof sequence === 'number' && typeof events === 'number' ? sequence : 0
  } catch {
    return 0
  }
}
