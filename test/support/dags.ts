import { encode as encodePb } from '@ipld/dag-pb'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import type { Abortable, Want } from '../../src/blocks/blockstore.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'

export const signal = new AbortController().signal

export const limits = {
  dagDepthMax: 1024,
  dagBlocksMax: 10_000_000,
  dagBytesMax: 2 ** 40,
  dagExpandedBytesMax: 2 ** 36,
  nodeLinksMax: 16_384,
} as const

/** A memory store that tells what was asked of it, and can wait before it answers. */
export class CountingStore extends MemoryBlockstore {
  readonly asked: CID[] = []
  /** Sizes of the batches, in order. */
  readonly batches: number[] = []
  gate: Promise<void> | undefined

  override async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    this.asked.push(cid)
    await this.gate
    return super.get(cid, options)
  }

  override async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    this.batches.push(wants.length)
    for (const { cid } of wants) this.asked.push(cid)
    await this.gate
    return super.getBatch(wants, options)
  }

  forget(): void {
    this.asked.length = 0
    this.batches.length = 0
  }
}

export async function putRaw(store: MemoryBlockstore, bytes: Uint8Array): Promise<CID> {
  return putBytes(store, bytes, 0x55)
}

export async function putBytes(store: MemoryBlockstore, bytes: Uint8Array, codec: number): Promise<CID> {
  const block = hashBlock(bytes, codec)
  await store.put(block, { signal })
  return block.cid
}

export interface Child {
  readonly cid: CID
  readonly size: bigint
  readonly name?: string
}

/** A file node with the sizes that the children claim. */
export async function putFile(store: MemoryBlockstore, children: readonly Child[], data?: Uint8Array): Promise<Child> {
  const sizes = children.map((child) => child.size)
  const size = sizes.reduce((sum, one) => sum + one, BigInt(data?.byteLength ?? 0))
  const fields = [
    0x08,
    0x02,
    ...(data ? [0x12, ...varint(BigInt(data.byteLength)), ...data] : []),
    0x18,
    ...varint(size),
  ]
  for (const one of sizes) fields.push(0x20, ...varint(one))
  return { cid: await putNode(store, Uint8Array.from(fields), children), size }
}

/** Our own, because protons-runtime 7.1.2, under ipfs-unixfs, writes values from 2^31 to 2^32 - 1 wrongly. */
export function varint(value: bigint): number[] {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, value)
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return [...bytes, Number(rest)]
}

export async function putNode(
  store: MemoryBlockstore,
  data: Uint8Array | undefined,
  links: readonly { readonly cid: CID; readonly name?: string }[],
): Promise<CID> {
  const node = {
    ...(data === undefined ? {} : { Data: data }),
    Links: links.map(({ cid, name = '' }) => ({ Hash: cid, Name: name, Tsize: 0 })),
  }
  return putBytes(store, encodePb(node), 0x70)
}

export interface Layout {
  readonly profile?: 'unixfs-v1-2025' | 'unixfs-v0-2015'
  readonly chunkBytes?: number
  readonly width?: number
  readonly trickle?: boolean
  readonly rawLeaves?: boolean
}

/** What ipfs-unixfs-importer makes of the entries; the CID of the last thing that it writes, the root. */
export async function importDag(
  store: MemoryBlockstore,
  entries: Iterable<{ readonly path: string; readonly content?: Uint8Array }>,
  { profile = 'unixfs-v1-2025', chunkBytes, width, ...layout }: Layout = {},
): Promise<CID> {
  let root: CID | undefined
  const sink = {
    put: async (cid: CID, bytes: Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
      if (!(bytes instanceof Uint8Array)) throw new TypeError('the importer hands over whole blocks')
      await store.put(verifyBlock(cid, bytes), { signal })
      return cid
    },
  }
  const options = {
    profile,
    ...(chunkBytes === undefined ? {} : { chunker: fixedSize({ chunkSize: chunkBytes }) }),
    ...(layout.trickle ? { layout: trickle({ maxChildrenPerNode: width ?? 4 }) } : {}),
    ...(!layout.trickle && width ? { layout: balanced({ maxChildrenPerNode: width }) } : {}),
    ...(layout.rawLeaves === undefined ? {} : { rawLeaves: layout.rawLeaves }),
  }
  for await (const { cid } of importer(entries, sink, options)) root = cid
  if (root === undefined) throw new Error('nothing was imported')
  return root
}

export async function gather<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

export async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await gather(source))
}

/** Bytes that differ everywhere, so that no two chunks are one block. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[index] = state >>> 16
  }
  return bytes
}

/** Lets everything run that can run without I/O. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}
