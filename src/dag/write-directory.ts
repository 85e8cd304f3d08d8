import type { PBLink } from '@ipld/dag-pb'
import { murmur3128 } from '@multiformats/murmur3'
import { AppError } from '../errors.ts'
import type { Pause } from '../lib/turn-over.ts'
import { KiB } from '../lib/units.ts'
import type { DirectoryEntries } from './entry-table.ts'
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
/** A shard of fewer is sorted, not counted. */
const fewEntries = 32
/** So many between two looks at the clock: some 0.2 ms. */
const entriesAStep = 8192
const nothing: Attributes = {}

export interface DirectoryWriting {
  readonly layout: Layout
  readonly sink: BlockSink
  /** Of the whole import: a thousand small directories take as long as a large one. */
  readonly pause: Pause
}

/**
 * Writes the nodes of one directory, its root last: flat, or a HAMT when it is large by the measure of its profile. Memory
 * beside the entries: some 20 bytes for each.
 * Our own, because that of ipfs-unixfs-importer (17.1.1) leaves subdirectories out of the measure, and replaces a directory with its
 * entries by an empty one when its own entry comes after theirs.
 */
export async function writeDirectory(
  entries: DirectoryEntries,
  attributes: Attributes,
  writing: DirectoryWriting,
): Promise<Written> {
  const { layout, sink, pause } = writing
  if (pause.isDue) await pause()
  if (areLarge(entries)) return writeHamt(entries, attributes, writing)
  const links = Array.from({ length: entries.count }, (_, index) => linkTo(entries.name(index), entries.written(index)))
  const bytes = encodeNode({ type: 'directory', ...permissions(attributes) }, links)
  if (layout.directorySize === 'block-bytes' && bytes.byteLength > flatBytesMax) {
    return writeHamt(entries, attributes, writing)
  }
  return putNode(bytes, links, layout, sink)
}

/** By the bytes of names and CIDs. */
function areLarge(entries: DirectoryEntries): boolean {
  let bytes = 0
  for (let index = 0; index < entries.count; index++) {
    bytes += entries.linkBytes(index)
    if (bytes > flatBytesMax) return true
  }
  return false
}

interface Hamt extends DirectoryWriting {
  readonly entries: DirectoryEntries
  /** Of all names, one after the other. */
  readonly hashes: Uint8Array
}

async function writeHamt(
  entries: DirectoryEntries,
  attributes: Attributes,
  writing: DirectoryWriting,
): Promise<Written> {
  const { pause } = writing
  const hashes = new Uint8Array(entries.count * hashBytes)
  const all = new Uint32Array(entries.count)
  for (let index = 0; index < entries.count; index++) {
    const hash = await murmur3128.encode(entries.nameBytes(index))
    hashes.set(hash.subarray(0, hashBytes), index * hashBytes)
    all[index] = index
    if (pause.isDue) await pause()
  }
  return writeShard({ ...writing, entries, hashes }, all, 0, attributes)
}

/** @param of the indexes of the entries below it */
async function writeShard(hamt: Hamt, of: Uint32Array, level: number, attributes: Attributes): Promise<Written> {
  const { entries, layout, sink, pause } = hamt
  if (level === hashBytes) {
    // Names made to collide; Kubo refuses them too.
    throw new AppError('REQUEST_INVALID', `too many names share one HAMT hash, among them ${entries.name(of[0] ?? 0)}`)
  }
  if (pause.isDue) await pause()
  const slots = of.length < fewEntries ? slotsOfFew(hamt, of, level) : await slotsOf(hamt, of, level)
  const links: PBLink[] = []
  for (const [index, slot] of slots) {
    const prefix = index.toString(16).toUpperCase().padStart(2, '0')
    const [only = 0] = slot
    if (slot.length === 1) links.push(linkTo(prefix + entries.name(only), entries.written(only)))
    else links.push(linkTo(prefix, await writeShard(hamt, slot, level + 1, nothing)))
  }
  const data = bitfield(slots.map(([index]) => index))
  return writeNode({ type: 'hamt', data, fanout, hashType, ...permissions(attributes) }, links, layout, sink)
}

type Slot = readonly [slot: number, of: Uint32Array]

/** The entries by the byte of their hash that counts at this level: the slots that are taken, in their order. */
async function slotsOf({ hashes, pause }: Hamt, of: Uint32Array, level: number): Promise<Slot[]> {
  const slotOf = (entry: number): number => hashes[entry * hashBytes + level] ?? 0
  const ends = new Uint32Array(fanout)
  for (let at = 0; at < of.length; ) {
    const end = Math.min(of.length, at + entriesAStep)
    for (; at < end; at++) {
      const slot = slotOf(of[at] ?? 0)
      ends[slot] = (ends[slot] ?? 0) + 1
    }
    if (pause.isDue) await pause()
  }
  for (let slot = 1; slot < fanout; slot++) ends[slot] = (ends[slot] ?? 0) + (ends[slot - 1] ?? 0)
  const sorted = new Uint32Array(of.length)
  const starts = ends.slice()
  for (let at = 0; at < of.length; ) {
    const end = Math.min(of.length, at + entriesAStep)
    for (; at < end; at++) {
      const entry = of[at] ?? 0
      const slot = slotOf(entry)
      const start = (starts[slot] ?? 0) - 1
      starts[slot] = start
      sorted[start] = entry
    }
    if (pause.isDue) await pause()
  }
  const taken: Slot[] = []
  for (let slot = 0; slot < fanout; slot++) {
    const [start = 0, end = 0] = [starts[slot], ends[slot]]
    if (end > start) taken.push([slot, sorted.subarray(start, end)])
  }
  return taken
}

/** The same for most shards, whose entries are far fewer than there are slots. */
function slotsOfFew({ hashes }: Hamt, of: Uint32Array, level: number): Slot[] {
  const slotOf = (entry: number): number => hashes[entry * hashBytes + level] ?? 0
  const sorted = of.slice().sort((a, b) => slotOf(a) - slotOf(b))
  const taken: Slot[] = []
  for (let start = 0, end = 0; start < sorted.length; start = end) {
    const slot = slotOf(sorted[start] ?? 0)
    while (end < sorted.length && slotOf(sorted[end] ?? 0) === slot) end++
    taken.push([slot, sorted.subarray(start, end)])
  }
  return taken
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
