import type { PBLink } from '@ipld/dag-pb'
import type { Chunk } from './chunk.ts'
import type { Attributes } from './import-options.ts'
import type { Layout } from './profile.ts'
import type { BlockSink } from './root-last.ts'
import { permissions, type Written, writeNode, writeRaw, writeSmallFile } from './write-node.ts'

/** A part of a file that was written: a leaf, or a node with all below it. */
interface Part extends Written {
  /** Content. */
  readonly bytes: number
}

const none: Attributes = {}

/**
 * Writes a file of several chunks, every node after those it links to, the root last. Memory: one chunk, and the links of
 * one node a level.
 */
export async function writeChunks(
  chunks: AsyncIterable<Chunk>,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Part> {
  const leaves = writeLeaves(chunks, layout, sink)
  return layout.trickle
    ? writeTrickle(leaves, attributes, layout, sink)
    : writeBalanced(leaves, attributes, layout, sink)
}

async function* writeLeaves(chunks: AsyncIterable<Chunk>, layout: Layout, sink: BlockSink): AsyncGenerator<Part> {
  for await (const chunk of chunks) {
    const bytes = chunk.bytes.byteLength
    yield { ...(await writeLeaf(chunk, layout, sink)), bytes }
  }
}

async function writeLeaf(chunk: Chunk, layout: Layout, sink: BlockSink): Promise<Written> {
  if (layout.rawLeaves) return writeRaw(chunk, sink)
  const written = await writeSmallFile(chunk.bytes, none, layout, sink, layout.trickle ? 'raw' : 'file')
  // The node holds a copy.
  chunk.release?.()
  return written
}

/** All leaves at one depth, nodes filled from the left (https://specs.ipfs.tech/unixfs/, balanced layout). */
async function writeBalanced(
  leaves: AsyncIterable<Part>,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Part> {
  const levels: Part[][] = []
  const add = async (part: Part, level: number): Promise<void> => {
    levels[level] ??= []
    const parts = levels[level]
    // Only when one more comes is it known that the full node is not the root.
    if (parts.length === layout.linksMax) {
      await add(await writeParent(parts.splice(0), none, layout, sink), level + 1)
    }
    parts.push(part)
  }
  for await (const leaf of leaves) await add(leaf, 0)
  for (let level = 0; ; level++) {
    const parts = levels[level] ?? []
    const isTop = level >= levels.length - 1
    const [only] = parts
    // The root is the only part of the top level; a file of one chunk does not come here.
    if (isTop && level > 0 && parts.length === 1 && only !== undefined) return only
    const parent = await writeParent(parts, isTop ? attributes : none, layout, sink)
    if (isTop) return parent
    await add(parent, level + 1)
  }
}

/** How many subtrees of one depth a trickle node has (Kubo). */
const trickleRepeat = 4

/** Leaves directly below each node first, then subtrees of growing depth: early bytes lie close to the root. */
async function writeTrickle(
  leaves: AsyncIterator<Part> & AsyncIterable<Part>,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Part> {
  let next = await leaves.next()
  const fill = async (depth: number, own: Attributes): Promise<Part> => {
    const parts: Part[] = []
    for (; !next.done && parts.length < layout.linksMax; next = await leaves.next()) parts.push(next.value)
    for (let below = 1; below < depth && !next.done; below++) {
      for (let i = 0; i < trickleRepeat && !next.done; i++) parts.push(await fill(below, none))
    }
    return writeParent(parts, own, layout, sink)
  }
  return fill(Number.POSITIVE_INFINITY, attributes)
}

async function writeParent(
  parts: readonly Part[],
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Part> {
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0)
  const links: PBLink[] = parts.map(({ cid, dagBytes }) => ({ Name: '', Hash: cid, Tsize: dagBytes }))
  const blockBytes = parts.map((part) => part.bytes)
  const fields = { type: 'file', fileBytes: bytes, blockBytes, ...permissions(attributes) } as const
  return { ...(await writeNode(fields, links, layout, sink)), bytes }
}
