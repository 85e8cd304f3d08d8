import type { CID } from 'multiformats/cid'
import type { Blockstore } from '../blocks/blockstore.ts'
import { isAppError } from '../errors.ts'

type Source = Pick<Blockstore, 'get' | 'getBatch'>

const gap = new Uint8Array()

/** Whether these bytes stand for a block that is not there. */
export const isGap = (bytes: Uint8Array): boolean => bytes === gap

/**
 * Reads on over blocks that were never put, so that a DAG of which a part is there can be walked: each of them has the one
 * array of bytes that `isGap` knows, and has to be followed nowhere.
 * @param mayMiss whether this block may be absent; what was stored and is lost or damaged is an error all the same
 */
export function withGaps(source: Source, mayMiss: (cid: CID) => boolean): Source {
  const get: Source['get'] = async (cid, options) => {
    try {
      return await source.get(cid, options)
    } catch (error) {
      if (isAppError(error, 'BLOCK_NOT_FOUND') && mayMiss(cid)) return gap
      throw error
    }
  }
  return {
    get,
    // One that is absent fails a batch: then its blocks are asked for one by one, by `get`.
    getBatch: async (wants, options) => {
      const [only] = wants
      return wants.length === 1 && only !== undefined ? [await get(only.cid, options)] : source.getBatch(wants, options)
    },
  }
}
