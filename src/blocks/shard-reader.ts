import { AppError } from '../errors.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import type { StoredMessage } from '../nats/direct-get.ts'
import { directGetAll, directGetLast, directGetMany } from '../nats/direct-get.ts'
import { chunkSubject, metaSubject, multiGetSubjectsMax } from '../nats/layout.ts'
import { lastMessageAtLeader } from '../nats/leader-get.ts'
import type { ObjectMeta } from './block-object.ts'
import { decodeMeta } from './block-object.ts'
import { blockBytesMax } from './blockstore.ts'

/** On every chunk of a block that did not fit into one message: how many there are. */
export const chunksHeader = 'Stowage-Chunks'
const metaBytesMax = 1024

/** Reads one shard's bucket. Keys are block keys; nothing is verified here. */
export class ShardReader {
  readonly #nats: Nats
  readonly #bucket: BlockBucket

  constructor(nats: Nats, bucket: BlockBucket) {
    this.#nats = nats
    this.#bucket = bucket
  }

  /** The bytes of the block. @throws AppError BLOCK_NOT_FOUND | BLOCK_LOST; TransientError */
  async get(key: string): Promise<Uint8Array> {
    const { requests } = this.#nats
    const last = await directGetLast(requests, this.#bucket.stream, chunkSubject(this.#bucket.bucket, key))
    return (last === undefined ? undefined : await this.#whole(key, last)) ?? this.#byMeta(key)
  }

  /**
   * The bytes of each of `keys`, in their order. `bytesMax` bounds what is asked for at a time.
   * @throws as `get`, for the first that fails
   */
  async getBatch(keys: readonly string[], bytesMax: number): Promise<Uint8Array[]> {
    if (keys.length === 1 && keys[0] !== undefined) return [await this.get(keys[0])]
    const found = new Map<string, StoredMessage>()
    const subjects = [...new Set(keys)].map((key) => chunkSubject(this.#bucket.bucket, key))
    for (let i = 0; i < subjects.length; i += multiGetSubjectsMax) {
      await this.#collect(subjects.slice(i, i + multiGetSubjectsMax), bytesMax, found)
    }
    return Promise.all(
      keys.map(async (key) => {
        const last = found.get(chunkSubject(this.#bucket.bucket, key))
        return (last === undefined ? undefined : await this.#whole(key, last)) ?? this.get(key)
      }),
    )
  }

  /** The meta; undefined for a block that is not here or was deleted. @throws TransientError */
  async meta(key: string): Promise<ObjectMeta | undefined> {
    const { bucket, stream, replicas } = this.#bucket
    const subject = metaSubject(bucket, key)
    const message =
      (await directGetLast(this.#nats.requests, stream, subject))?.data ??
      (replicas > 1 ? await lastMessageAtLeader(this.#nats, stream, subject) : undefined)
    const meta = message === undefined ? undefined : decodeMeta(message)
    return meta?.deleted === false ? meta : undefined
  }

  /** Which of `keys` are here. @throws TransientError */
  async known(keys: readonly string[]): Promise<Set<string>> {
    const byMeta = new Map(keys.map((key) => [metaSubject(this.#bucket.bucket, key), key]))
    const found = new Map<string, StoredMessage>()
    await this.#collect([...byMeta.keys()], keys.length * metaBytesMax, found)
    const known = new Set<string>()
    for (const [subject, message] of found) {
      const key = byMeta.get(subject)
      if (key !== undefined && decodeMeta(message.data)?.deleted === false) known.add(key)
    }
    return known
  }

  async #collect(subjects: readonly string[], bytesMax: number, into: Map<string, StoredMessage>): Promise<void> {
    const { requests } = this.#nats
    let from: { fromSeq: number; upToSeq: number } | undefined
    do {
      const reply = await directGetMany(requests, this.#bucket.stream, subjects, bytesMax, from)
      for (const message of reply.messages) into.set(message.subject, message)
      from = reply.next
    } while (from !== undefined)
  }

  /** A block of several chunks lies on one subject; the last one says how many there are. */
  async #whole(key: string, last: StoredMessage): Promise<Uint8Array | undefined> {
    const chunks = Number(last.header(chunksHeader) || 1)
    if (chunks === 1) return last.data
    return this.#joined(key, key, chunks)
  }

  /** Undefined when not all chunks are there. */
  async #joined(key: string, nuid: string, chunks: number): Promise<Uint8Array | undefined> {
    const subject = chunkSubject(this.#bucket.bucket, nuid)
    const parts = await directGetAll(this.#nats.requests, this.#bucket.stream, subject, chunks, blockBytesMax * 2)
    if (parts.length !== chunks) return undefined
    const bytes = parts.reduce((sum, part) => sum + part.data.byteLength, 0)
    if (bytes > blockBytesMax) throw new AppError('BLOCK_CORRUPT', `block ${key} has ${bytes} bytes`)
    return Buffer.concat(parts.map((part) => part.data))
  }

  /** The way of any Object Store client: the meta names the nuid under which the chunks lie. */
  async #byMeta(key: string): Promise<Uint8Array> {
    const meta = await this.meta(key)
    if (meta === undefined) throw new AppError('BLOCK_NOT_FOUND', `block ${key} is not stored here`)
    const bytes = meta.size === 0 ? new Uint8Array() : await this.#joined(key, meta.nuid, meta.chunks)
    if (bytes !== undefined) return bytes
    throw new AppError('BLOCK_LOST', `block ${key} was stored, but its bytes are gone`, {
      hint: 'put the content again, or restore it from another copy',
    })
  }
}
