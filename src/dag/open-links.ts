import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { checkCid, type HashedBlock, isIdentity, multihashKey } from '../blocks/block.ts'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { mapAhead } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import { linksOf, mayLink } from './codecs.ts'
import { isGap, withGaps } from './gaps.ts'
import type { DagLimits } from './target.ts'
import { walk } from './walk.ts'

/** What is kept in memory of one upload: about 100 bytes for each. */
const trackedMax = 100_000
const lookupsAhead = 64
const readAheadBytes = MiB

/** A node of 2 MiB has some 50,000 links at most, unless they carry their content. */
export const importLinksMax = trackedMax

/** What an import writes to, and what it can find there. */
export type DagSource = Pick<Blockstore, 'get' | 'getBatch' | 'has'>

/**
 * The links that lead to no block of the CAR: from its roots, and from the blocks met so far. They show a DAG that was cut off
 * between two blocks, which the bytes of a CAR cannot. A link is met by a block of the same multihash and codec: under
 * another codec the same bytes may lead on.
 *
 * Once more than `openMax` are open at a time they are forgotten, and the roots are what is left to start from.
 */
export class OpenLinks {
  readonly #roots: readonly CID[]
  readonly #openMax: number
  /** `keyOf` → codec. */
  readonly #open = new Map<string, number>()
  readonly #met = new Set<string>()
  #hasOverflowed = false

  /** @throws AppError DAG_INVALID for a root that carries bytes which cannot be decoded; CID_INVALID as `meet` */
  constructor(roots: readonly CID[], openMax = trackedMax) {
    this.#roots = roots
    this.#openMax = openMax
    for (const root of roots) this.#want(root)
  }

  /**
   * What the block links to is wanted, the block itself no more.
   * @throws AppError DAG_INVALID | LIMIT_EXCEEDED for a block whose links cannot be told, CID_INVALID for a link that no read takes; then it
   * leads nowhere
   */
  meet({ cid, bytes }: HashedBlock): void {
    if (this.#hasOverflowed) {
      // Read again from the store later: here it is only judged.
      linkedFrom(cid, bytes)
      return
    }
    const key = keyOf(cid)
    this.#open.delete(key)
    if (this.#met.size < trackedMax) this.#met.add(key)
    this.#follow(cid, bytes)
    if (this.#open.size <= this.#openMax) return
    this.#hasOverflowed = true
    this.#open.clear()
    this.#met.clear()
  }

  /** Where to look for what is missing, once all of the CAR was met. */
  starts(): readonly CID[] {
    if (this.#hasOverflowed) return this.#roots
    return Array.from(this.#open, ([key, code]) =>
      CID.createV1(code, Digest.decode(Buffer.from(key.slice(key.indexOf(':') + 1), 'latin1'))),
    )
  }

  #want(cid: CID): void {
    if (isIdentity(cid)) this.#follow(cid, cid.multihash.digest)
    else if (!this.#met.has(keyOf(cid))) this.#open.set(keyOf(cid), cid.code)
  }

  #follow(cid: CID, bytes: Uint8Array): void {
    for (const link of linkedFrom(cid, bytes)) this.#want(link)
  }
}

/**
 * What a block links to. An identity CID carries its block, so whether there is one that reads take is told here.
 * @throws AppError as `linksOf`; CID_INVALID for a link to an identity CID beyond the limit
 */
function linkedFrom(cid: CID, bytes: Uint8Array): readonly CID[] {
  return linksOf(cid, bytes, { nodeLinksMax: importLinksMax }).map((link) => {
    if (isIdentity(link.cid)) checkCid(link.cid)
    return link.cid
  })
}

const keyOf = (cid: CID): string => `${cid.code}:${multihashKey(cid)}`

export interface MissingOptions extends Abortable {
  readonly limits: DagLimits
  /** Of a block that cannot be decoded, and so leads nowhere; it throws where that is not to be. */
  readonly onUnreadable: (cid: CID, error: unknown) => void
}

/**
 * The blocks at or below `starts` that are not there, each once or more. Leaves are not read. It goes as far as the limits of
 * a walk, in the memory of one.
 * @throws as `walk`
 */
export async function* missingBelow(
  starts: readonly CID[],
  blocks: DagSource,
  options: MissingOptions,
): AsyncGenerator<CID, void, undefined> {
  const { signal, limits, onUnreadable } = options
  const leaves: CID[] = []
  const follow = (links: readonly CID[]) => {
    for (const cid of links) if (!mayLink(cid) && !isIdentity(cid)) leaves.push(cid)
    return links.filter(mayLink).map((cid) => ({ cid }))
  }
  const below = ({ cid, bytes }: { readonly cid: CID; readonly bytes: Uint8Array }): readonly CID[] => {
    if (isGap(bytes)) return []
    try {
      return linkedFrom(cid, bytes)
    } catch (error) {
      onUnreadable(cid, error)
      return []
    }
  }
  const source = withGaps(blocks, () => true)
  const top = { cid: nothing, bytes: nothing.multihash.digest }
  const walked = walk(top, (block, step) => follow(step === undefined ? starts : below(block)), source, {
    signal,
    limits,
    readAheadBytes,
  })
  for await (const { cid, bytes } of walked) {
    if (isGap(bytes)) yield cid
    yield* absentOf(leaves.splice(0), blocks, { signal })
  }
  yield* absentOf(leaves, blocks, { signal })
}

/** The identity CID of no bytes: what links to all that is looked for. */
const nothing = CID.parse('bafkqaaa')

async function* absentOf(cids: readonly CID[], blocks: DagSource, options: Abortable): AsyncGenerator<CID> {
  const found = mapAhead(cids, lookupsAhead, async (cid) => ({ cid, here: await blocks.has(cid, options) }))
  for await (const { cid, here } of found) if (!here) yield cid
}
