import type { CID } from 'multiformats/cid'
import { multihashKey } from '../blocks/block.ts'
import { type Abortable, type Blockstore, blockNotFound, type Want } from '../blocks/blockstore.ts'
import { type Route, RoutedBlockstore } from '../blocks/routed.ts'
import { type AppError, isAppError } from '../errors.ts'

export interface CopySourceParts {
  /** Where the copy is to lie. */
  readonly dest: Blockstore
  /** Which of these `dest` has, by what it says of them, unread; undefined = each is read to know. */
  readonly hasMany: ((cids: readonly CID[], options: Abortable) => Promise<readonly boolean[]>) | undefined
  readonly others: readonly Route[]
}

export interface Found {
  readonly from: Route
  /** What `dest` said of it. */
  readonly failure: AppError
}

/**
 * The blocks of a DAG on its way: out of `dest` what is there, from elsewhere the rest. `dest` is asked for a whole batch at
 * once what it has: to read what is not there would cost several requests for each block.
 */
export class CopySource implements Pick<Blockstore, 'get' | 'getBatch'> {
  readonly #parts: CopySourceParts
  readonly #routed: RoutedBlockstore
  readonly #elsewhere: RoutedBlockstore
  readonly #found = new Map<string, Found>()
  #isAway = false

  constructor(parts: CopySourceParts) {
    const { dest } = parts
    const others = parts.others.map((route) => ({
      ...route,
      blocks: watched(route.blocks, () => {
        this.#isAway = true
      }),
    }))
    this.#parts = parts
    const onFound = ({ cid, from }: { readonly cid: CID; readonly from: Route }, failure: AppError) =>
      this.#found.set(multihashKey(cid), { from, failure })
    this.#routed = new RoutedBlockstore({ primary: dest, others: () => others, onFound })
    this.#elsewhere = new RoutedBlockstore({ primary: nowhere(dest), others: () => others, onFound })
  }

  /** One of the others could not be asked, so that what nobody has given may lie there. */
  get isAway(): boolean {
    return this.#isAway
  }

  /** Where a block was read that `dest` did not give; it is forgotten with that. */
  take(cid: CID): Found | undefined {
    const key = multihashKey(cid)
    const found = this.#found.get(key)
    this.#found.delete(key)
    return found
  }

  async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    const [bytes] = await this.getBatch([{ cid }], options)
    return bytes ?? new Uint8Array()
  }

  async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    const { hasMany } = this.#parts
    if (hasMany === undefined) return this.#routed.getBatch(wants, options)
    const has = await hasMany(
      wants.map(({ cid }) => cid),
      options,
    )
    const here = wants.filter((_, i) => has[i] === true)
    const there = wants.filter((_, i) => has[i] !== true)
    const [present, absent] = await Promise.all([
      here.length === 0 ? [] : this.#routed.getBatch(here, options),
      there.length === 0 ? [] : this.#elsewhere.getBatch(there, options),
    ])
    let nextHere = 0
    let nextThere = 0
    return wants.map((_, i) => (has[i] === true ? present[nextHere++] : absent[nextThere++]) ?? new Uint8Array())
  }
}

/** Tells of each request that the place did not answer. */
function watched(blocks: Route['blocks'], onAway: () => void): Route['blocks'] {
  const asked = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer
    } catch (error) {
      if (isAppError(error, 'STORE_UNAVAILABLE')) onAway()
      throw error
    }
  }
  return {
    has: (cid, options) => asked(blocks.has(cid, options)),
    size: (cid, options) => asked(blocks.size(cid, options)),
    get: (cid, options) => asked(blocks.get(cid, options)),
    getBatch: (wants, options) => asked(blocks.getBatch(wants, options)),
  }
}

/** A store that has nothing: all of it is looked for elsewhere. */
function nowhere(dest: Blockstore): Blockstore {
  return {
    has: async () => false,
    size: async (cid) => {
      throw blockNotFound(cid)
    },
    get: async (cid) => {
      throw blockNotFound(cid)
    },
    getBatch: async ([want]) => {
      if (want === undefined) return []
      throw blockNotFound(want.cid)
    },
    put: dest.put,
    openWriter: dest.openWriter,
    delete: dest.delete,
  }
}
