import { murmur364 } from '@multiformats/murmur3'
import type { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { dagPbCode, decodeDagPb, type PbLinks } from './dag-pb.ts'
import { decodeUnixfs, type Unixfs } from './unixfs.ts'

const murmur364Code = 0x22n
const fanoutMax = 1024n
/** The hash names are placed by; a tree deeper than its bits cannot be one. */
const hashBits = 64

/** One node of a sharded directory. A link is named by its slot in hex, then by the entry's name unless it is a shard. */
export interface Shard {
  readonly links: PbLinks
  readonly fanout: number
  /** Of the hash, taken at each level: log2 of the fanout. */
  readonly bits: number
  readonly prefixLength: number
  /** Big-endian: slot 0 is the lowest bit of the last byte. One bit for each link. */
  readonly bitfield: Uint8Array
}

/** @throws AppError DAG_INVALID; these bounds are MUSTs since CVE-2023-23625 */
export function readShard(unixfs: Unixfs, links: PbLinks): Shard {
  const { fanout, hashType, data } = unixfs
  if (hashType !== murmur364Code) throw invalid(`hash function ${hashType ?? 'missing'}, not murmur3-x64-64`)
  if (fanout === undefined || fanout < 8n || fanout > fanoutMax || (fanout & (fanout - 1n)) !== 0n) {
    throw invalid(`fanout ${fanout ?? 'missing'}, not a power of two from 8 to ${fanoutMax}`)
  }
  const slots = Number(fanout)
  if (data.byteLength > slots / 8) throw invalid(`a bitfield of ${data.byteLength} bytes for ${slots} slots`)
  const set = data.reduce((sum, byte) => sum + bitsIn(byte), 0)
  if (set !== links.count) throw invalid(`${links.count} links where the bitfield has ${set}`)
  return {
    links,
    fanout: slots,
    bits: Math.log2(slots),
    prefixLength: (slots - 1).toString(16).length,
    bitfield: data,
  }
}

/** A shard below `parent`. @throws AppError DAG_INVALID | LIMIT_EXCEEDED */
export function decodeSubShard(
  cid: CID,
  bytes: Uint8Array,
  parent: Shard,
  limits: { readonly nodeLinksMax: number },
): Shard {
  if (cid.code !== dagPbCode) throw invalid('a shard that is not dag-pb')
  const node = decodeDagPb(bytes, limits)
  const unixfs = decodeUnixfs(node)
  if (unixfs.type !== 'hamt') throw invalid(`a node of type ${unixfs.type} in place of a shard`)
  const shard = readShard(unixfs, node.links)
  if (shard.fanout !== parent.fanout) throw invalid(`fanouts ${parent.fanout} and ${shard.fanout}`)
  return shard
}

export function isSubShard(shard: Shard, index: number): boolean {
  const length = shard.links.nameBytes(index).byteLength
  if (length < shard.prefixLength) throw invalid('a link without its slot')
  return length === shard.prefixLength
}

/** The entry's name, as bytes, of a link that is no sub-shard. */
export function entryName(shard: Shard, index: number): Uint8Array {
  return shard.links.nameBytes(index).subarray(shard.prefixLength)
}

export async function hashName(name: Uint8Array): Promise<Uint8Array> {
  return murmur364.encode(name)
}

/** Which link holds the hash at this depth (root = 0); undefined when its slot is empty. @throws AppError DAG_INVALID */
export function linkFor(shard: Shard, hash: Uint8Array, depth: number): number | undefined {
  checkDepth(shard, depth)
  let slot = 0
  for (let bit = depth * shard.bits; bit < (depth + 1) * shard.bits; bit++) {
    slot = (slot << 1) | (((hash[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1)
  }
  const { bitfield, prefixLength } = shard
  const byteIndex = bitfield.byteLength - 1 - (slot >> 3)
  const byte = bitfield[byteIndex] ?? 0
  if (((byte >> (slot & 7)) & 1) === 0) return undefined
  let rank = bitsIn(byte & ((1 << (slot & 7)) - 1))
  for (const lower of bitfield.subarray(byteIndex + 1)) rank += bitsIn(lower)
  const prefix = slot.toString(16).toUpperCase().padStart(prefixLength, '0')
  if (!shard.links.name(rank).startsWith(prefix)) throw invalid(`slot ${prefix} holds a link of another slot`)
  return rank
}

/** @throws AppError DAG_INVALID when the hash has no bits left for a shard at this depth */
export function checkDepth(shard: Shard, depth: number): void {
  if ((depth + 1) * shard.bits > hashBits)
    throw invalid(`shards ${depth + 1} deep, which is more than its hash has bits for`)
}

function bitsIn(byte: number): number {
  let count = 0
  for (let rest = byte; rest > 0; rest &= rest - 1) count++
  return count
}

function invalid(what: string): AppError {
  return new AppError('DAG_INVALID', `a sharded directory has ${what}`)
}
