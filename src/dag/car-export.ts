import { createHash } from 'node:crypto'
import { encode } from '@ipld/dag-cbor'
import { base32 } from 'multiformats/bases/base32'
import type { CID } from 'multiformats/cid'
import { isIdentity } from '../blocks/block.ts'
import type { Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import { linksOf } from './codecs.ts'
import { type EntityBytes, type Span, spanOf, walkEntity, walkSpan } from './entity.ts'
import { rememberedLinks } from './remembered-links.ts'
import type { DeadEnd, Target } from './target.ts'
import { type Follow, type Step, type Visited, type WalkOptions, walk } from './walk.ts'

/** IPIP-402 `dag-scope`. block: the way to the terminus and itself. entity: see entity.ts. all: the whole DAG below it. */
export type CarScope = 'block' | 'entity' | 'all'

/** What is asked of a CAR (IPIP-402, IPIP-412). Whatever the order asked for, the one that is sent is depth first. */
export interface CarParams {
  readonly scope: CarScope
  /** Counts for a file; then the scope is entity. */
  readonly bytes: EntityBytes | undefined
  readonly dups: boolean
  readonly order: 'dfs' | 'unk'
}

/** Without params: the whole DAG, each block once. */
export interface CarExportOptions extends WalkOptions, Partial<CarParams> {
  readonly dups?: boolean
}

/** What a CAR needs to know of where a path ends. */
export type CarTarget = Pick<Target, 'trail' | 'kind' | 'size'> | Pick<DeadEnd, 'trail' | 'kind'>

/** Smaller blocks share a chunk; a larger one is a chunk of its own, so that it is not copied. */
const sharedBytesMax = 16 * KiB
const chunkBytes = 64 * KiB
/** Of a section's length: a varint of 32 bits. */
const prefixBytesMax = 5

/**
 * A CARv1 of what a path leads to: the blocks of the path, root first, then what is wanted of the DAG below the terminus in
 * depth-first pre-order, no block twice unless `dups`, no identity blocks. Header: the one root that the path starts from.
 * Of a path that leads nowhere: the blocks that show it, and that is all.
 * The bytes depend on nothing but path, params and DAG. Memory: the window of `walk` and one chunk.
 * @throws AppError REQUEST_INVALID as `carTag`; as `walk`, after the chunks before; a CAR that ends without an error is
 *   complete
 */
export async function* exportCar(
  target: CarTarget,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: CarExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunk = new Chunk()
  const header = encode({ version: 1, roots: [rootOf(target)] })
  chunk.appendVarint(header.byteLength)
  chunk.append(header)
  for await (const { cid, bytes } of visit(target, blocks, options)) {
    if (isIdentity(cid)) continue
    if (chunk.room < prefixBytesMax + cid.bytes.byteLength + Math.min(bytes.byteLength, sharedBytesMax)) {
      yield chunk.take()
    }
    chunk.appendVarint(cid.bytes.byteLength + bytes.byteLength)
    chunk.append(cid.bytes)
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
 * An entity tag's value (no quotes) for that CAR: equal exactly when root, path and what is sent of the DAG are, and with
 * them the bytes. It changes with the order that `exportCar` writes.
 * @throws AppError REQUEST_INVALID when the bytes asked for lie outside of the file
 */
export function carTag(target: CarTarget, params: Partial<CarParams> = {}): string {
  const part = partOf(target, params)
  const what = part.kind === 'bytes' ? `${part.span.start}-${part.span.end}` : part.kind
  const hash = createHash('sha256').update(`car1 dfs ${params.dups ? 'dups ' : ''}${what}`)
  for (const { cid } of target.trail) hash.update(cid.bytes)
  return `${target.trail.at(-1)?.cid}.car.${base32.baseEncode(hash.digest().subarray(0, 10))}`
}

/** What of the terminus is sent. */
type Part = { readonly kind: CarScope | 'absent' } | { readonly kind: 'bytes'; readonly span: Span }

function partOf(target: CarTarget, { scope = 'all', bytes }: Partial<CarParams>): Part {
  if (target.kind === 'absent') return { kind: 'absent' }
  if (bytes === undefined) return { kind: scope }
  if (target.kind !== 'file') return { kind: 'entity' }
  const span = spanOf(bytes, target.size)
  if (span === 'whole') return { kind: 'entity' }
  // The block tells its size, so a reader can see why it gets no byte.
  return span === 'none' ? { kind: 'block' } : { kind: 'bytes', span }
}

async function* visit(
  target: CarTarget,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: CarExportOptions,
): AsyncGenerator<Visited, void, undefined> {
  const part = partOf(target, options)
  const terminus = target.trail.at(-1)
  yield* target.trail.slice(0, -1)
  if (terminus === undefined) return
  switch (part.kind) {
    case 'absent':
    case 'block':
      yield terminus
      return
    case 'entity':
      yield* walkEntity(terminus, target, blocks, options)
      return
    case 'bytes':
      yield* walkSpan(terminus, part.span, blocks, options)
      return
    case 'all': {
      const follow: Follow<Step> = ({ cid, bytes }) => linksOf(cid, bytes, options.limits)
      yield* walk(terminus, options.dups ? rememberedLinks(follow) : follow, blocks, options)
    }
  }
}

function rootOf(target: CarTarget): CID {
  const [root] = target.trail
  if (root === undefined) throw new AppError('INTERNAL', 'a target without the blocks of its path')
  return root.cid
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

  /** The lengths in a CAR: seven bits a byte, lowest first. */
  appendVarint(value: number): void {
    let left = value
    for (; left >= 0x80; left >>>= 7) this.#buffer[this.#bytes++] = (left & 0x7f) | 0x80
    this.#buffer[this.#bytes++] = left
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
