import { setImmediate } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import type { Blockstore, Want } from '../blocks/blockstore.ts'
import { getDistinct } from '../blocks/get-many.ts'
import { isAppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import { isBlockError } from './fetch-window.ts'
import { checkDepth, decodeSubShard, isSubShard, type Shard } from './hamt.ts'
import type { Position } from './target.ts'

/** A shard that is being listed. */
export interface Frame {
  readonly shard: Shard
  /** Where the shard is: the position of its entries but for their last number. */
  readonly path: Position
  /** The next link to be listed. */
  next: number
  /** The shards below it that are still to be taken, from the end. */
  readonly below: SubShard[]
}

/** A shard whose parent is known. */
interface SubShard {
  readonly want: Want
  readonly parent: Shard
  readonly path: Position
  /** Settled when its batch has answered; undefined = not asked for yet. */
  answered: Promise<void> | undefined
  bytes: Uint8Array | undefined
  error: unknown
  /** Opened to look at what is below it, before its turn. */
  frame: Frame | undefined
}

export interface ShardsAheadOptions {
  readonly signal: AbortSignal
  readonly limits: { readonly nodeLinksMax: number }
  /** The first link of a shard that is listed. @throws AppError when there is none */
  readonly firstOf: (shard: Shard, path: Position) => number
}

/** A shard of 256 slots is seldom larger; most of a large directory have 1 KiB. */
const shardBytes = 16 * KiB
const aheadBytesMax = 256 * KiB
/** A page of 1,000 entries lies in some hundred shards. */
const aheadMax = 24
const aheadAtFirst = 4

/**
 * The shards of one listing, depth first. Those that come next are asked for together, whatever their parents: the children
 * of those that have arrived, and the siblings of all on the way down. Of a million entries most parents have one child or
 * none, so that children alone would be a round trip each.
 */
export class ShardsAhead {
  readonly #blocks: Pick<Blockstore, 'getBatch'>
  readonly #options: ShardsAheadOptions
  /** Asked for and not yet taken. */
  #ahead = 0
  #aheadBytes = 0
  #taken = 0

  constructor(blocks: Pick<Blockstore, 'getBatch'>, options: ShardsAheadOptions) {
    this.#blocks = blocks
    this.#options = options
  }

  /** @throws AppError DAG_INVALID, or as `firstOf` */
  open(shard: Shard, path: Position): Frame {
    checkDepth(shard, path.length)
    const next = this.#options.firstOf(shard, path)
    const below: SubShard[] = []
    for (let index = shard.links.count - 1; index >= next; index--) {
      if (isSubShard(shard, index)) below.push(subShard(shard.links.cid(index), shard, [...path, index]))
    }
    return { shard, path, next, below }
  }

  /**
   * The next shard below the last of the frames, which are the way down to it.
   * @throws AppError DAG_INVALID | LIMIT_EXCEEDED; as `Blockstore.get`
   */
  async take(frames: readonly Frame[]): Promise<Frame> {
    const below = frames.at(-1)?.below ?? []
    const head = below.at(-1)
    if (head === undefined) throw new Error('fewer shards than links to them')
    const room = this.#room()
    if (head.answered === undefined || room >= aheadMax / 2) this.#ask(frames, Math.max(room, 1))
    await head.answered
    below.pop()
    this.#ahead--
    this.#aheadBytes -= head.bytes?.byteLength ?? shardBytes
    // Blocks out of a cache arrive without I/O: let other requests, and the abort of this one, have their turn.
    if (++this.#taken % aheadMax === 0) await setImmediate()
    if (head.error !== undefined) throw head.error
    // Its batch may have failed for the sake of another.
    head.bytes ??= (await this.#blocks.getBatch([head.want], this.#options))[0]
    return this.#opened(head)
  }

  /** It grows with what is taken: whoever wants a few entries does not pay for a page. */
  #room(): number {
    return Math.min(aheadMax, aheadAtFirst + this.#taken) - this.#ahead
  }

  #ask(frames: readonly Frame[], room: number): void {
    const batch: SubShard[] = []
    for (const shard of this.#unasked(frames)) {
      this.#aheadBytes += shardBytes
      if (batch.push(shard) >= room || this.#aheadBytes >= aheadBytesMax) break
    }
    if (batch.length === 0) return
    this.#ahead += batch.length
    const answered = this.#fetch(batch)
    for (const shard of batch) shard.answered = answered
  }

  /** What is known and not asked for, in order. */
  *#unasked(frames: readonly Frame[]): Generator<SubShard> {
    for (const { below } of frames.toReversed()) {
      for (const shard of below.toReversed()) {
        if (shard.answered === undefined) yield shard
        else if (shard.bytes !== undefined) yield* this.#unasked(this.#openedIfSound(shard))
      }
    }
  }

  /** What is wrong with it is said in its turn: the entries before it are sound. */
  #openedIfSound(shard: SubShard): Frame[] {
    try {
      return [this.#opened(shard)]
    } catch (error) {
      if (isAppError(error)) return []
      throw error
    }
  }

  #opened(shard: SubShard): Frame {
    const { want, parent, path, bytes } = shard
    if (bytes === undefined) throw new Error('getBatch answered with fewer blocks than were wanted')
    shard.frame ??= this.open(decodeSubShard(want.cid, bytes, parent, this.#options.limits), path)
    return shard.frame
  }

  /** Never rejects: whoever takes a shard hears of its failure. */
  async #fetch(batch: readonly SubShard[]): Promise<void> {
    const wants = batch.map(({ want }) => want)
    try {
      const fetched = await getDistinct(this.#blocks, wants, this.#options)
      for (const [index, shard] of batch.entries()) {
        shard.bytes = fetched[index]
        this.#aheadBytes += (shard.bytes?.byteLength ?? shardBytes) - shardBytes
      }
    } catch (error) {
      if (batch.length > 1 && isBlockError(error)) return
      for (const shard of batch) shard.error = error
    }
  }
}

function subShard(cid: CID, parent: Shard, path: Position): SubShard {
  const want = { cid, bytes: shardBytes }
  return { want, parent, path, answered: undefined, bytes: undefined, error: undefined, frame: undefined }
}
