import { AppError } from '../errors.ts'
import { formatBytes } from '../lib/units.ts'
import type { Blockstore } from './blockstore.ts'

/**
 * Refuses writes while the disk has less free space than the reserve. A nats-server that meets the end of the disk freezes
 * its streams, so it must not get there; reads go on as always.
 * @param freeBytes asked before each write; cheap, the answer may be a moment old
 */
export function spacious(blocks: Blockstore, reserveBytes: number, freeBytes: () => number): Blockstore {
  const check = (): void => {
    const free = freeBytes()
    if (free >= reserveBytes) return
    throw new AppError(
      'STORE_FULL',
      `the disk has ${formatBytes(free)} left; ${formatBytes(reserveBytes)} are kept free`,
      {
        hint: 'free space on the disk, or lower STOWAGE_DISK_RESERVE_BYTES; what was stored before is still readable',
      },
    )
  }
  return {
    has: (cid, options) => blocks.has(cid, options),
    size: (cid, options) => blocks.size(cid, options),
    get: (cid, options) => blocks.get(cid, options),
    getBatch: (wants, options) => blocks.getBatch(wants, options),
    put: async (block, options) => {
      check()
      return blocks.put(block, options)
    },
    openWriter: (options) => {
      const writer = blocks.openWriter(options)
      return {
        put: async (block) => {
          check()
          return writer.put(block)
        },
        flush: () => writer.flush(),
      }
    },
    delete: (cid, options) => blocks.delete(cid, options),
  }
}
