import type { StoreRoom } from '../nats/store-room.ts'
import type { Blockstore } from './blockstore.ts'

/** Of a block: its meta, and the headers of both messages. */
const overheadBytes = 1_024

/**
 * Refuses writes while there is less room than the reserve. A nats-server that meets the end of the disk freezes its streams, and
 * one that meets its limit takes no event either, so it must not get there; reads go on as always.
 */
export function spacious(blocks: Blockstore, room: Pick<StoreRoom, 'refusal' | 'took'>): Blockstore {
  const check = (bytes: number): void => {
    const refusal = room.refusal('blocks')
    if (refusal !== undefined) throw refusal
    room.took(bytes + overheadBytes)
  }
  return {
    has: (cid, options) => blocks.has(cid, options),
    size: (cid, options) => blocks.size(cid, options),
    get: (cid, options) => blocks.get(cid, options),
    getBatch: (wants, options) => blocks.getBatch(wants, options),
    put: async (block, options) => {
      check(block.bytes.byteLength)
      return blocks.put(block, options)
    },
    openWriter: (options) => {
      const writer = blocks.openWriter(options)
      return {
        put: async (block) => {
          check(block.bytes.byteLength)
          return writer.put(block)
        },
        flush: () => writer.flush(),
      }
    },
    delete: (cid, options) => blocks.delete(cid, options),
  }
}
