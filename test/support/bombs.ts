import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import type { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { putBytes, putFile, putNode, putRaw } from './dags.ts'

/** Few bytes that stand for very much work. */
export interface Bomb {
  readonly group: number
  readonly what: string
  build(store: MemoryBlockstore): Promise<CID>
  /**
   * What is asked of it, below its CID, and what comes: a status; a connection that is cut after the first bytes; or more
   * than anyone cares to take.
   */
  readonly asks: readonly (readonly [target: string, outcome: readonly (number | 'cut' | 'goes on')[]])[]
}

async function hamt(store: MemoryBlockstore, levels: number): Promise<CID> {
  const slots = Array.from({ length: 256 }, (_, slot) => slot.toString(16).toUpperCase().padStart(2, '0'))
  const data = new UnixFS({
    type: 'hamt-sharded-directory',
    fanout: 256n,
    hashType: 0x22n,
    data: new Uint8Array(32).fill(0xff),
  }).marshal()
  const leaf = await putRaw(store, Buffer.from('x'))
  let cid = await putNode(
    store,
    data,
    slots.map((slot) => ({ cid: leaf, name: `${slot}a` })),
  )
  for (let level = 1; level < levels; level++) {
    const child = cid
    cid = await putNode(
      store,
      data,
      slots.map((slot) => ({ cid: child, name: slot })),
    )
  }
  return cid
}

async function file(store: MemoryBlockstore, levels: number, width: number): Promise<CID> {
  let child = { cid: await putRaw(store, Buffer.from('01234567')), size: 8n }
  for (let level = 0; level < levels; level++) child = await putFile(store, Array(width).fill(child))
  return child.cid
}

async function directory(store: MemoryBlockstore, levels: number): Promise<CID> {
  let cid = await putRaw(store, Buffer.from('x'))
  for (let level = 0; level < levels; level++) {
    cid = await putNode(store, Uint8Array.of(0x08, 0x01), [
      { cid, name: 'a' },
      { cid, name: 'b' },
    ])
  }
  return cid
}

async function chain(store: MemoryBlockstore, length: number): Promise<CID> {
  let child = { cid: await putRaw(store, Buffer.from('x')), size: 1n }
  for (let level = 0; level < length; level++) child = await putFile(store, [child])
  return child.cid
}

export const bombs: readonly Bomb[] = [
  {
    group: 93,
    what: 'a HAMT of 2^48 entries in 71 KB',
    build: (store) => hamt(store, 6),
    asks: [
      ['/', [200]],
      ['?format=raw', [200]],
      ['?format=car', [200, 'goes on']],
      ['?format=car&car-dups=y', ['goes on', 'cut']],
      ['?format=tar', ['goes on', 'cut']],
    ],
  },
  {
    group: 94,
    what: 'a file of 50 levels of 2 links',
    build: (store) => file(store, 50, 2),
    asks: [
      ['?filename=a.bin', ['goes on']],
      ['', ['goes on']],
      ['?format=car', [200, 'goes on']],
      ['?format=car&car-dups=y', ['goes on', 'cut']],
      ['?format=car&dag-scope=entity&entity-bytes=0:*', [200]],
      ['?format=tar', [413]],
    ],
  },
  {
    group: 94,
    what: 'a directory of 40 levels of 2 links',
    build: (store) => directory(store, 40),
    asks: [
      ['/', [200]],
      ['?format=car', [200, 'goes on']],
      ['?format=car&car-dups=y', ['goes on', 'cut']],
      ['?format=tar', ['goes on', 'cut']],
    ],
  },
  {
    group: 95,
    what: 'a file of 4 levels of 8,000 links',
    build: (store) => file(store, 4, 8000),
    asks: [
      ['?filename=a.bin', ['goes on']],
      ['?format=car', [200, 'goes on']],
      ['?format=car&car-dups=y', ['goes on', 'cut']],
      ['?format=tar', [413]],
    ],
  },
  {
    group: 95,
    what: 'a file of 8 levels of 8,000 links, which would have more than 2^64 bytes',
    build: (store) => file(store, 8, 8000),
    asks: [
      ['?filename=a.bin', [422]],
      ['?format=raw', [200]],
      ['?format=car', [200, 'goes on']],
      ['?format=tar', [422]],
    ],
  },
  {
    group: 96,
    what: 'a chain of 50,000 nodes',
    build: (store) => chain(store, 50_000),
    asks: [
      ['?filename=a.bin', [413]],
      ['?format=raw', [200]],
      ['?format=car', ['cut', 'goes on']],
      ['?format=car&car-dups=y', ['cut', 'goes on']],
      ['?format=tar', [413, 'cut']],
    ],
  },
  {
    group: 99,
    what: '100,000 nested lists in DAG-CBOR',
    build: (store) => putBytes(store, Buffer.concat([Buffer.alloc(100_000, 0x81), Buffer.of(0)]), 0x71),
    asks: [
      ['', [200, 'goes on']],
      ['/0/0', [422]],
      ['?format=raw', [200]],
      ['?format=car', [422]],
      ['?format=dag-json', [406]],
    ],
  },
  {
    group: 99,
    what: '100,000 nested lists in DAG-JSON',
    build: (store) => putBytes(store, Buffer.from(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), 0x0129),
    asks: [
      ['', [200, 'goes on']],
      ['/0/0', [422]],
      ['?format=car', [422]],
    ],
  },
]
