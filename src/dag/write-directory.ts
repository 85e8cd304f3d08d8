import type { PBLink } from '@ipld/dag-pb'
import { murmur3128 } from '@multiformats/murmur3'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import type { Attributes } from './import-options.ts'
import type { Layout } from './profile.ts'
import type { BlockSink } from './root-last.ts'
import { encodeNode, permissions, putNode, type Written, writeNode } from './write-node.ts'

/** A directory larger than this becomes a HAMT (IPIP-499: strictly larger). */
const flatBytesMax = 256 * KiB
const fanout = 256
/** murmur3-x64-64: the first 8 bytes of murmur3-x64-128, one byte for each level. */
const hashType = 0x22
const hashBytes = 8
const nothing: Attributes = {}

export interface NamedEntry extends Written {
  readonly name: string
}

/**
 * Writes the nodes of one directory, its root last: flat, or a HAMT when it is large by the measure of its profile.
 * Our own, because that of ipfs-unixfs-importer (17.1.1) leaves subdirectories out of the measure, and replaces a directory with its
 * entries by an empty one when its own entry comes after theirs.
 */
export async function writeDirectory(
  entries: readonly NamedEntry[],
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  const linksBytes = entries.reduce((sum, { name, cid }) => sum + Buffer.byteLength(name) + cid.byteLength, 0)
  if (linksBytes > flatBytesMax) return writeHamt(entries, attributes, layout, sink)
  const links = entries.map((entry) => linkTo(entry.name, entry))
  const bytes = encodeNode({ type: 'directory', ...permissions(attributes) }, links)
  if (layout.directorySize === 'block-bytes' && bytes.byteLength > flatBytesMax) {
    return writeHamt(entries, attributes, layout, sink)
  }
  return putNode(bytes, links, layout, sink)
}

interface HashedEntry extends NamedEntry {
  readonly hash: Uint8Array
}

async function writeHamt(
  entries: readonly NamedEntry[],
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  const hashed: HashedEntry[] = []
  for (const entry of entries) hashed.push({ ...entry, hash: await murmur3128.encode(Buffer.from(entry.name)) })
  return writeShard(hashed, 0, attributes, layout, sink)
}

async function writeShard(
  entries: readonly HashedEntry[],
  level: number,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  if (level === hashBytes) {
    // Names made to collide; Kubo refuses them too.
    throw new AppError('REQUEST_INVALID', `too many names share one HAMT hash, among them ${entries[0]?.name}`)
  }
  const slots = new Map<number, HashedEntry[]>()
  for (const entry of entries) {
    const index = entry.hash[level] ?? 0
    const slot = slots.get(index)
    if (slot === undefined) slots.set(index, [entry])
    else slot.push(entry)
  }
  const links: PBLink[] = []
  for (const index of [...slots.keys()].sort((a, b) => a - b)) {
    const slot = slots.get(index) ?? []
    const prefix = index.toString(16).toUpperCase().padStart(2, '0')
    const [only] = slot
    if (slot.length === 1 && only !== undefined) links.push(linkTo(prefix + only.name, only))
    else links.push(linkTo(prefix, await writeShard(slot, level + 1, nothing, layout, sink)))
  }
  const data = bitfield(slots.keys())
  return writeNode({ type: 'hamt', data, fanout, hashType, ...permissions(attributes) }, links, layout, sink)
}

/** Bit n is set when slot n is taken; most significant byte first, without leading zero bytes. */
function bitfield(indexes: Iterable<number>): Uint8Array {
  const bits = new Uint8Array(fanout / 8)
  for (const index of indexes) {
    const at = bits.byteLength - 1 - (index >> 3)
    bits[at] = (bits[at] ?? 0) | (1 << (index & 7))
  }
  const first = bits.findIndex((byte) => byte !== 0)
  return bits.slice(first)
}

function linkTo(name: string, { cid, dagBytes }: Written): PBLink {
  return { Name: name, Hash: cid, Tsize: dagBytes }
}
