import type { CID } from 'multiformats/cid'
import { type Blockstore, blockBytesMax, type Want } from '../blocks/blockstore.ts'
import { type Fetched, getMany } from '../blocks/get-many.ts'
import { AppError } from '../errors.ts'
import { KiB, MiB } from '../lib/units.ts'
import { codecs } from './codecs.ts'
import type { ByteRange, DagLimits, ReadOptions } from './target.ts'
import { decodeFileNode, type FileNode } from './unixfs.ts'

export interface ReadFileOptions extends ReadOptions {
  readonly limits: Pick<DagLimits, 'dagDepthMax' | 'nodeLinksMax'>
}

type Source = Pick<Blockstore, 'getBatch'>

/** Nodes whose children are still being read, by the length of their blocks: what a chain of large nodes may hold. */
const heldBytesMax = 16 * MiB
/** What an inner node is taken to weigh; one is fetched ahead beside the one being read. */
const innerNodeBytes = 64 * KiB
/** From here on, a node inside a node that claimed to fit in one block is read one block at a time. */
const nestedReadAheadMax = 3

/** Offsets in the file: from `start` to before `end`. */
interface Span {
  readonly start: bigint
  readonly end: bigint
}

/** A child to be fetched and written out: a leaf, or what its size lets us take for one. */
interface Part extends Want {
  readonly cid: CID
  readonly bytes: number
  readonly offset: bigint
  readonly size: bigint
  readonly depth: number
}

/**
 * The content of a file, in order, as its consumer pulls. A range reads only the blocks that it touches. What a parent
 * says of a child's size is checked when the child is read, so a length announced from the root's size holds or the
 * stream fails. A child of size 0 is not read. Memory: `readAheadBytes`, and the nodes on the way down.
 * @param root the file's decoded root, from `decodeFileNode`
 * @param range undefined = all of it; nothing is read beyond the last byte
 * @throws AppError DAG_INVALID | LIMIT_EXCEEDED; as `Blockstore.get`; the signal's reason when aborted
 */
export function readFile(
  root: FileNode,
  range: ByteRange | undefined,
  blocks: Source,
  options: ReadFileOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = range === undefined || range.end >= root.size ? root.size : range.end + 1n
  const span = { start: range?.start ?? 0n, end }
  return root.links.count === 0 ? one(slice(root.data, 0n, span)) : readTree(root, span, blocks, options)
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.byteLength > 0) yield bytes
}

/** The part of `bytes`, which stand at `offset` in the file, that lies in the span: a view, not a copy. */
function slice(bytes: Uint8Array, offset: bigint, span: Span): Uint8Array {
  const after = offset + BigInt(bytes.byteLength)
  if (offset >= span.start && after <= span.end) return bytes
  if (after <= span.start || offset >= span.end) return bytes.subarray(0, 0)
  const from = span.start > offset ? Number(span.start - offset) : 0
  const to = span.end < after ? Number(span.end - offset) : bytes.byteLength
  return bytes.subarray(from, to)
}

interface Level {
  readonly node: FileNode
  readonly parts: AsyncGenerator<Fetched<Part>, void, undefined>
}

/**
 * Fetches parts and writes them out. Usually there is one level: `partsOf` finds its way over inner nodes alone. A part
 * that turns out to have links itself (small subtrees look like leaves) is read in a level of its own.
 */
async function* readTree(
  root: FileNode,
  span: Span,
  blocks: Source,
  options: ReadFileOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const levels: Level[] = []
  const enter = (node: FileNode, offset: bigint, depth: number): void => {
    const held = levels.reduce((sum, level) => sum + level.node.links.blockBytes, node.links.blockBytes)
    checkHeld(held, depth, options)
    const readAheadBytes =
      levels.length < nestedReadAheadMax ? Math.floor(options.readAheadBytes / 2 ** levels.length) : 0
    const parts = getMany(blocks, partsOf(node, offset, depth, span, blocks, options), {
      signal: options.signal,
      readAheadBytes,
      firstBatchWants: levels.length === 0 ? 1 : 64,
    })
    levels.push({ node, parts })
  }
  enter(root, 0n, 1)
  const inline = slice(root.data, 0n, span)
  if (inline.byteLength > 0) yield inline
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const next = await level.parts.next()
      if (next.done) {
        levels.pop()
        continue
      }
      const { want, bytes } = next.value
      const node = decodePart(want, bytes, options)
      if (node.links.count > 0) enter(node, want.offset, want.depth)
      const wanted = slice(node.data, want.offset, span)
      if (wanted.byteLength > 0) yield wanted
    }
  } finally {
    for (const level of levels) await level.parts.return()
  }
}

function decodePart(part: Part, bytes: Uint8Array, options: ReadFileOptions): FileNode {
  const node = decodeFileNode(part.cid.code, bytes, options.limits)
  if (node.size !== part.size) {
    throw new AppError('DAG_INVALID', `${part.cid} holds ${node.size} bytes where its parent says ${part.size}`)
  }
  return node
}

function checkHeld(heldBytes: number, depth: number, { limits }: ReadFileOptions): void {
  if (depth > limits.dagDepthMax) {
    throw new AppError('LIMIT_EXCEEDED', `the file is a tree of more than ${limits.dagDepthMax} levels`, {
      hint: 'the setting DAG_DEPTH_MAX bounds it',
      limit: 'dag_depth',
    })
  }
  if (heldBytes > heldBytesMax) {
    throw new AppError('LIMIT_EXCEEDED', `the nodes on the way into the file have more than ${heldBytesMax} bytes`, {
      limit: 'held_bytes',
    })
  }
}

/** Where a node's children lie, by its block sizes. */
class Children {
  readonly #node: FileNode
  readonly #span: Span
  #next = 0
  #after: bigint
  /** Of the child last stepped to. */
  index = -1
  offset = 0n
  size = 0n
  isInner = false

  constructor(node: FileNode, offset: bigint, span: Span) {
    this.#node = node
    this.#span = span
    this.#after = offset + BigInt(node.data.byteLength)
  }

  /** Steps to the next child that has a byte in the span; false when there is none. */
  step(): boolean {
    const { blockSizes, links } = this.#node
    for (let size = blockSizes[this.#next]; size !== undefined; size = blockSizes[this.#next]) {
      this.index = this.#next++
      this.offset = this.#after
      this.size = size
      this.#after += size
      if (this.offset >= this.#span.end) return false
      if (size === 0n || this.#after <= this.#span.start) continue
      this.isInner = links.codec(this.index) !== codecs.raw && size > blockBytesMax
      return true
    }
    return false
  }
}

interface Frame {
  readonly node: FileNode
  readonly children: Children
  readonly inner: AsyncGenerator<Fetched<Part>, void, undefined>
  readonly depth: number
}

/**
 * The parts below a node in their order. A child that says it holds more than a block can is an inner node: it is fetched
 * here, one ahead, and entered. Whatever else is left to the caller to fetch, many at a time.
 */
async function* partsOf(
  root: FileNode,
  offset: bigint,
  depth: number,
  span: Span,
  blocks: Source,
  options: ReadFileOptions,
): AsyncGenerator<Part, void, undefined> {
  const open = (node: FileNode, at: bigint, level: number): Frame => ({
    node,
    children: new Children(node, at, span),
    inner: getMany(blocks, innerParts(node, at, level, span), {
      signal: options.signal,
      readAheadBytes: 2 * innerNodeBytes,
    }),
    depth: level,
  })
  const frames = [open(root, offset, depth)]
  let held = root.links.blockBytes
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    const { node, children } = frame
    if (!children.step()) {
      held -= node.links.blockBytes
      frames.pop()
      continue
    }
    if (!children.isInner) {
      yield partAt(node, children, frame.depth)
      continue
    }
    const fetched = (await frame.inner.next()).value
    if (fetched === undefined) throw new Error('fewer inner nodes than links to them')
    const child = decodePart(fetched.want, fetched.bytes, options)
    if (child.data.byteLength > 0) {
      // Content beside links: whoever writes out has to see the node itself.
      yield fetched.want
      continue
    }
    held += child.links.blockBytes
    checkHeld(held, fetched.want.depth, options)
    frames.push(open(child, fetched.want.offset, fetched.want.depth))
  }
}

function* innerParts(node: FileNode, offset: bigint, depth: number, span: Span): Generator<Part, void, undefined> {
  const children = new Children(node, offset, span)
  while (children.step()) if (children.isInner) yield partAt(node, children, depth)
}

function partAt(node: FileNode, { index, offset, size, isInner }: Children, parentDepth: number): Part {
  const cid = node.links.cid(index)
  if (cid.code === codecs.raw && size > blockBytesMax) {
    throw new AppError('DAG_INVALID', `a file says that the block ${cid} holds ${size} bytes`)
  }
  return { cid, offset, size, bytes: isInner ? innerNodeBytes : Number(size), depth: parentDepth + 1 }
}
