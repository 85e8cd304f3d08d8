import { publishBatch } from '../nats/batch.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetLast, directGetMany } from '../nats/direct-get.ts'
import { batchBlocksMax, batchBytesMax } from '../nats/layout.ts'
import { deleteMessage, lastMessageAtLeader } from '../nats/leader-get.ts'
import { patiently } from '../nats/patience.ts'
import type { Publication } from '../nats/publish.ts'
import { isWrongLastSequence, publish } from '../nats/publish.ts'
import { decodeMeta } from './block-object.ts'

/** Messages that are stored together or not at all, the block's meta last. */
export interface Parcel {
  readonly key: string
  readonly publications: readonly Publication[]
  readonly bytes: number
}

interface Queued {
  readonly parcel: Parcel
  readonly resolve: (isNew: boolean) => void
  readonly reject: (error: unknown) => void
}

/** More only makes the batches smaller: the server works through a stream's batches one after the other. */
const batchesInFlight = 2

/** Metas of large blocks wait for company while more chunks are under way: so many of them, or so long. */
const metasGathered = 32
const gatherMs = 20
/** Looks at the leader at a time. */
const confirmationsInFlight = 64

const never = new AbortController().signal

/**
 * Gathers the small messages of one shard into atomic batches: one fsync for hundreds of blocks.
 *
 * A batch goes out as soon as there is room for one in flight, so a lone block does not wait, and under load the batches
 * grow by themselves. What was handed over is written even if its upload has been given up meanwhile: it is in the
 * batch of others, and a block that nothing names is harmless.
 */
export class ShardWriter {
  readonly #nats: Nats
  readonly #bucket: BlockBucket
  readonly #waitMs: number
  readonly #queue: Queued[] = []
  readonly #underWay = new Map<string, Promise<boolean>>()
  #inFlight = 0
  #scheduled = false
  #chunksInFlight = 0
  #gathering: NodeJS.Timeout | undefined

  constructor(nats: Nats, bucket: BlockBucket, waitMs: number) {
    this.#nats = nats
    this.#bucket = bucket
    this.#waitMs = waitMs
  }

  /** Resolves once durable. @returns whether the block was new @throws AppError STORE_FULL | STORE_UNAVAILABLE */
  write(parcel: Parcel): Promise<boolean> {
    return this.#once(parcel.key, () => this.#enqueue(parcel))
  }

  /**
   * A large block: the chunk alone, pipelined with others, then its meta with theirs in one batch. Never together and
   * never the meta first: a meta must not stand without its chunk.
   */
  writeLarge(key: string, chunk: Publication, meta: Publication): Promise<boolean> {
    return this.#once(key, async () => {
      this.#chunksInFlight++
      try {
        await patiently(this.#waitMs, never, () => this.#writeIfAbsent([chunk]))
      } finally {
        this.#chunksInFlight--
      }
      return this.#enqueue({ key, publications: [meta], bytes: meta.payload.byteLength })
    })
  }

  /** Of several that write one block at the same time, one does it, and only to that one it is new. */
  #once(key: string, work: () => Promise<boolean>): Promise<boolean> {
    const same = this.#underWay.get(key)
    if (same !== undefined) return same.then(() => false)
    const written = work().finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, written)
    return written
  }

  #enqueue(parcel: Parcel): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      this.#queue.push({ parcel, resolve, reject })
      const isMetaAlone = parcel.publications.length === 1
      if (isMetaAlone && this.#chunksInFlight > 0 && this.#queue.length < metasGathered) this.#gather()
      else this.#schedule()
    })
  }

  #gather(): void {
    this.#gathering ??= setTimeout(() => this.#schedule(), gatherMs)
  }

  /** After the I/O of this turn, so that blocks which arrive together leave together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    setImmediate(() => {
      this.#scheduled = false
      while (this.#queue.length > 0 && this.#inFlight < batchesInFlight) this.#send(this.#take())
    })
  }

  #take(): Queued[] {
    let bytes = 0
    let count = 0
    for (const { parcel } of this.#queue) {
      if (count === batchBlocksMax || (count > 0 && bytes + parcel.bytes > batchBytesMax)) break
      bytes += parcel.bytes
      count++
    }
    return this.#queue.splice(0, count)
  }

  #send(batch: Queued[]): void {
    this.#inFlight++
    this.#write(batch)
      .catch((error: unknown) => {
        for (const { reject } of batch) reject(error)
      })
      .finally(() => {
        this.#inFlight--
        if (this.#queue.length > 0) this.#schedule()
      })
  }

  async #write(batch: Queued[]): Promise<void> {
    const [lone] = batch
    if (batch.length === 1 && lone !== undefined) {
      // Two publishes are three times as fast as a batch of two messages.
      lone.resolve(await this.#writeSingly(lone.parcel))
      return
    }
    const publications = batch.flatMap(({ parcel }) => parcel.publications)
    try {
      await patiently(this.#waitMs, never, () => publishBatch(this.#nats.data, this.#nats.requests, publications))
    } catch (error) {
      if (!isWrongLastSequence(error)) throw error
      await this.#writeWithoutKnown(batch)
      return
    }
    for (const { resolve } of batch) resolve(true)
  }

  /** Something of the batch is stored already, so nothing of it was taken: leave out what is known and go again. */
  async #writeWithoutKnown(batch: Queued[]): Promise<void> {
    const known = await patiently(this.#waitMs, never, () => this.#known(batch))
    const rest = batch.filter((queued) => !known.has(queued))
    for (const { resolve } of known) resolve(false)
    if (rest.length === 0) return
    if (known.size > 0) return this.#write(rest)
    // Half a block lies there (a crash between chunk and meta, or a deletion marker): one by one tells which.
    for (const { parcel, resolve } of rest) resolve(await this.#writeSingly(parcel))
  }

  async #known(batch: readonly Queued[]): Promise<Set<Queued>> {
    const bySubject = new Map(batch.map((queued) => [metaOf(queued.parcel).subject, queued]))
    const { requests } = this.#nats
    // A meta has some 400 bytes: all of a batch fit into one reply.
    const { messages } = await directGetMany(requests, this.#bucket.stream, [...bySubject.keys()], batchBytesMax)
    const known = new Set<Queued>()
    for (const { subject, data } of messages) {
      const queued = bySubject.get(subject)
      if (queued !== undefined && decodeMeta(data)?.deleted === false) known.add(queued)
    }
    if (this.#bucket.replicas === 1) return known
    return this.#confirmed([...known])
  }

  /** What a follower has may be deleted by now: to take it for stored would lose the block that is being put. */
  async #confirmed(known: readonly Queued[]): Promise<Set<Queued>> {
    const confirmed = new Set<Queued>()
    for (let at = 0; at < known.length; at += confirmationsInFlight) {
      const some = known.slice(at, at + confirmationsInFlight)
      await Promise.all(
        some.map(async (queued) => {
          const message = await lastMessageAtLeader(this.#nats, this.#bucket.stream, metaOf(queued.parcel).subject)
          if (message !== undefined && decodeMeta(message.data)?.deleted === false) confirmed.add(queued)
        }),
      )
    }
    return confirmed
  }

  /** Chunks first, then the meta; a crash in between leaves chunks that the next put completes. */
  async #writeSingly(parcel: Parcel): Promise<boolean> {
    const chunks = parcel.publications.slice(0, -1)
    if (chunks.length > 0) await patiently(this.#waitMs, never, () => this.#writeIfAbsent(chunks))
    return patiently(this.#waitMs, never, () => this.#writeMeta(metaOf(parcel)))
  }

  async #writeIfAbsent(publications: readonly Publication[]): Promise<boolean> {
    const { data, requests } = this.#nats
    const [only] = publications
    try {
      if (publications.length === 1 && only !== undefined) await publish(requests, only)
      else await publishBatch(data, requests, publications)
      return true
    } catch (error) {
      if (!isWrongLastSequence(error)) throw error
      return false
    }
  }

  async #writeMeta(publication: Publication): Promise<boolean> {
    if (await this.#writeIfAbsent([publication])) return true
    const { requests } = this.#nats
    const { stream, replicas } = this.#bucket
    const present = await (replicas === 1
      ? directGetLast(requests, stream, publication.subject)
      : lastMessageAtLeader(this.#nats, stream, publication.subject))
    if (present === undefined || decodeMeta(present.data)?.deleted !== true) return false
    // A deletion marker in the meta's place, of `nats object rm` or of a loss: replace it, as an Object Store client would.
    await publish(requests, { ...publication, expectedLastSequence: present.seq })
    await deleteMessage(this.#nats, stream, present.seq)
    return true
  }
}

function metaOf(parcel: Parcel): Publication {
  const meta = parcel.publications.at(-1)
  if (meta === undefined) throw new RangeError('a parcel without messages')
  return meta
}
