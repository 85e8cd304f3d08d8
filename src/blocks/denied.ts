import type { CID } from 'multiformats/cid'
import type { Blockstore } from './blockstore.ts'

/** Reads pass only for blocks that `check` lets pass; writing and deleting is not its matter. @throws what `check` throws */
export function denied(blocks: Blockstore, check: (cid: CID) => void): Blockstore {
  return {
    has: async (cid, options) => {
      check(cid)
      return blocks.has(cid, options)
    },
    size: async (cid, options) => {
      check(cid)
      return blocks.size(cid, options)
    },
    get: async (cid, options) => {
      check(cid)
      return blocks.get(cid, options)
    },
    getBatch: async (wants, options) => {
      for (const { cid } of wants) check(cid)
      return blocks.getBatch(wants, options)
    },
    put: (block, options) => blocks.put(block, options),
    openWriter: (options) => blocks.openWriter(options),
    delete: (cid, options) => blocks.delete(cid, options),
  }
}
