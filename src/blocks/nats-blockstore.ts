import type { CID } from 'multiformats/cid'
import type { LayoutConfig, StoreConfig } from '../config.ts'
import { AppError, isAppError } from '../errors.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import { mapAhead } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import { openBlockBuckets } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { chunkSubject, largeBlockBytes, messageOverheadBytes, metaSubject, shardOf } from '../nats/layout.ts'
import { purgeSubject } from '../nats/leader-get.ts'
import { patiently } from '../nats/patience.ts'
import type { Publication } from '../nats/publish.ts'
import type { HashedBlock } from './block.ts'
import { blockKey, encodeLostMarker, encodeMeta } from './block-object.ts'
import type { Abortable, Blockstore, BlockWriter, Want } from './blockstore.ts'
import { blockBytesMax } from './blockstore.ts'
import { replaceMeta, rewriteBlock } from './rewrite-block.ts'
import { chunksHeader, ShardReader } from './shard-reader.ts'
import { ShardWriter } from './shard-writer.ts'
import { WindowedWriter } from './windowed-writer.ts'

/** What an unknown block is taken for when bytes in flight are counted: a leaf of the default profile. */
const wantBytesDefault = MiB

/** Looks at the leader at a time. */
const confirmationsAhead = 63

interface Shard {
  readonly bucket: BlockBucket
  readonly reader: ShardReader
  readonly writer: ShardWriter
}

/**
 * Blocks as objects in the NATS Object Store, in the wire format of ADR-20, without its client: one Direct Get a block,
 * or one for a whole batch; large blocks as pipelined publishes, small ones in atomic batches.
 * @throws AppError STORE_MISMATCH | STORE_UNAVAILABLE
 */
export async function openNatsBlockstore(
  nats: Nats,
  layout: LayoutConfig,
  config: StoreConfig,
): Promise<NatsBlockstore> {
  return new NatsBlockstore(nats, await openBlockBuckets(nats, layout), config)
}

export class NatsBlockstore implements Blockstore {
  readonly buckets: readonly BlockBucket[]
  readonly #nats: Nats
  readonly #shards: readonly Shard[]
  readonly #waitMs: number
  readonly #writes: ByteBudget
  readonly #reads: ByteBudget
  readonly #chunkBytesMax: number

  constructor(nats: Nats, buckets: readonly BlockBucket[], config: StoreConfig) {
    this.buckets = buckets
    this.#nats = nats
    this.#waitMs = config.storeWaitMs
    this.#writes = new ByteBudget(config.writeWindowBytes)
    this.#reads = new ByteBudget(config.readFlightBytes)
    this.#chunkBytesMax = Math.min(nats.payloadBytesMax - messageOverheadBytes, blockBytesMax)
    this.#shards = buckets.map((bucket) => ({
      bucket,
      reader: new ShardReader(nats, bucket),
      writer: new ShardWriter(nats, bucket, config.storeWaitMs),
    }))
  }

  async has(cid: CID, { signal }: Abortable): Promise<boolean> {
    return (await this.#meta(cid, signal)) !== undefined
  }

  /**
   * Which of these are here, in their order, by their metas: one request for all that share a shard. A replica that lags
   * behind may answer, so a no proves nothing, and a yes may be older than a deletion.
   */
  async hasMany(cids: readonly CID[], { signal }: Abortable): Promise<boolean[]> {
    const groups = new Map<Shard, CID[]>()
    for (const cid of cids) {
      const shard = this.#shard(cid)
      const group = groups.get(shard)
      if (group === undefined) groups.set(shard, [cid])
      else group.push(cid)
    }
    const present = new Set<string>()
    await Promise.all(
      Array.from(groups, async ([{ reader }, ofShard]) => {
        const keys = await patiently(this.#waitMs, signal, () => reader.present(ofShard))
        for (const key of keys) present.add(key)
      }),
    )
    return cids.map((cid) => present.has(blockKey(cid)))
  }

  /** As `hasMany`, and a yes is the leader's own: whoever goes by it does not write the block. */
  async #hasSurely(cids: readonly CID[], options: Abortable): Promise<boolean[]> {
    const here = await this.hasMany(cids, options)
    if (this.buckets.every(({ replicas }) => replicas === 1)) return here
    const asked = cids.map((cid, index) => ({ cid, isHere: here[index] === true }))
    const sure: boolean[] = []
    const confirmed = mapAhead(
      asked,
      confirmationsAhead,
      async ({ cid, isHere }) => isHere && (await this.#isAtLeader(cid, options)),
    )
    for await (const isSure of confirmed) sure.push(isSure)
    return sure
  }

  async #isAtLeader(cid: CID, { signal }: Abortable): Promise<boolean> {
    const { reader } = this.#shard(cid)
    return (await patiently(this.#waitMs, signal, () => reader.metaAtLeader(cid))) !== undefined
  }

  async size(cid: CID, { signal }: Abortable): Promise<number> {
    const { reader } = this.#shard(cid)
    return (await patiently(this.#waitMs, signal, () => reader.presentMeta(cid))).size
  }

  async get(cid: CID, { signal }: Abortable): Promise<Uint8Array> {
    return this.#reading(wantBytesDefault, signal, () => this.#shard(cid).reader.get(cid))
  }

  /** What one replica has, whichever the server asks: undefined where it has nothing, and nothing is verified. */
  async drawn(cid: CID, { signal }: Abortable): Promise<Uint8Array | undefined> {
    return this.#reading(wantBytesDefault, signal, () => this.#shard(cid).reader.drawn(cid))
  }

  async getBatch(wants: readonly Want[], { signal }: Abortable): Promise<Uint8Array[]> {
    const groups = new Map<Shard, { indexes: number[]; cids: CID[]; bytes: number }>()
    for (const [index, { cid, bytes }] of wants.entries()) {
      const shard = this.#shard(cid)
      const group = groups.get(shard) ?? { indexes: [], cids: [], bytes: 0 }
      group.indexes.push(index)
      group.cids.push(cid)
      group.bytes += Math.min(bytes ?? wantBytesDefault, blockBytesMax)
      groups.set(shard, group)
    }
    const result: Uint8Array[] = new Array(wants.length)
    await Promise.all(
      Array.from(groups, async ([shard, { indexes, cids, bytes }]) => {
        const read = await this.#reading(bytes, signal, () => shard.reader.getBatch(cids, bytes + cids.length * 256))
        for (const [i, index] of indexes.entries()) result[index] = read[i] ?? new Uint8Array()
      }),
    )
    return result
  }

  async put(block: HashedBlock, { signal }: Abortable): Promise<boolean> {
    const bytes = block.bytes.byteLength
    await this.#writes.acquire(bytes, signal)
    try {
      return await this.#write(block)
    } finally {
      this.#writes.release(bytes)
    }
  }

  openWriter({ signal }: Abortable): BlockWriter {
    return new WindowedWriter(
      this.#writes,
      (block) => this.#write(block),
      (cids) => this.#hasSurely(cids, { signal }),
      signal,
    )
  }

  /**
   * Writes a block anew, whatever lies in its place: damaged, half of it, or nothing. A block of one chunk can be read all
   * the time; one of several is not here for a moment.
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE; BLOCK_LOST when the server takes it and does not give it back
   */
  async rewrite(block: HashedBlock, options: Abortable): Promise<void> {
    const publications = this.#publications(block)
    const [chunk, meta] = publications
    if (publications.length === 2 && chunk !== undefined && meta !== undefined) {
      const { bucket } = this.#shard(block.cid)
      await patiently(this.#waitMs, options.signal, () => rewriteBlock(this.#nats, bucket, { chunk, meta }))
      if (await this.#isWhole(block, options)) return
    }
    // Of several chunks; or the server's index and its file say different things of the subject.
    await this.delete(block.cid, options)
    await this.put(block, options)
    if (await this.#isWhole(block, options)) return
    throw new AppError('BLOCK_LOST', `block ${block.cid} was written again and cannot be read`)
  }

  async #isWhole({ cid, bytes }: HashedBlock, options: Abortable): Promise<boolean> {
    try {
      return Buffer.compare(await this.get(cid, options), bytes) === 0
    } catch (error) {
      if (isAppError(error, 'BLOCK_NOT_FOUND') || isAppError(error, 'BLOCK_LOST')) return false
      throw error
    }
  }

  /**
   * Takes a block whose bytes are gone for absent, so that a put writes it again, and leaves a marker: it is BLOCK_LOST to
   * whoever reads it. The meta alone: should its bytes turn out to be there after all, they are found and named again (see
   * `scanShard`). A block that is being put again now is left alone.
   */
  async markLost(cid: CID, { signal }: Abortable): Promise<void> {
    const { bucket } = this.#shard(cid)
    const key = blockKey(cid)
    const marker = { subject: metaSubject(bucket.bucket, key), payload: encodeLostMarker(bucket.bucket, key) }
    await patiently(this.#waitMs, signal, () => replaceMeta(this.#nats, bucket, marker))
  }

  /** Takes bytes that no meta names, and that are no good, for absent. */
  async disown(cid: CID, { signal }: Abortable): Promise<void> {
    const { bucket } = this.#shard(cid)
    const subject = metaSubject(bucket.bucket, blockKey(cid))
    await patiently(this.#waitMs, signal, () => purgeSubject(this.#nats, bucket.stream, subject))
  }

  async delete(cid: CID, { signal }: Abortable): Promise<void> {
    const meta = await this.#meta(cid, signal)
    const { bucket } = this.#shard(cid)
    const key = blockKey(cid)
    // The meta first: without it the block counts as absent, so a crash in between leaves bytes that nothing names.
    const subjects = [metaSubject(bucket.bucket, key), chunkSubject(bucket.bucket, key)]
    if (meta !== undefined && meta.nuid !== key) subjects.push(chunkSubject(bucket.bucket, meta.nuid))
    for (const subject of subjects) {
      await patiently(this.#waitMs, signal, () => purgeSubject(this.#nats, bucket.stream, subject))
    }
  }

  #shard(cid: CID): Shard {
    const shard = this.#shards[shardOf(cid.multihash.digest, this.#shards.length)]
    if (shard === undefined) throw new RangeError('a shard outside the store')
    return shard
  }

  #meta(cid: CID, signal: AbortSignal) {
    return patiently(this.#waitMs, signal, () => this.#shard(cid).reader.meta(cid))
  }

  async #reading<T>(bytes: number, signal: AbortSignal, read: () => Promise<T>): Promise<T> {
    await this.#reads.acquire(bytes, signal)
    try {
      return await patiently(this.#waitMs, signal, read)
    } finally {
      this.#reads.release(bytes)
    }
  }

  async #write({ cid, bytes }: HashedBlock): Promise<boolean> {
    if (bytes.byteLength > blockBytesMax) {
      throw new AppError('BLOCK_TOO_LARGE', `block of ${bytes.byteLength} bytes; the limit is ${blockBytesMax}`)
    }
    const { writer } = this.#shard(cid)
    const key = blockKey(cid)
    const publications = this.#publications({ cid, bytes })
    const [chunk, meta] = publications
    const isLarge = publications.length === 2 && bytes.byteLength >= largeBlockBytes
    if (isLarge && chunk !== undefined && meta !== undefined) return writer.writeLarge(key, chunk, meta)
    return writer.write({ key, publications, bytes: bytes.byteLength })
  }

  /** Chunks, then the meta. */
  #publications({ cid, bytes }: Pick<HashedBlock, 'cid' | 'bytes'>): readonly Publication[] {
    const { bucket } = this.#shard(cid)
    const key = blockKey(cid)
    const chunks = Math.ceil(bytes.byteLength / this.#chunkBytesMax) || 1
    const subject = chunkSubject(bucket.bucket, key)
    const meta: Publication = {
      subject: metaSubject(bucket.bucket, key),
      payload: encodeMeta(bucket.bucket, key, cid, bytes, chunks, this.#chunkBytesMax),
      expectedLastSequence: 0,
    }
    if (chunks > 1) return [...chunksOf(subject, bytes, chunks, this.#chunkBytesMax), meta]
    return [{ subject, payload: bytes, expectedLastSequence: 0 }, meta]
  }
}

function chunksOf(subject: string, bytes: Uint8Array, chunks: number, chunkBytes: number): Publication[] {
  return Array.from({ length: chunks }, (_, i) => ({
    subject,
    payload: bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes),
    headers: { [chunksHeader]: String(chunks) },
    // Within one batch only the first can expect the subject to be empty.
    ...(i === 0 ? { expectedLastSequence: 0 } : {}),
  }))
}
