import type { CID } from 'multiformats/cid'
import type { HashedBlock } from '../blocks/block.ts'
import { type Abortable, type Blockstore, blockBytesMax, type WriteStats } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'

/** Where an import puts its blocks. */
export interface BlockSink {
  /** @throws as `BlockWriter.put`; BLOCK_TOO_LARGE */
  put(block: HashedBlock): Promise<void>
}

export interface RootLastSink extends BlockSink {
  /**
   * Makes everything durable: first all blocks but the last one, then that one. So a crash leaves no root without its blocks.
   * @throws as `BlockWriter.flush`; AppError INTERNAL when the last block is not the root
   */
  finish(root: CID): Promise<WriteStats>
}

/** A sink over one writer that holds the latest block back until it is known whether it is the root. */
export function rootLast(blocks: Pick<Blockstore, 'openWriter'>, options: Abortable): RootLastSink {
  const { signal } = options
  const writer = blocks.openWriter(options)
  let last: HashedBlock | undefined
  let handedOver = 0
  return {
    async put(block) {
      signal.throwIfAborted()
      const { byteLength } = block.bytes
      if (byteLength > blockBytesMax) {
        throw new AppError('BLOCK_TOO_LARGE', `a block of ${byteLength} bytes; the limit is ${blockBytesMax}`, {
          limit: 'block_bytes',
        })
      }
      const previous = last
      last = block
      if (previous === undefined) return
      handedOver++
      await writer.put(previous)
    },
    async finish(root) {
      signal.throwIfAborted()
      if (last === undefined || !last.cid.equals(root)) throw new AppError('INTERNAL', `${root} was not written last`)
      if (handedOver > 0) await writer.flush()
      await writer.put(last)
      return writer.flush()
    },
  }
}
