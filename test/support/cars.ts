import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { type HashedBlock, hashBlock } from '../../src/blocks/block.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'

export const dagLimits = {
  dagDepthMax: 1024,
  dagBlocksMax: 1_000_000,
  dagBytesMax: 2 ** 40,
  dagExpandedBytesMax: 2 ** 40,
  nodeLinksMax: 16_384,
}

export const carLimits = {
  ...dagLimits,
  carHeaderBytesMax: 2 ** 20,
  carRootsMax: 1000,
  carBlocksMax: 100_000,
  uploadBytesMax: 2 ** 30,
}

export function varint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let left = BigInt(value)
  for (; left >= 0x80n; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(left)])
}

/** A header as a CAR has it: any value, so that wrong ones can be made. */
export function header(value: unknown): Buffer {
  return lengthed(dagCbor.encode(value))
}

export function lengthed(...parts: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat(parts)
  return Buffer.concat([varint(bytes.byteLength), bytes])
}

export function section(block: { readonly cid: CID; readonly bytes: Uint8Array }): Buffer {
  return lengthed(block.cid.bytes, block.bytes)
}

export function carV1(roots: readonly CID[], blocks: readonly { cid: CID; bytes: Uint8Array }[]): Buffer {
  return Buffer.concat([header({ version: 1, roots }), ...blocks.map(section)])
}

export const pragma = Buffer.from('0aa16776657273696f6e02', 'hex')

export interface V2Offsets {
  readonly dataOffset?: bigint
  readonly dataSize?: bigint
  readonly indexOffset?: bigint
  readonly padding?: number
  readonly index?: Uint8Array
}

export function carV2(v1: Uint8Array, offsets: V2Offsets = {}): Buffer {
  const padding = Buffer.alloc(offsets.padding ?? 0)
  const dataOffset = BigInt(11 + 40 + padding.byteLength)
  const fixed = Buffer.alloc(40)
  fixed.writeBigUInt64LE(offsets.dataOffset ?? dataOffset, 16)
  fixed.writeBigUInt64LE(offsets.dataSize ?? BigInt(v1.byteLength), 24)
  const indexOffset = offsets.index === undefined ? 0n : dataOffset + BigInt(v1.byteLength)
  fixed.writeBigUInt64LE(offsets.indexOffset ?? indexOffset, 32)
  return Buffer.concat([pragma, fixed, padding, v1, offsets.index ?? Buffer.alloc(0)])
}

export function raw(text: string | Uint8Array): HashedBlock {
  return hashBlock(typeof text === 'string' ? Buffer.from(text) : text, 0x55)
}

/** A dag-pb node with these links, in this order. */
export function node(links: readonly HashedBlock[], data = ''): HashedBlock {
  const value = dagPb.createNode(
    Buffer.from(data),
    links.map(({ cid, bytes }) => ({ Hash: cid, Name: '', Tsize: bytes.byteLength })),
  )
  return hashBlock(dagPb.encode(value), 0x70)
}

export function cborNode(value: unknown): HashedBlock {
  return hashBlock(dagCbor.encode(value), 0x71)
}

export async function* inChunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

export async function storeOf(blocks: readonly HashedBlock[], signal: AbortSignal): Promise<MemoryBlockstore> {
  const store = new MemoryBlockstore()
  for (const block of blocks) await store.put(block, { signal })
  return store
}
