import { createHash } from 'node:crypto'
import { encode } from '@ipld/dag-cbor'
import { base32 } from 'multiformats/bases/base32'
import type { CID } from 'multiformats/cid'
import { isIdentity } from '../blocks/block.ts'
import type { Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import type { Target } from './target.ts'
import { type Visited, type WalkOptions, walk } from './walk.ts'

/** IPIP-402 `dag-scope`. block: the way to the terminus and itself. all: and the whole DAG below it. */
export type CarScope = 'block' | 'all'

export interface CarExportOptions extends WalkOptions {
  readonly scope?: CarScope
}

/** Smaller blocks share a chunk; a larger one is a chunk of its own, so that it is not copied. */
const sharedBytesMax = 16 * KiB
const chunkBytes = 64 * KiB

/**
 * A CARv1 of what a path leads to: the blocks of the path, root first, then the DAG below the terminus in depth-first
 * pre-order, no block twice, no identity blocks. Header: the one root that the path starts from. The bytes depend on
 * nothing but path, scope and DAG. Memory: the window of `walk` and one chunk.
 * @throws as `walk`, after the chunks before; a CAR that ends without an error is complete
 */
export async function* exportCar(
  target: Pick<Target, 'trail'>,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: CarExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunk = new Chunk()
  chunk.append(carHeader(rootOf(target)))
  for await (const { cid, bytes } of visit(target, blocks, options)) {
    if (isIdentity(cid)) continue
    const prefix = sectionPrefix(cid, bytes.byteLength)
    if (chunk.room < prefix.byteLength + Math.min(bytes.byteLength, sharedBytesMax)) yield chunk.take()
    chunk.append(prefix)
    if (bytes.byteLength <= sharedBytesMax) {
      chunk.append(bytes)
      continue
    }
    yield chunk.take()
    yield bytes
  }
  if (chunk.bytes > 0) yield chunk.take()
}

/**
 * A strong entity tag's value (no quotes) for that CAR: equal exactly when root, path and scope are, and with them the
 * bytes. It changes with the order that `exportCar` writes.
 */
export function carTag(target: Pick<Target, 'trail'>, scope: CarScope = 'all'): string {
  const hash = createHash('sha256').update(`car1 dfs ${scope}`)
  for (const { cid } of target.trail) hash.update(cid.bytes)
  return `${target.trail.at(-1)?.cid}.car.${base32.baseEncode(hash.digest().subarray(0, 10))}`
}

async function* visit(
  target: Pick<Target, 'trail'>,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: CarExportOptions,
): AsyncGenerator<Visited, void, undefined> {
  const terminus = target.trail.at(-1)
  if (options.scope === 'block' || terminus === undefined) {
    yield* target.trail
    return
  }
  yield* target.trail.slice(0, -1)
  yield* walk(terminus, blocks, options)
}

function rootOf(target: Pick<Target, 'trail'>): CID {
  const [root] = target.trail
  if (root === undefined) throw new AppError('INTERNAL', 'a target without the blocks of its path')
  return root.cid
}

function carHeader(root: CID): Uint8Array {
  const header = encode({ version: 1, roots: [root] })
  return Buffer.concat([varint(header.byteLength), header])
}

function sectionPrefix(cid: CID, blockBytes: number): Uint8Array {
  const length = varint(cid.bytes.byteLength + blockBytes)
  const prefix = Buffer.allocUnsafe(length.byteLength + cid.bytes.byteLength)
  prefix.set(length)
  prefix.set(cid.bytes, length.byteLength)
  return prefix
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Uint8Array.from([...bytes, left])
    bytes.push((left % 128) + 128)
  }
}

/** Gathers small pieces, so that a consumer does not pay for each. */
class Chunk {
  #buffer = Buffer.allocUnsafe(chunkBytes)
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  get room(): number {
    return this.#buffer.byteLength - this.#bytes
  }

  append(piece: Uint8Array): void {
    this.#buffer.set(piece, this.#bytes)
    this.#bytes += piece.byteLength
  }

  /** What is left of the memory is used on: a prefix between two large blocks does not cost 64 KiB. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#bytes)
    const left = this.#buffer.subarray(this.#bytes)
    this.#buffer = left.byteLength >= chunkBytes / 2 ? left : Buffer.allocUnsafe(chunkBytes)
    this.#bytes = 0
    return taken
  }
}
