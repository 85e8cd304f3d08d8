import type { CID } from 'multiformats/cid'
import { isAppError } from '../errors.ts'
import { isWhole } from './block.ts'
import { type Abortable, blockNotFound } from './blockstore.ts'
import type { Route } from './routed.ts'
import { type BucketPlace, type OpenRoute, placeOf, type StoreHandle } from './stores.ts'

/**
 * The server draws who answers a Direct Get, and nothing tells who it was. With six draws a replica, the only good one of
 * three is passed over once in 1,500 times.
 */
const drawsEach = 6

/**
 * The replicas of a store, one after the other, as a place to read from: for a block that the leader has lost, or that the
 * replica which was asked holds damaged. Undefined for a store without replicas.
 */
export function anyReplica({ raw, ...at }: BucketPlace & Pick<StoreHandle, 'raw'>): OpenRoute | undefined {
  const replicas = raw.buckets[0]?.replicas ?? 1
  if (replicas === 1) return undefined
  const get = async (cid: CID, options: Abortable): Promise<Uint8Array> => {
    // Of content that nobody has, too, somebody waits for all of them: as many at a time as there are replicas.
    for (let round = 0; round < drawsEach; round++) {
      const drawn = await Promise.all(Array.from({ length: replicas }, () => raw.drawn(cid, options)))
      const bytes = drawn.find((one) => one !== undefined && isWhole(cid, one))
      if (bytes !== undefined) return bytes
    }
    throw blockNotFound(cid)
  }
  const has = (cid: CID, options: Abortable) =>
    get(cid, options).then(
      () => true,
      (error: unknown) => {
        if (isAppError(error, 'BLOCK_NOT_FOUND')) return false
        throw error
      },
    )
  const blocks: Route['blocks'] = {
    has,
    get,
    size: async (cid, options) => (await get(cid, options)).byteLength,
    getBatch: (wants, options) => Promise.all(wants.map(({ cid }) => get(cid, options))),
  }
  return { ...placeOf(at), drawn: true, blocks, isLocal: true }
}
