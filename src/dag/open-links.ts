import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { type HashedBlock, isIdentity, multihashKey } from '../blocks/block.ts'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { isAppError } from '../errors.ts'
import { mapAhead } from '../lib/streams.ts'
import { linksOf } from './codecs.ts'

/** What is kept in memory of one upload: about 100 bytes for each. */
const trackedMax = 100_000
const lookupsAhead = 64

/**
 * The links of the blocks met so far that lead to no block met so far. It finds the DAG that was cut off between two
 * blocks, which the bytes of a CAR cannot show. What it does not find: a gap below a block that the store already had; any
 * gap at all once 100,000 links are open at a time (in depth-first order a few thousand are).
 */
export class OpenLinks {
  /** Multihash key → codec of the link. */
  readonly #open = new Map<string, number>()
  readonly #met = new Set<string>()
  #gaveUp = false

  meet(block: HashedBlock): void {
    if (this.#gaveUp) return
    const key = multihashKey(block.cid)
    this.#open.delete(key)
    if (this.#met.size < trackedMax) this.#met.add(key)
    this.#follow(block)
  }

  /** The first link that leads neither to a block met nor to one in the store. */
  async firstMissing(blocks: Pick<Blockstore, 'has'>, options: Abortable): Promise<CID | undefined> {
    const found = mapAhead(this.#open, lookupsAhead, async ([key, code]) => {
      const cid = CID.createV1(code, Digest.decode(Buffer.from(key, 'latin1')))
      return { cid, here: await blocks.has(cid, options) }
    })
    for await (const { cid, here } of found) if (!here) return cid
    return undefined
  }

  #follow({ cid, bytes }: Pick<HashedBlock, 'cid' | 'bytes'>): void {
    for (const link of linksIfReadable(cid, bytes)) {
      if (isIdentity(link)) {
        this.#follow({ cid: link, bytes: link.multihash.digest })
        continue
      }
      const key = multihashKey(link)
      if (!this.#met.has(key)) this.#open.set(key, link.code)
    }
    if (this.#open.size <= trackedMax) return
    this.#gaveUp = true
    this.#open.clear()
    this.#met.clear()
  }
}

/** A block that cannot be decoded is stored as the bytes that it is, and leads nowhere. */
function linksIfReadable(cid: CID, bytes: Uint8Array): CID[] {
  try {
    return linksOf(cid, bytes, { nodeLinksMax: trackedMax }).map((link) => link.cid)
  } catch (error) {
    if (isAppError(error, 'DAG_INVALID') || isAppError(error, 'LIMIT_EXCEEDED')) return []
    throw error
  }
}
