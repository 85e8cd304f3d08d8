import type { CID } from 'multiformats/cid'
import { isIdentity, trusted } from '../blocks/block.ts'
import { type Abortable, type Blockstore, blockBytesMax, type WriteStats } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'

/** Where an import puts its blocks. The CID was computed from these very bytes. */
export interface BlockSink {
  /** @throws as `BlockWriter.put`; BLOCK_TOO_LARGE */
  put(cid: CID, bytes: Uint8Array): Promise<void>
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
  let last: { readonly cid: CID; readonly bytes: Uint8Array } | undefined
  let handedOver = 0
  return {
    async put(cid, bytes) {
      signal.throwIfAborted()
      if (bytes.byteLength > blockBytesMax) {
        throw new AppError('BLOCK_TOO_LARGE', `a block of ${bytes.byteLength} bytes; the limit is ${blockBytesMax}`)
      }
      if (isIdentity(cid)) return
      const previous = last
      last = { cid, bytes }
      if (previous === undefined) return
      handedOver++
      await writer.put(trusted(previous.cid, previous.bytes))
    },
    async finish(root) {
      signal.throwIfAborted()
      if (last === undefined || !last.cid.equals(root)) throw new AppError('INTERNAL', `${root} was not written last`)
      if (handedOver > 0) await writer.flush()
      await writer.put(trusted(last.cid, last.bytes))
      return writer.flush()
    },
  }
}
