import type { Blockstore, Want } from '../blocks/blockstore.ts'
import { isAppError } from '../errors.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { ReadOptions } from './target.ts'

/** planned: its turn is settled. ahead: it will be needed, but what comes before it is not known yet. */
type Share = (typeof shares)[number]

interface Slot {
  readonly want: Want
  share: Share
  /** How often it will still be taken: a block can be planned in several places. */
  uses: number
  /** What it counts for in the window: the hint, and its length once it has arrived. */
  counted: number
  /** Settled when its batch has answered; undefined = not asked for yet. */
  answered: Promise<void> | undefined
  bytes: Uint8Array | undefined
  error: unknown
}

/** What a block of unknown size counts for. */
const unknownBytes = MiB
/** What the smallest block counts for, with all that is kept about it. */
const countedMin = KiB
const batchWantsMax = 256
const batchesMax = 2
const shares = ['planned', 'ahead'] as const
/** They concern one block of a batch, not the store. */
const blockErrors = ['BLOCK_NOT_FOUND', 'BLOCK_LOST', 'BLOCK_CORRUPT'] as const

export const isBlockError = (error: unknown): boolean => blockErrors.some((code) => isAppError(error, code))

/**
 * The blocks of one reader that are fetched or under way and not yet taken, in a window counted in bytes. A block is known
 * by its `multihashKey`, which its reader has at hand.
 * Three quarters of it are for blocks whose turn is settled, a quarter for those ahead of them, so that neither starves
 * the other. They are asked for in batches of up to half of the larger share.
 */
export class FetchWindow {
  readonly #blocks: Pick<Blockstore, 'get' | 'getBatch'>
  readonly #options: ReadOptions
  readonly #slots = new Map<string, Slot>()
  /** Not asked for yet, in order. One that was ahead and got its turn is in both. */
  readonly #waiting: Record<Share, Slot[]> = { planned: [], ahead: [] }
  readonly #counted: Record<Share, number> = { planned: 0, ahead: 0 }
  readonly #bytesMax: Readonly<Record<Share, number>>
  readonly #batchBytesMax: number
  #waitingBlocks = 0
  #waitingBytes = 0
  #batchesUnderWay = 0
  #trustsHints = true

  constructor(blocks: Pick<Blockstore, 'get' | 'getBatch'>, options: ReadOptions) {
    this.#blocks = blocks
    this.#options = options
    const { readAheadBytes } = options
    this.#bytesMax = { planned: readAheadBytes * 0.75, ahead: readAheadBytes * 0.25 }
    this.#batchBytesMax = this.#bytesMax.planned / 2
  }

  hasRoom(share: Share): boolean {
    const counted = this.#counted[share]
    return counted < this.#bytesMax[share] || (share === 'planned' && counted === 0)
  }

  /**
   * Takes the block into the window; it is asked for when a batch is worth its round trip, or is needed. What is planned
   * stays until it has been taken as often as it was planned.
   */
  ask(want: Want, key: string, share: Share): void {
    const known = this.#slots.get(key)
    if (known === undefined) {
      const counted = this.#trustsHints ? Math.max(want.bytes ?? unknownBytes, countedMin) : unknownBytes
      const uses = share === 'planned' ? 1 : 0
      const slot: Slot = { want, share, uses, counted, answered: undefined, bytes: undefined, error: undefined }
      this.#slots.set(key, slot)
      this.#counted[share] += counted
      this.#waiting[share].push(slot)
      this.#waitingBlocks++
      this.#waitingBytes += counted
      return
    }
    if (share === 'planned') known.uses++
    if (share === 'planned' && known.share === 'ahead') {
      known.share = share
      this.#counted.ahead -= known.counted
      this.#counted.planned += known.counted
      if (known.answered === undefined) this.#waiting.planned.push(known)
    }
  }

  /** The block, if it has arrived. */
  peek(key: string): Uint8Array | undefined {
    return this.#slots.get(key)?.bytes
  }

  /** Whether the store has been asked for it. */
  isUnderWay(key: string): boolean {
    return this.#slots.get(key)?.answered !== undefined
  }

  /**
   * Asks the store, if it is time to. `needed` is awaited next; `urgent` when nothing will join the batch soon.
   */
  start(needed: string | undefined, urgent: boolean): void {
    const head = needed === undefined ? undefined : this.#slots.get(needed)
    if (head !== undefined && head.answered === undefined) this.#startBatch()
    while (this.#batchesUnderWay < batchesMax && this.#waitingBlocks > 0 && (urgent || this.#fillsBatch())) {
      this.#startBatch()
    }
  }

  /** The block, out of the window where this was its last use. @throws as `get`, for this block only */
  async take(want: Want, key: string): Promise<Uint8Array> {
    const slot = this.#slots.get(key)
    await slot?.answered
    if (slot !== undefined) {
      slot.uses--
      if (slot.uses <= 0) {
        this.#slots.delete(key)
        this.#counted[slot.share] -= slot.counted
      }
      if (slot.bytes !== undefined) return slot.bytes
      if (slot.error !== undefined) throw slot.error
    }
    // Its batch failed for the sake of one of its blocks, or it has been taken under another codec before.
    return this.#blocks.get(want.cid, this.#options)
  }

  #fillsBatch(): boolean {
    return this.#waitingBlocks >= batchWantsMax || this.#waitingBytes >= this.#batchBytesMax
  }

  #startBatch(): void {
    const batch: Slot[] = []
    let bytes = 0
    for (const slot of this.#inTurn()) {
      if (batch.length === batchWantsMax || (batch.length > 0 && bytes + slot.counted > this.#batchBytesMax)) break
      bytes += slot.counted
      batch.push(slot)
    }
    this.#waitingBlocks -= batch.length
    this.#waitingBytes -= bytes
    this.#batchesUnderWay++
    const answered = this.#fetch(batch)
    for (const slot of batch) slot.answered = answered
    for (const share of shares) {
      this.#waiting[share] = this.#waiting[share].filter((slot) => slot.answered === undefined && slot.share === share)
    }
  }

  /** What waits: what is planned before what is ahead. */
  *#inTurn(): Generator<Slot> {
    for (const share of shares) {
      for (const slot of this.#waiting[share]) if (slot.share === share) yield slot
    }
  }

  /** Never rejects: whoever takes a block hears of its failure. */
  async #fetch(batch: readonly Slot[]): Promise<void> {
    try {
      const wants = batch.map((slot) => slot.want)
      const fetched = await this.#blocks.getBatch(wants, this.#options)
      for (const [index, slot] of batch.entries()) this.#arrived(slot, fetched[index])
      // A writer can state any size. One who was far off is not believed again.
      if (fetched.reduce((sum, { byteLength }) => sum + byteLength, 0) > 2 * this.#options.readAheadBytes) {
        this.#trustsHints = false
      }
    } catch (error) {
      if (batch.length > 1 && isBlockError(error)) return
      for (const slot of batch) slot.error = error
    } finally {
      this.#batchesUnderWay--
    }
  }

  #arrived(slot: Slot, bytes: Uint8Array | undefined): void {
    if (bytes === undefined) return
    slot.bytes = bytes
    const counted = Math.max(bytes.byteLength, countedMin)
    this.#counted[slot.share] += counted - slot.counted
    slot.counted = counted
  }
}
