import type { Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import { codecs } from './codecs.ts'
import { decodeDagPb } from './dag-pb.ts'
import { checkDepth, decodeSubShard, isSubShard, readShard, type Shard } from './hamt.ts'
import { rememberedLinks } from './remembered-links.ts'
import type { DagLimits, DeadEnd, Target } from './target.ts'
import { decodeFileNode, decodeUnixfs, type FileNode } from './unixfs.ts'
import { type Follow, type Step, type Visited, type WalkOptions, walk } from './walk.ts'

/**
 * The first and the last byte that are wanted of an entity; a negative offset counts from the end of the content
 * (-1 = its last byte), `to` undefined means up to the end.
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/#entity-bytes-request-query-parameter
 */
export interface EntityBytes {
  readonly from: bigint
  readonly to: bigint | undefined
}

/** Offsets in the content: from `start` to before `end`. */
export interface Span {
  readonly start: bigint
  readonly end: bigint
}

type Limits = Pick<DagLimits, 'nodeLinksMax'>

/**
 * The bytes meant of content of `size` bytes. `whole` when that is all of it, `none` when it is not one byte (the range
 * ends before it begins, or the content is empty).
 * @throws AppError REQUEST_INVALID when the range lies outside of the content
 */
export function spanOf({ from, to }: EntityBytes, size: bigint): Span | 'whole' | 'none' {
  if (size === 0n) return 'none'
  const first = from < 0n ? size + from : from
  const last = to === undefined ? size - 1n : to < 0n ? size + to : to
  if (first >= size || last < 0n) {
    throw new AppError('REQUEST_INVALID', `entity-bytes lies outside of the content, which has ${size} bytes`)
  }
  if (last < first) return 'none'
  const span = { start: first < 0n ? 0n : first, end: last < size ? last + 1n : size }
  return span.start === 0n && span.end === size ? 'whole' : span
}

/**
 * The blocks of one thing that a person would name: a file with all its chunks, a directory with its shards and nothing of
 * what it contains; anything else is one block.
 * @throws as `walk`
 */
export function walkEntity(
  root: Visited,
  { kind }: Pick<Target | DeadEnd, 'kind'>,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: WalkOptions,
): AsyncGenerator<Visited, void, undefined> {
  const { limits, dups = false } = options
  switch (kind) {
    case 'file': {
      const follow: Follow<Step> = ({ cid, bytes }) => allChunks(decodeFileNode(cid.code, bytes, limits))
      return walk(root, dups ? rememberedLinks(follow) : follow, blocks, options)
    }
    case 'directory':
      return walk(root, followShards(limits), blocks, options)
    case 'symlink':
    case 'node':
    case 'absent':
    case 'inside':
      return walk(root, () => [], blocks, options)
  }
}

/**
 * The blocks of a file that hold a byte of the span, and those on the way to them: what a reader needs to check and read
 * these bytes, and no block more. A chunk without content is not among them.
 * @throws as `walk`; AppError DAG_INVALID when a node is of another size than its parent says
 */
export function walkSpan(
  root: Visited,
  span: Span,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: WalkOptions,
): AsyncGenerator<Visited, void, undefined> {
  return walk(root, followSpan(span, options), blocks, options)
}

function allChunks(node: FileNode): Step[] {
  return node.blockSizes.map((size, index) => ({ cid: node.links.cid(index), bytes: hint(node, index, size) }))
}

/** A raw chunk's length is its size; what a node has of its own is little. */
function hint({ links }: FileNode, index: number, size: bigint): number {
  const bytesMax = links.codec(index) === codecs.raw ? 2048 * KiB : 256 * KiB
  return size > BigInt(bytesMax) ? bytesMax : Number(size)
}

interface Chunk extends Step {
  readonly offset: bigint
  readonly size: bigint
}

function followSpan(span: Span, { limits, dups = false }: WalkOptions): Follow<Chunk> {
  const sized = ({ cid, bytes }: Visited, chunk: Chunk | undefined): FileNode => {
    const node = decodeFileNode(cid.code, bytes, limits)
    if (chunk === undefined || node.size === chunk.size) return node
    throw new AppError('DAG_INVALID', `${cid} holds ${node.size} bytes where its parent says ${chunk.size}`)
  }
  const follow: Follow<Chunk> = (block, chunk) => chunksIn(sized(block, chunk), chunk?.offset ?? 0n, span)
  if (!dups) return follow
  // All below such a node is in the span: where it stands in the file makes no difference.
  const followWhole = rememberedLinks<Chunk>(
    (block, chunk) => {
      const node = sized(block, chunk)
      return chunksIn(node, 0n, { start: 0n, end: node.size })
    },
    (chunk) => `${chunk?.size}`,
  )
  return (block, chunk) =>
    chunk === undefined || chunk.part !== undefined ? follow(block, chunk) : followWhole(block, chunk)
}

function chunksIn(node: FileNode, nodeOffset: bigint, { start, end }: Span): Chunk[] {
  const chunks: Chunk[] = []
  let offset = nodeOffset + BigInt(node.data.byteLength)
  for (const [index, size] of node.blockSizes.entries()) {
    if (offset >= end) break
    const after = offset + size
    if (size > 0n && after > start) {
      const cid = node.links.cid(index)
      const part = offset >= start && after <= end ? {} : { part: `${start - offset}:${end - offset}` }
      chunks.push({ cid, offset, size, bytes: hint(node, index, size), ...part })
    }
    offset = after
  }
  return chunks
}

interface ShardStep extends Step {
  readonly parent: Shard
  readonly depth: number
}

/** A shard of 256 slots is seldom larger. */
const shardBytes = 16 * KiB

function followShards(limits: Limits): Follow<ShardStep> {
  return (block, step) => {
    const shard = step === undefined ? rootShard(block, limits) : subShard(block, step, limits)
    if (shard === undefined) return []
    const depth = (step?.depth ?? 0) + 1
    const steps: ShardStep[] = []
    for (let index = 0; index < shard.links.count; index++) {
      if (isSubShard(shard, index)) steps.push({ cid: shard.links.cid(index), bytes: shardBytes, parent: shard, depth })
    }
    return steps
  }
}

/** Undefined for a directory in one block. */
function rootShard({ bytes }: Visited, limits: Limits): Shard | undefined {
  const node = decodeDagPb(bytes, limits)
  const unixfs = decodeUnixfs(node)
  return unixfs.type === 'hamt' ? readShard(unixfs, node.links) : undefined
}

function subShard({ cid, bytes }: Visited, { parent, depth }: ShardStep, limits: Limits): Shard {
  const shard = decodeSubShard(cid, bytes, parent, limits)
  checkDepth(shard, depth)
  return shard
}
