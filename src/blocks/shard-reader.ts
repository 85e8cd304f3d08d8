import type { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import type { StoredMessage } from '../nats/direct-get.ts'
import { directGetAll, directGetLast, directGetMany } from '../nats/direct-get.ts'
import { chunkSubject, metaSubject, multiGetSubjectsMax } from '../nats/layout.ts'
import { type LeaderMessage, lastMessageAtLeader, messagesAtLeader } from '../nats/leader-get.ts'
import { TransientError } from '../nats/requests.ts'
import type { ObjectMeta } from './block-object.ts'
import { blockKey, decodeMeta } from './block-object.ts'
import { blockBytesMax, blockNotFound } from './blockstore.ts'

/** On every chunk of a block that did not fit into one message: how many there are. */
export const chunksHeader = 'Stowage-Chunks'

/** A meta has some 400 bytes. */
const metasBytesMax = MiB

/** Reads one shard's bucket. Errors name a block as it was asked for; nothing is verified here. */
export class ShardReader {
  readonly #nats: Nats
  readonly #bucket: BlockBucket

  constructor(nats: Nats, bucket: BlockBucket) {
    this.#nats = nats
    this.#bucket = bucket
  }

  /** The bytes of the block. @throws AppError BLOCK_NOT_FOUND | BLOCK_LOST; TransientError */
  async get(cid: CID): Promise<Uint8Array> {
    return (await this.drawn(cid)) ?? this.#byMeta(cid)
  }

  /** What one replica has, drawn by the server; undefined where it has nothing. @throws TransientError */
  async drawn(cid: CID): Promise<Uint8Array | undefined> {
    const subject = chunkSubject(this.#bucket.bucket, blockKey(cid))
    const last = await directGetLast(this.#nats.requests, this.#bucket.stream, subject)
    return last === undefined ? undefined : this.#whole(cid, last)
  }

  /**
   * The bytes of each of `cids`, in their order. `bytesMax` bounds what is asked for at a time.
   * @throws as `get`, for the first that fails
   */
  async getBatch(cids: readonly CID[], bytesMax: number): Promise<Uint8Array[]> {
    if (cids.length === 1 && cids[0] !== undefined) return [await this.get(cids[0])]
    const found = new Map<string, StoredMessage>()
    const subjectOf = cids.map((cid) => chunkSubject(this.#bucket.bucket, blockKey(cid)))
    const subjects = [...new Set(subjectOf)]
    for (let i = 0; i < subjects.length; i += multiGetSubjectsMax) {
      await this.#collect(subjects.slice(i, i + multiGetSubjectsMax), bytesMax, found)
    }
    return Promise.all(
      cids.map(async (cid, i) => {
        const last = found.get(subjectOf[i] ?? '')
        return (last === undefined ? undefined : await this.#whole(cid, last)) ?? this.get(cid)
      }),
    )
  }

  /** The meta; undefined for a block that is not here or was deleted. @throws TransientError */
  async meta(cid: CID): Promise<ObjectMeta | undefined> {
    const record = await this.#record(cid)
    return record?.deleted === false ? record : undefined
  }

  /** As `meta`. @throws AppError BLOCK_NOT_FOUND; BLOCK_LOST for a block with the marker of one that is gone; TransientError */
  async presentMeta(cid: CID): Promise<ObjectMeta> {
    const record = await this.#record(cid)
    if (record === undefined) throw blockNotFound(cid)
    if (record.deleted) throw blockLost(cid)
    return record
  }

  /** What lies in the meta's place, a deletion marker too. */
  async #record(cid: CID): Promise<ObjectMeta | undefined> {
    const { bucket, stream, replicas } = this.#bucket
    const message = await directGetLast(this.#nats.requests, stream, metaSubject(bucket, blockKey(cid)))
    const meta = message === undefined ? undefined : decodeMeta(message.data)
    return meta?.deleted === false || replicas === 1 ? meta : this.#recordAtLeader(cid)
  }

  /** Keys of those of `cids` that have a meta; any replica may answer. @throws TransientError */
  async present(cids: readonly CID[]): Promise<string[]> {
    const { bucket, stream } = this.#bucket
    const keys = [...new Set(cids.map(blockKey))]
    const present: string[] = []
    for (let at = 0; at < keys.length; at += multiGetSubjectsMax) {
      const keyOf = new Map(keys.slice(at, at + multiGetSubjectsMax).map((key) => [metaSubject(bucket, key), key]))
      let from: { fromSeq: number; upToSeq: number } | undefined
      do {
        const reply = await directGetMany(this.#nats.requests, stream, [...keyOf.keys()], metasBytesMax, from)
        for (const { subject, data } of reply.messages) {
          const key = keyOf.get(subject)
          if (key !== undefined && decodeMeta(data)?.deleted === false) present.push(key)
        }
        from = reply.next
      } while (from !== undefined)
    }
    return present
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
  async #whole(cid: CID, last: StoredMessage): Promise<Uint8Array | undefined> {
    const chunks = Number(last.header(chunksHeader) || 1)
    if (chunks === 1) return last.data
    return this.#joined(cid, blockKey(cid), chunks)
  }

  /** Undefined when not all chunks are there. */
  async #joined(cid: CID, nuid: string, chunks: number): Promise<Uint8Array | undefined> {
    const subject = chunkSubject(this.#bucket.bucket, nuid)
    const parts = await directGetAll(this.#nats.requests, this.#bucket.stream, subject, chunks, blockBytesMax * 2)
    return parts.length === chunks ? concat(cid, parts) : undefined
  }

  /** The way of any Object Store client: the meta names the nuid under which the chunks lie. */
  async #byMeta(cid: CID): Promise<Uint8Array> {
    const meta = await this.presentMeta(cid)
    if (meta.size === 0) return new Uint8Array()
    return (await this.#joined(cid, meta.nuid, meta.chunks)) ?? this.#atLeader(cid)
  }

  /**
   * What decides whether a block is lost. A meta stands behind its chunk in the stream, so whoever has the one must have the
   * other; but the meta may come from the leader and the chunk be asked of a follower that has neither yet.
   */
  async #atLeader(cid: CID): Promise<Uint8Array> {
    const meta = await this.#recordAtLeader(cid)
    if (meta === undefined) throw blockNotFound(cid)
    if (meta.deleted) throw blockLost(cid)
    const { bucket, stream } = this.#bucket
    const parts: LeaderMessage[] = []
    let bytes = 0
    for await (const part of messagesAtLeader(this.#nats, stream, chunkSubject(bucket, meta.nuid))) {
      parts.push(part)
      bytes += part.data.byteLength
      if (parts.length === meta.chunks || bytes > blockBytesMax) return concat(cid, parts)
    }
    const now = await this.#recordAtLeader(cid)
    if (now === undefined) throw blockNotFound(cid)
    if (now.nuid !== meta.nuid) throw new TransientError(`block ${cid} was replaced while it was read`)
    throw blockLost(cid)
  }

  /** The meta as the leader has it; undefined for a block that is not there or was deleted. @throws TransientError */
  async metaAtLeader(cid: CID): Promise<ObjectMeta | undefined> {
    const record = await this.#recordAtLeader(cid)
    return record?.deleted === false ? record : undefined
  }

  async #recordAtLeader(cid: CID): Promise<ObjectMeta | undefined> {
    const { bucket, stream } = this.#bucket
    const message = await lastMessageAtLeader(this.#nats, stream, metaSubject(bucket, blockKey(cid)))
    return message === undefined ? undefined : decodeMeta(message.data)
  }
}

function blockLost(cid: CID): AppError {
  return new AppError('BLOCK_LOST', `block ${cid} was stored, but its bytes are gone`, {
    hint: 'put the content again, or restore it from another copy',
    block: cid.toString(),
  })
}

function concat(cid: CID, parts: readonly { readonly data: Uint8Array }[]): Uint8Array {
  const bytes = parts.reduce((sum, part) => sum + part.data.byteLength, 0)
  if (bytes > blockBytesMax) throw new AppError('BLOCK_CORRUPT', `block ${cid} has ${bytes} bytes`)
  return Buffer.concat(parts.map((part) => part.data))
}
