import type { CID } from 'multiformats/cid'
import { type HashedBlock, isIdentity, multihashKey, verifyBlock } from '../blocks/block.ts'
import type { Abortable, Blockstore, BlockWriter } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import { type CarLimits, invalidCar } from './car-header.ts'
import { type CarReader, type CarSection, openCar } from './car-reader.ts'
import { type DagSource, missingBelow, OpenLinks } from './open-links.ts'
import type { DagLimits } from './target.ts'

const rawCodec = 0x55

/** Memory for root blocks that wait for the rest of their CAR. A root of a 1 GiB file has 50 KiB, a directory's up to 256. */
export const rootBytesHeldMax = 16 * MiB

export interface CarImportOptions extends Abortable {
  readonly limits: CarLimits & DagLimits
  /**
   * The CAR is only a bag of blocks (`dag-scope=entity`, a piece of a larger DAG). Without it every root of the header, and
   * all that is below a block of the CAR, has to be in the CAR or in the store: a root that we report is readable.
   */
  readonly partial?: boolean
  /** So many of the blocks that a partial CAR lacks are told one by one. */
  readonly missingMax?: number
  /** So many links are kept in memory while they lead to nothing yet; with more the DAG is walked at the end. */
  readonly openLinksMax?: number
}

export interface CarImport {
  /** The header's roots in its order, repeats included. May be empty. */
  readonly roots: CID[]
  /**
   * What is neither in the CAR nor in the store of its roots, and of what lies below its blocks; empty = nothing. Undefined where
   * that is not known: there are more, some block cannot be decoded, or no root says what there should be.
   */
  readonly missing: readonly CID[] | undefined
  /** Sections, repeats included; identity blocks are neither stored nor counted. */
  readonly blocks: number
  readonly newBlocks: number
  /** Of those blocks. */
  readonly bytes: bigint
}

const missingMaxDefault = 200

/**
 * Stores the blocks of a CARv1 or CARv2, each hashed before it is handed on.
 * The blocks that the header names as roots are written when everything else is durable and the CAR was read to its end,
 * so a broken CAR leaves blocks that nothing names and no root. They wait in memory, up to `rootBytesHeldMax`: beyond half
 * of it a raw root is written at once (it is complete by itself), beyond all of it the CAR is refused.
 *
 * Whether it is whole is told from its own blocks as they come; what is left open then is walked in the store, where other
 * uploads may have left blocks without all that is below them.
 * @throws AppError CAR_INVALID (what is broken; the first block is block 1), BLOCK_TOO_LARGE, LIMIT_EXCEEDED,
 *   UPLOAD_TOO_LARGE, STORE_FULL, STORE_UNAVAILABLE; the source's own error; the signal's reason when aborted
 */
export async function importCar(
  source: AsyncIterable<Uint8Array>,
  blocks: Blockstore,
  options: CarImportOptions,
): Promise<CarImport> {
  const { signal } = options
  signal.throwIfAborted()
  const car = await openCar(source, options)
  try {
    const roots = [...car.header.roots]
    const writer = blocks.openWriter({ signal })
    const held = new RootBlocks(roots)
    const links = new Wholeness(roots, options)
    const read = await writeBody(car, writer, { held, links, signal })
    await writer.flush()
    const missing = await links.missing(held.over(blocks), options)
    for (const block of held.takeAll()) await writer.put(block)
    signal.throwIfAborted()
    const { newBlocks } = await writer.flush()
    return { roots, missing, newBlocks, ...read }
  } finally {
    await car.close()
  }
}

interface Body extends Abortable {
  readonly held: RootBlocks
  readonly links: Wholeness
}

async function writeBody(car: CarReader, writer: BlockWriter, { held, links, signal }: Body) {
  let index = 0
  let blocks = 0
  let bytes = 0n
  for await (const section of car.sections) {
    signal.throwIfAborted()
    index++
    const block = verifySection(section, index)
    links.meet(block, index)
    if (isIdentity(block.cid)) continue
    blocks++
    bytes += BigInt(block.bytes.byteLength)
    if (!held.hold(block)) await writer.put(block)
  }
  return { blocks, bytes }
}

function verifySection({ cid, bytes }: CarSection, index: number): HashedBlock {
  try {
    return verifyBlock(cid, bytes)
  } catch (cause) {
    if (isAppError(cause, 'BLOCK_CORRUPT')) throw invalidCar(`block ${index}: the bytes do not hash to ${cid}`, cause)
    throw cause
  }
}

export const partialHint =
  'send the whole DAG, or import the CAR as partial: its blocks without a promise about its roots'

/** What of a CAR is missing: any of it is an error, unless the CAR is partial. */
class Wholeness {
  readonly #roots: ReadonlySet<string>
  readonly #partial: boolean
  readonly #links: OpenLinks
  #isKnown: boolean

  constructor(roots: readonly CID[], { partial = false, openLinksMax }: CarImportOptions) {
    this.#roots = new Set(roots.map(multihashKey))
    this.#partial = partial
    this.#isKnown = roots.length > 0
    this.#links = this.#judged('a root', () => new OpenLinks(roots, openLinksMax)) ?? new OpenLinks([])
  }

  meet(block: HashedBlock, index: number): void {
    this.#judged(`block ${index} (${block.cid})`, () => this.#links.meet(block))
  }

  /** @returns as `CarImport.missing` @throws AppError CAR_INVALID; LIMIT_EXCEEDED: the DAG is beyond the limits of a walk */
  async missing(blocks: DagSource, options: CarImportOptions): Promise<readonly CID[] | undefined> {
    const { signal, limits, missingMax = missingMaxDefault } = options
    const found = new Map<string, CID>()
    const onUnreadable = (cid: CID, error: unknown) =>
      void this.#judged(`the block ${cid}, which the CAR leads to,`, () => {
        throw error
      })
    try {
      if (!this.#isKnown) return undefined
      for await (const cid of missingBelow(this.#links.starts(), blocks, { signal, limits, onUnreadable })) {
        if (!this.#partial) throw this.#incomplete(cid)
        found.set(multihashKey(cid), cid)
        if (found.size > missingMax) return undefined
      }
    } catch (error) {
      if (!this.#partial || !isAppError(error, 'LIMIT_EXCEEDED')) throw error
      return undefined
    }
    return this.#isKnown ? [...found.values()] : undefined
  }

  #incomplete(cid: CID): AppError {
    const what = this.#roots.has(multihashKey(cid)) ? `names the root ${cid}` : `links to the block ${cid}`
    return new AppError('CAR_INVALID', `the CAR ${what}, which is neither in it nor in the store`, {
      hint: partialHint,
    })
  }

  /** Work that has to decode a block: where that cannot be done nobody can tell what is below it. */
  #judged<T>(what: string, work: () => T): T | undefined {
    try {
      return work()
    } catch (cause) {
      const isUnreadable = isAppError(cause, 'DAG_INVALID')
      const isRefused = isAppError(cause, 'CID_INVALID')
      if (!isUnreadable && !isRefused && !isAppError(cause, 'LIMIT_EXCEEDED')) throw cause
      if (!this.#partial && isRefused) {
        throw new AppError('CAR_INVALID', `${what} leads to a CID that no read takes: ${cause.message}`, {
          cause,
          hint: 'put what is longer into a block of its own, and link to that',
        })
      }
      if (!this.#partial && !isUnreadable) throw cause
      if (!this.#partial) {
        throw new AppError(
          'CAR_INVALID',
          `${what} cannot be decoded, so what it links to cannot be told: ${cause.message}`,
          {
            cause,
            hint: 'write the block as its codec wants it, or import the CAR as partial: its blocks without a promise about its roots',
          },
        )
      }
      this.#isKnown = false
      return undefined
    }
  }
}

/** The root blocks of one CAR, kept back until the rest of it is durable. */
class RootBlocks {
  readonly #roots = new Map<string, { seen: boolean; readonly raw: boolean }>()
  #blocks: HashedBlock[] = []
  #bytes = 0

  constructor(roots: readonly CID[]) {
    for (const root of roots) {
      const key = multihashKey(root)
      // One block can be named as raw and as dag-pb: then it is a node.
      const raw = root.code === rawCodec && this.#roots.get(key)?.raw !== false
      this.#roots.set(key, { seen: false, raw })
    }
  }

  /** The store as it will be once these are written. */
  over(blocks: DagSource): DagSource {
    const held = new Map(this.#blocks.map((block) => [multihashKey(block.cid), block.bytes]))
    const get: DagSource['get'] = async (cid, options) => held.get(multihashKey(cid)) ?? blocks.get(cid, options)
    return {
      get,
      has: async (cid, options) => held.has(multihashKey(cid)) || blocks.has(cid, options),
      getBatch: (wants, options) =>
        wants.some(({ cid }) => held.has(multihashKey(cid)))
          ? Promise.all(wants.map(({ cid }) => get(cid, options)))
          : blocks.getBatch(wants, options),
    }
  }

  /** @returns whether the block needs no writing now: it is kept back, or it repeats a root that was met before */
  hold(block: HashedBlock): boolean {
    if (this.#roots.size === 0) return false
    const root = this.#roots.get(multihashKey(block.cid))
    if (root === undefined) return false
    if (root.seen) return true
    root.seen = true
    const bytes = this.#bytes + block.bytes.byteLength
    if (root.raw && bytes > rootBytesHeldMax / 2) return false
    if (bytes > rootBytesHeldMax) {
      throw new AppError('LIMIT_EXCEEDED', `the root blocks of the CAR exceed ${rootBytesHeldMax} bytes`, {
        hint: 'split the CAR: fewer roots in each',
      })
    }
    this.#bytes = bytes
    this.#blocks.push(block)
    return true
  }

  /**
   * Last met first: a CAR in depth-first order has a root before the roots below it, and what lies below has to be
   * written before.
   */
  takeAll(): HashedBlock[] {
    const blocks = this.#blocks.reverse()
    this.#blocks = []
    return blocks
  }
}
