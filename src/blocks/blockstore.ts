import type { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import type { HashedBlock } from './block.ts'

/** The largest block that is stored or served (IPFS's common bound). */
export const blockBytesMax = 2 * MiB

export interface Abortable {
  readonly signal: AbortSignal
}

/** A block to read. `bytes` is what a parent node says of its size: a hint that sizes the read-ahead, never trusted. */
export interface Want {
  readonly cid: CID
  readonly bytes?: number
}

export interface WriteStats {
  /** Blocks handed to the writer. */
  readonly blocks: number
  /** Those that the store did not hold before. */
  readonly newBlocks: number
}

/**
 * Many blocks on their way in, in a window bounded in bytes.
 * One writer serves one upload; its failures stay with it.
 */
export interface BlockWriter {
  /**
   * Hands over one block. Resolves when there is room in the window, not when the block is durable.
   * @throws the first failure of an earlier block; the signal's reason when aborted
   */
  put(block: HashedBlock): Promise<void>
  /**
   * Resolves when every block handed over so far is durable.
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE; the signal's reason when aborted
   */
  flush(): Promise<WriteStats>
}

/**
 * The storage seam. Everything clever (verification, caching, routing over stores) wraps it and keeps its shape.
 *
 * A block is known by its multihash alone: a CIDv0, a dag-pb and a raw CID of the same digest are one block, and the bytes
 * returned belong to all of them. Identity CIDs carry their bytes and never reach a store: see `inline.ts`.
 * Every method rejects with the signal's reason when aborted; an outage is STORE_UNAVAILABLE, never BLOCK_NOT_FOUND.
 */
export interface Blockstore {
  /** Whether the block is here, without reading it. */
  has(cid: CID, options: Abortable): Promise<boolean>
  /** The block's length in bytes. @throws AppError BLOCK_NOT_FOUND */
  size(cid: CID, options: Abortable): Promise<number>
  /** @throws AppError BLOCK_NOT_FOUND | BLOCK_LOST (it was stored and its bytes are gone) | BLOCK_CORRUPT */
  get(cid: CID, options: Abortable): Promise<Uint8Array>
  /**
   * The bytes of all `wants`, in their order, in as few round trips as the store can. The caller bounds the batch (see
   * `getMany` in get-many.ts). @throws as `get`, for the first that fails
   */
  getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]>
  /** Resolves once the block is durable. @returns whether it was new @throws AppError STORE_FULL | STORE_UNAVAILABLE */
  put(block: HashedBlock, options: Abortable): Promise<boolean>
  openWriter(options: Abortable): BlockWriter
  /** Forgets the block; deleting what is not here is no error. */
  delete(cid: CID, options: Abortable): Promise<void>
}

/** Nothing tells that a store ever had it. */
export function blockNotFound(cid: CID): AppError {
  return new AppError('BLOCK_NOT_FOUND', `block ${cid} is not stored here`, { block: cid.toString() })
}
