import { setImmediate } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { isAppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { type BatchReply, directGetFrom, type StoredMessage, wholeStream } from '../nats/direct-get.ts'
import { deleteMessage, lastMessageAtLeader } from '../nats/leader-get.ts'
import { patiently } from '../nats/patience.ts'
import { isWhole } from './block.ts'
import type { NatsBlockstore } from './nats-blockstore.ts'
import { chunksHeader } from './shard-reader.ts'

/** What is wrong with a block. unfinished: its bytes are whole, and nothing names them. */
export type Fault = 'corrupt' | 'lost' | 'unfinished'

export interface Finding {
  /** CIDv1, raw: the multihash is all that a store knows of a block. */
  readonly cid: CID
  readonly fault: Fault
}

/** One page of a shard, looked at. */
export interface ScanPage {
  readonly blocks: number
  readonly bytes: number
  readonly findings: readonly Finding[]
  /** All before this sequence has been looked at. */
  readonly nextSeq: number
}

export interface ScanOptions {
  readonly signal: AbortSignal
  /** Where to begin; default: at the first message. */
  readonly fromSeq?: number
  readonly waitMs: number
  /** Called when so many bytes were read; the next are read once it resolves. */
  readonly pace?: (bytes: number) => Promise<void>
  /** Bytes without a meta that are younger may be a put under way. */
  readonly graceMs?: number
}

/** Small ones: what a reader asks for meanwhile waits behind a page. */
const pageBytes = MiB
const pageMessages = 512
/** Halves of blocks whose other half has not been met yet. */
const halvesMax = 4_096
const hashedAtOnce = MiB / 4
const graceMsDefault = 60 * 60 * 1000

/**
 * Reads one shard of a store from its first message to its last and hashes every block: a page is read while the one before
 * is hashed. Chunks and metas are met in the order of the stream and paired, so that each half that stands alone is seen:
 * a message whose checksum is wrong is left out by nats-server without a word. What looks wrong is read again as a reader
 * would before it is told, since blocks are put, deleted and rewritten meanwhile.
 *
 * It cannot see a block of which nothing is left: see `verifyDag` for that.
 * @throws AppError STORE_UNAVAILABLE; the signal's reason
 */
export async function* scanShard(
  nats: Nats,
  store: NatsBlockstore,
  bucket: BlockBucket,
  options: ScanOptions,
): AsyncGenerator<ScanPage, void, undefined> {
  const { signal, waitMs, pace, fromSeq = 1 } = options
  const page = async (seq: number): Promise<BatchReply> => {
    const reply = await patiently(waitMs, signal, () =>
      directGetFrom(nats.requests, bucket.stream, wholeStream, seq, pageMessages, pageBytes),
    )
    await pace?.(reply.messages.reduce((sum, { data }) => sum + data.byteLength, 0))
    return reply
  }
  const shard = new ShardScan(nats, store, bucket, options)
  let coming: Promise<BatchReply> | undefined = page(fromSeq)
  try {
    while (coming !== undefined) {
      const { messages }: BatchReply = await coming
      const nextSeq = (messages.at(-1)?.seq ?? 0) + 1
      // The server counts damaged messages as pending for ever: only an empty page is the end.
      coming = messages.length === 0 ? undefined : page(nextSeq)
      // What is thrown while the page before is looked at must not go unheard.
      coming?.catch(() => undefined)
      if (coming !== undefined) yield { ...(await shard.take(messages)), nextSeq }
    }
    yield { ...(await shard.end()), nextSeq: 1 }
  } finally {
    await coming?.catch(() => undefined)
  }
}

type Sums = Omit<ScanPage, 'nextSeq'>

class ShardScan {
  readonly #nats: Nats
  readonly #store: NatsBlockstore
  readonly #bucket: BlockBucket
  readonly #options: ScanOptions
  readonly #chunkPrefix: string
  readonly #metaPrefix: string
  /** Keys of chunks whose meta has not been met, and when they were stored. */
  readonly #chunks = new Map<string, number>()
  /** Keys of metas whose chunk has not been met. */
  readonly #metas = new Set<string>()

  constructor(nats: Nats, store: NatsBlockstore, bucket: BlockBucket, options: ScanOptions) {
    this.#nats = nats
    this.#store = store
    this.#bucket = bucket
    this.#options = options
    this.#chunkPrefix = `$O.${bucket.bucket}.C.`
    this.#metaPrefix = `$O.${bucket.bucket}.M.`
  }

  async take(messages: readonly StoredMessage[]): Promise<Sums> {
    const findings: Finding[] = []
    let blocks = 0
    let bytes = 0
    let sinceTurn = 0
    for (const message of messages) {
      bytes += message.data.byteLength
      sinceTurn += message.data.byteLength
      if (message.subject.startsWith(this.#metaPrefix)) {
        this.#meetMeta(message)
      } else if (message.subject.startsWith(this.#chunkPrefix)) {
        blocks++
        const finding = await this.#meetChunk(message)
        if (finding !== undefined) findings.push(finding)
      }
      if (sinceTurn < hashedAtOnce) continue
      sinceTurn = 0
      // Requests of others have their turn.
      await setImmediate()
    }
    findings.push(...(await this.#settle(halvesMax)))
    return { blocks, bytes, findings }
  }

  async end(): Promise<Sums> {
    return { blocks: 0, bytes: 0, findings: await this.#settle(0) }
  }

  #meetMeta({ subject }: StoredMessage): void {
    const key = Buffer.from(subject.slice(this.#metaPrefix.length), 'base64url').toString('utf8')
    if (!this.#chunks.delete(key)) this.#metas.add(key)
  }

  async #meetChunk(message: StoredMessage): Promise<Finding | undefined> {
    const key = message.subject.slice(this.#chunkPrefix.length)
    const cid = cidOf(key)
    // Somebody's object, or one that a client cut up: its meta is met alone and looked at by itself.
    if (cid === undefined) return undefined
    // One of several chunks proves nothing alone either.
    if (Number(message.header(chunksHeader) || 1) > 1) return undefined
    if (!this.#metas.delete(key)) this.#chunks.set(key, Date.parse(message.header('Nats-Time-Stamp')))
    if (isWhole(cid, message.data)) return undefined
    const fault = await this.#faultOf(cid)
    // There is a good one behind it, which readers get: a repair that was not finished.
    if (fault === undefined && (await this.#isReplaced(message))) {
      await deleteMessage(this.#nats, this.#bucket.stream, message.seq)
    }
    return fault === undefined ? undefined : { cid, fault }
  }

  /** Else it was read badly, and lies there whole. */
  async #isReplaced({ subject, seq }: StoredMessage): Promise<boolean> {
    const last = await lastMessageAtLeader(this.#nats, this.#bucket.stream, subject)
    return last !== undefined && last.seq > seq
  }

  /** Looks at halves that stand alone, the oldest first, until no more than `keep` are left. */
  async #settle(keep: number): Promise<Finding[]> {
    const findings: Finding[] = []
    for (const key of this.#metas) {
      if (this.#metas.size <= keep) break
      this.#metas.delete(key)
      const cid = cidOf(key)
      const fault = cid === undefined ? undefined : await this.#faultOf(cid)
      if (cid !== undefined && fault !== undefined) findings.push({ cid, fault })
    }
    const graceMs = this.#options.graceMs ?? graceMsDefault
    for (const [key, storedMs] of this.#chunks) {
      if (this.#chunks.size <= keep) break
      this.#chunks.delete(key)
      const cid = cidOf(key)
      if (cid === undefined || Date.now() - storedMs < graceMs) continue
      if (!(await this.#store.has(cid, this.#options))) findings.push({ cid, fault: 'unfinished' })
    }
    return findings
  }

  /** What a reader meets now; a block that was deleted meanwhile has no fault. */
  async #faultOf(cid: CID): Promise<Exclude<Fault, 'unfinished'> | undefined> {
    try {
      return isWhole(cid, await this.#store.get(cid, this.#options)) ? undefined : 'corrupt'
    } catch (error) {
      if (isAppError(error, 'BLOCK_LOST')) return 'lost'
      if (isAppError(error, 'BLOCK_CORRUPT')) return 'corrupt'
      if (isAppError(error, 'BLOCK_NOT_FOUND')) return undefined
      throw error
    }
  }
}

function cidOf(key: string): CID | undefined {
  try {
    return CID.parse(key)
  } catch {
    return undefined
  }
}
