import type { Blockstore } from './blockstore.ts'

/** Reads what `blocks` holds, and drops what is written: to learn what content comes to without storing it. */
export function unwritten(blocks: Blockstore): Blockstore {
  return {
    has: (cid, options) => blocks.has(cid, options),
    size: (cid, options) => blocks.size(cid, options),
    get: (cid, options) => blocks.get(cid, options),
    getBatch: (wants, options) => blocks.getBatch(wants, options),
    put: async (_block, { signal }) => {
      signal.throwIfAborted()
      return false
    },
    openWriter: ({ signal }) => {
      let count = 0
      return {
        put: async () => {
          signal.throwIfAborted()
          count++
        },
        flush: async () => ({ blocks: count, newBlocks: 0 }),
      }
    },
    delete: async () => undefined,
  }
}
