import { verifyBlock } from './block.ts'
import type { Blockstore } from './blockstore.ts'

/**
 * No byte passes that does not hash to its CID, in either direction. `openWriter` passes as it is: the HashedBlock it
 * takes was hashed where it was made, and hashing twice would cost a third of an upload's CPU.
 */
export function verified(blocks: Blockstore): Blockstore {
  return {
    has: (cid, options) => blocks.has(cid, options),
    size: (cid, options) => blocks.size(cid, options),
    get: async (cid, options) => verifyBlock(cid, await blocks.get(cid, options)).bytes,
    getBatch: async (wants, options) => {
      const read = await blocks.getBatch(wants, options)
      for (const [i, { cid }] of wants.entries()) verifyBlock(cid, read[i] ?? new Uint8Array())
      return read
    },
    put: async (block, options) => blocks.put(verifyBlock(block.cid, block.bytes), options),
    openWriter: (options) => blocks.openWriter(options),
    delete: (cid, options) => blocks.delete(cid, options),
  }
}
