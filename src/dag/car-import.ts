import type { CID } from 'multiformats/cid'
import { type HashedBlock, isIdentity, multihashKey, verifyBlock } from '../blocks/block.ts'
import type { Abortable, Blockstore, BlockWriter } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import { type CarLimits, invalidCar } from './car-header.ts'
import { type CarReader, type CarSection, openCar } from './car-reader.ts'
import { OpenLinks } from './open-links.ts'

const rawCodec = 0x55

/** Memory for root blocks that wait for the rest of their CAR. A root of a 1 GiB file has 50 KiB, a directory's up to 256. */
export const rootBytesHeldMax = 16 * MiB

export interface CarImportOptions extends Abortable {
  readonly limits: CarLimits
  /**
   * The CAR is only a bag of blocks (`dag-scope=entity`, a piece of a larger DAG). Without it every root of the header, and
   * every block that a block of the CAR links to, has to be in the CAR or in the store: a root that we report is readable.
   */
  readonly partial?: boolean
}

export interface CarImport {
  /** The header's roots in its order, repeats and those in `missingRoots` included. May be empty. */
  readonly roots: CID[]
  /** Roots that are neither in the CAR nor in the store; only a partial CAR may have some. */
  readonly missingRoots: CID[]
  /** Sections, repeats included; identity blocks are neither stored nor counted. */
  readonly blocks: number
  readonly newBlocks: number
  /** Of those blocks. */
  readonly bytes: bigint
}

/**
 * Stores the blocks of a CARv1 or CARv2, each hashed before it is handed on.
 * The blocks that the header names as roots are written when everything else is durable and the CAR was read to its end,
 * so a broken CAR leaves blocks that nothing names and no root. They wait in memory, up to `rootBytesHeldMax`: beyond half
 * of it a raw root is written at once (it is complete by itself), beyond all of it the CAR is refused.
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
    const links = options.partial === true ? undefined : new OpenLinks()
    const read = await writeBody(car, writer, { held, links, signal })
    await writer.flush()
    const missingRoots = await absentOf(roots, held, blocks, { signal })
    if (links !== undefined) {
      const [missing] = missingRoots
      if (missing !== undefined) throw incomplete(`names the root ${missing}`)
      const link = await links.firstMissing(blocks, { signal })
      if (link !== undefined) throw incomplete(`links to the block ${link}`)
    }
    for (const block of held.takeAll()) await writer.put(block)
    signal.throwIfAborted()
    const { newBlocks } = await writer.flush()
    return { roots, missingRoots, newBlocks, ...read }
  } finally {
    await car.close()
  }
}

interface Body extends Abortable {
  readonly held: RootBlocks
  readonly links: OpenLinks | undefined
}

async function writeBody(car: CarReader, writer: BlockWriter, { held, links, signal }: Body) {
  let index = 0
  let blocks = 0
  let bytes = 0n
  for await (const section of car.sections) {
    signal.throwIfAborted()
    index++
    const block = verifySection(section, index)
    if (isIdentity(block.cid)) continue
    links?.meet(block)
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

function incomplete(what: string): AppError {
  return new AppError('CAR_INVALID', `the CAR ${what}, which is neither in it nor in the store`, {
    hint: 'send the whole DAG, or import the CAR as partial: its blocks without a promise about its roots',
  })
}

async function absentOf(
  roots: readonly CID[],
  held: RootBlocks,
  blocks: Blockstore,
  options: Abortable,
): Promise<CID[]> {
  const absent: CID[] = []
  for (const root of roots) {
    if (!isIdentity(root) && !held.saw(root) && !(await blocks.has(root, options))) absent.push(root)
  }
  return absent
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

  saw(root: CID): boolean {
    return this.#roots.get(multihashKey(root))?.seen === true
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
