import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { describe, expect, test } from 'vitest'
import { verifyBlock } from '../../src/blocks/block.ts'
import type { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { type CarParams, type CarTarget, carTag, exportCar } from '../../src/dag/car-export.ts'
import { openCar } from '../../src/dag/car-reader.ts'
import { type EntityBytes, spanOf } from '../../src/dag/entity.ts'
import { openPath } from '../../src/dag/open.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { carLimits, carV1, cborNode, inChunks, raw, storeOf } from '../support/cars.ts'
import {
  bytesOf,
  CountingStore,
  importDag,
  limits,
  pattern,
  putFile,
  putNode,
  putRaw,
  signal,
} from '../support/dags.ts'

const options = { signal, limits, readAheadBytes: MiB }

const open = (store: CountingStore, root: CID, ...segments: string[]) =>
  openPath({ root, segments }, store, { signal, limits })

const targetOf = (cid: CID, bytes: Uint8Array): CarTarget => ({ trail: [{ cid, bytes }], kind: 'node', size: 0n })

interface Sections {
  readonly cids: string[]
  readonly blocks: { readonly cid: CID; readonly bytes: Uint8Array }[]
}

async function sectionsOf(car: AsyncIterable<Uint8Array>): Promise<Sections> {
  const { sections } = await openCar(car, { signal, limits: carLimits })
  const blocks: { cid: CID; bytes: Uint8Array }[] = []
  for await (const { cid, bytes } of sections) blocks.push({ cid, bytes })
  return { cids: blocks.map(({ cid }) => `${cid}`), blocks }
}

async function exported(store: CountingStore, target: CarTarget, params: Partial<CarParams>): Promise<Sections> {
  return sectionsOf(exportCar(target, store, { ...options, ...params }))
}

const range = (from: number, to?: number): EntityBytes => ({
  from: BigInt(from),
  to: to === undefined ? undefined : BigInt(to),
})

describe('the bytes of a content of 1,000 that entity-bytes means', () => {
  test.each<[string, EntityBytes, [number, number] | 'whole' | 'none']>([
    ['0:*', range(0), 'whole'],
    ['0:999', range(0, 999), 'whole'],
    ['0:5000, beyond the end', range(0, 5000), 'whole'],
    ['-5000:*, before the start', range(-5000), 'whole'],
    ['0:0', range(0, 0), [0, 1]],
    ['10:19', range(10, 19), [10, 20]],
    ['999:*', range(999), [999, 1000]],
    ['-1:*', range(-1), [999, 1000]],
    ['-10:-1', range(-10, -1), [990, 1000]],
    ['-5000:-991', range(-5000, -991), [0, 10]],
    ['499:-100', range(499, -100), [499, 901]],
    ['-100:5000', range(-100, 5000), [900, 1000]],
    ['600:-500, which ends before it begins', range(600, -500), 'none'],
    ['-10:100, which ends before it begins', range(-10, 100), 'none'],
  ])('%s', (_, bytes, expected) => {
    const span = typeof expected === 'string' ? expected : { start: BigInt(expected[0]), end: BigInt(expected[1]) }
    expect(spanOf(bytes, 1000n)).toEqual(span)
  })

  test.each([
    ['1000:*', range(1000)],
    ['5000:6000', range(5000, 6000)],
    ['0:-1001', range(0, -1001)],
    ['-3000:-2000', range(-3000, -2000)],
  ])('%s lies outside', (_, bytes) => {
    expect(() => spanOf(bytes, 1000n)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  })

  test('nothing lies outside of empty content: no byte is meant', () => {
    for (const bytes of [range(0), range(5, 9), range(-5)]) expect(spanOf(bytes, 0n)).toBe('none')
  })
})

/** Files of several layouts, 64 chunks of 100 bytes. */
const size = 6400
const layouts = [
  ['balanced', { chunkBytes: 100, width: 4 }],
  ['trickle', { chunkBytes: 100, width: 4, trickle: true }],
  ['with dag-pb leaves', { chunkBytes: 100, width: 4, rawLeaves: false }],
  ['of one level', { chunkBytes: 100 }],
] as const

describe.each(layouts)('a file, %s', (_, layout) => {
  const content = pattern(size)
  const imported = async () => {
    const store = new CountingStore()
    return { store, root: await importDag(store, [{ path: 'f', content }], layout) }
  }

  test('an entity is all of its blocks, the same as the whole DAG', async () => {
    const { store, root } = await imported()
    const target = await open(store, root)
    const entity = await exported(store, target, { scope: 'entity' })
    expect(entity.cids).toEqual((await exported(store, target, { scope: 'all' })).cids)
    expect(entity.cids.length).toBe(store.count)
    expect((await exported(store, target, { bytes: range(0) })).cids).toEqual(entity.cids)
    expect((await exported(store, target, { scope: 'block' })).cids).toEqual([`${root}`])
  })

  test('any range gives the blocks to read it with and not one more, neither sent nor asked for', async () => {
    const { store, root } = await imported()
    const target = await open(store, root)
    await fc.assert(
      fc.asyncProperty(fc.nat(size - 1), fc.nat(size - 1), fc.constantFrom(0, 1000, MiB), async (a, b, ahead) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        store.forget()
        const { blocks, cids } = await sectionsOf(
          exportCar(target, store, { ...options, readAheadBytes: ahead, bytes: range(from, to) }),
        )
        expect(new Set(cids).size).toBe(cids.length)
        expect(store.asked.map(String).toSorted()).toEqual(cids.slice(1).toSorted())
        // The judge: our reader, over a store that has these blocks alone, and notes which of them it needs.
        const alone = new CountingStore()
        for (const { cid, bytes } of blocks) await alone.put(verifyBlock(cid, bytes), { signal })
        const read = (await open(alone, root)).read({ start: BigInt(from), end: BigInt(to) }, options)
        expect((await bytesOf(read)).equals(content.subarray(from, to + 1))).toBe(true)
        expect(new Set(alone.asked.map(String))).toEqual(new Set(cids))
      }),
      { numRuns: 60 },
    )
  })
})

describe('what is missing', () => {
  test('outside of the range does not matter; inside, it is an error', async () => {
    const store = new CountingStore()
    const chunks = [pattern(1000, 1), pattern(1000, 2), pattern(1000, 3)].map((bytes) => raw(bytes))
    const root = await putFile(
      store,
      chunks.map(({ cid }) => ({ cid, size: 1000n })),
    )
    for (const index of [0, 2]) await putRaw(store, chunks[index]?.bytes ?? new Uint8Array())
    const target = await open(store, root.cid)
    const cids = async (bytes: EntityBytes) => (await exported(store, target, { bytes })).cids.slice(1)
    expect(await cids(range(0, 999))).toEqual([`${chunks[0]?.cid}`])
    expect(await cids(range(-1000))).toEqual([`${chunks[2]?.cid}`])
    const missing = { code: 'BLOCK_NOT_FOUND', message: expect.stringContaining(`${chunks[1]?.cid}`) }
    await expect(cids(range(0, 1000))).rejects.toMatchObject(missing)
    await expect(exported(store, target, { scope: 'entity' })).rejects.toMatchObject(missing)
  })
})

describe('one node in two places of a file', () => {
  // [x, x] with x = [a, b, c], 30 bytes each: bytes 20 to 39 are c of the first and a of the second.
  const imported = async () => {
    const store = new CountingStore()
    const leaves = await Promise.all(
      ['a', 'b', 'c'].map(async (letter) => ({ cid: await putRaw(store, Buffer.alloc(10, letter)), size: 10n })),
    )
    const x = await putFile(store, leaves)
    const root = await putFile(store, [x, x])
    const [a, b, c] = leaves.map(({ cid }) => `${cid}`)
    return { store, target: await open(store, root.cid), names: { root: `${root.cid}`, x: `${x.cid}`, a, b, c } }
  }

  test('is followed for each of its parts that the range needs, and sent once', async () => {
    const { store, target, names } = await imported()
    const { root, x, a, b, c } = names
    const cids = async (bytes: EntityBytes, dups = false) => (await exported(store, target, { bytes, dups })).cids
    expect(await cids(range(20, 39))).toEqual([root, x, c, a])
    expect(await cids(range(20, 39), true)).toEqual([root, x, c, x, a])
    expect(await cids(range(29))).toEqual([root, x, c, a, b])
    expect(await cids(range(0, 35))).toEqual([root, x, a, b, c])
    expect(await cids(range(0, 35), true)).toEqual([root, x, a, b, c, x, a])
  })

  test('with dups comes each time, with all that is below it', async () => {
    const { store, target, names } = await imported()
    const { root, x, a, b, c } = names
    const cids = [root, x, a, b, c, x, a, b, c]
    for (const scope of ['entity', 'all'] as const) {
      expect((await exported(store, target, { scope, dups: true })).cids).toEqual(cids)
    }
    expect((await exported(store, target, { scope: 'all' })).cids).toEqual([root, x, a, b, c])
  })
})

describe('a directory', () => {
  const files = Array.from({ length: 3000 }, (_, n) => ({ path: `d/file ${n}`, content: pattern(300, n + 1) }))

  test('in one block is that block, whatever range is asked for', async () => {
    const store = new CountingStore()
    const root = await importDag(store, files.slice(0, 10))
    const target = await open(store, root)
    store.forget()
    for (const params of [{ scope: 'entity' }, { bytes: range(0) }, { bytes: range(99_999) }] as const) {
      expect((await exported(store, target, params)).cids).toEqual([`${root}`])
    }
    expect(store.asked).toEqual([])
  })

  test('of many shards is all shards and nothing that is in it', async () => {
    const store = new CountingStore()
    const root = await shardedDirectory(store, files)
    const target = await open(store, root)
    store.forget()
    const { cids } = await exported(store, target, { scope: 'entity' })
    expect(cids.length).toBeGreaterThan(100)
    expect(new Set(cids)).toEqual(new Set(await shardsOf(store, root)))
    expect((await exported(store, target, { bytes: range(5, 9) })).cids).toEqual(cids)
  })

  test('of many shards gives to a path those on the way alone', async () => {
    const store = new CountingStore()
    const root = await shardedDirectory(store, files)
    const target = await open(store, root, 'file 17')
    const { cids } = await exported(store, target, { scope: 'entity' })
    expect(cids).toEqual(target.trail.map(({ cid }) => `${cid}`))
    expect(cids.length).toBeLessThan(6)
  })
})

test('other nodes are one block as an entity: dag-cbor with links, a symlink, dag-pb without UnixFS', async () => {
  const store = new CountingStore()
  const leaf = raw('leaf')
  const cbor = cborNode({ link: leaf.cid })
  await store.put(leaf, { signal })
  await store.put(cbor, { signal })
  const symlink = await putNode(store, new UnixFS({ type: 'symlink', data: Buffer.from('leaf') }).marshal(), [])
  const plain = await putNode(store, undefined, [{ cid: leaf.cid }])
  for (const cid of [cbor.cid, symlink, plain]) {
    const target = await open(store, cid)
    expect((await exported(store, target, { scope: 'entity' })).cids).toEqual([`${cid}`])
    expect((await exported(store, target, { bytes: range(0) })).cids).toEqual([`${cid}`])
  }
})

test('a range that ends before it begins is the block alone, and one outside of the file is refused', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'f', content: pattern(1000) }], { chunkBytes: 100 })
  const target = await open(store, root)
  expect((await exported(store, target, { bytes: range(-10, 100) })).cids).toEqual([`${root}`])
  expect(() => carTag(target, { bytes: range(1000) })).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  await expect(exported(store, target, { bytes: range(1000) })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})

test('an empty file is its block, for any range', async () => {
  const store = new CountingStore()
  const cid = await putRaw(store, new Uint8Array())
  for (const bytes of [range(0), range(7), range(-7, -3)]) {
    expect((await exported(store, await open(store, cid), { bytes })).cids).toEqual([`${cid}`])
  }
})

test('a chunk that holds less than its parent says ends a range', async () => {
  const store = new CountingStore()
  const inner = await putFile(store, [{ cid: await putRaw(store, pattern(10)), size: 10n }])
  const root = await putFile(store, [{ ...inner, size: 500n }])
  const target = await open(store, root.cid)
  await expect(exported(store, target, { bytes: range(0, 5) })).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test('with repeats, too: what was right under one parent is not taken for right under another', async () => {
  const store = new CountingStore()
  const inner = await putFile(store, [{ cid: await putRaw(store, pattern(10)), size: 10n }])
  const root = await putFile(store, [inner, inner, { ...inner, size: 500n }, inner])
  const target = await open(store, root.cid)
  expect((await exported(store, target, { bytes: range(0, 19), dups: true })).cids).toHaveLength(5)
  await expect(exported(store, target, { bytes: range(1), dups: true })).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test('a file that holds a directory is no file', async () => {
  const store = new CountingStore()
  const directory = await importDag(store, [{ path: 'd/f', content: pattern(10) }])
  const root = await putFile(store, [{ cid: directory, size: 10n }])
  const target = await open(store, root.cid)
  await expect(exported(store, target, { scope: 'entity' })).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test('identity chunks carry their bytes in their CID and are never sent, with dups or without', async () => {
  const store = new CountingStore()
  const inlined = CID.createV1(0x55, Digest.create(0, Buffer.from('0123456789')))
  const here = await putRaw(store, Buffer.from('abcdefghij'))
  const root = await putFile(
    store,
    [inlined, here, inlined, here].map((cid) => ({ cid, size: 10n })),
  )
  const target = await open(store, root.cid)
  const cids = async (params: Partial<CarParams>) => (await exported(store, target, params)).cids
  for (const scope of ['entity', 'all'] as const) {
    expect(await cids({ scope })).toEqual([`${root.cid}`, `${here}`])
    expect(await cids({ scope, dups: true })).toEqual([`${root.cid}`, `${here}`, `${here}`])
  }
  expect(await cids({ bytes: range(0, 9) })).toEqual([`${root.cid}`])
})

test('a CAR with dups is what recursion gives: every link, in order, each time', async () => {
  const [a, b] = [raw('a'), raw('b')] as const
  const node = (...links: { cid: CID }[]) => cborNode(links.map(({ cid }) => cid))
  const inner = node(a, b, a)
  const outer = node(inner, inner, b)
  const top = node(outer, a, outer)
  const store = await storeOf([a, b, inner, outer, top], signal)
  const below = [inner, a, b, a, inner, a, b, a, b]
  const expected = carV1([top.cid], [top, outer, ...below, a, outer, ...below])
  for (const readAheadBytes of [0, 1, 2000, MiB]) {
    const car = exportCar(targetOf(top.cid, top.bytes), store, { ...options, readAheadBytes, dups: true })
    expect((await bytesOf(car)).equals(expected)).toBe(true)
  }
})

test('what is sent with dups counts each time, against the bound for what is expanded', async () => {
  const leaf = raw(Buffer.alloc(100))
  const top = cborNode(Array.from({ length: 50 }, () => leaf.cid))
  const store = await storeOf([leaf, top], signal)
  const car = (dagExpandedBytesMax: number, dups: boolean) =>
    bytesOf(
      exportCar(targetOf(top.cid, top.bytes), store, { ...options, dups, limits: { ...limits, dagExpandedBytesMax } }),
    )
  const expanded = top.bytes.byteLength + 50 * 100
  await expect(car(expanded - 1, true)).rejects.toMatchObject({
    code: 'LIMIT_EXCEEDED',
    hint: expect.stringContaining('DAG_EXPANDED_BYTES_MAX'),
  })
  await expect(car(expanded, true)).resolves.toBeInstanceOf(Buffer)
  await expect(car(expanded - 1, false)).resolves.toBeInstanceOf(Buffer)
})

test('the tag tells apart what differs in bytes, and only that', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'f', content: pattern(1000) }], { chunkBytes: 100 })
  const target = await open(store, root)
  const different: Partial<CarParams>[] = [
    { scope: 'all' },
    { scope: 'all', dups: true },
    { scope: 'block' },
    { scope: 'entity' },
    { scope: 'entity', dups: true },
    { bytes: range(0, 10) },
    { bytes: range(0, 11) },
    { bytes: range(1, 11) },
  ]
  const tags = different.map((params) => carTag(target, params))
  expect(new Set(tags).size).toBe(tags.length)
  const same: [Partial<CarParams>, Partial<CarParams>][] = [
    [{}, { scope: 'all' }],
    [{ order: 'unk' }, { order: 'dfs' }],
    [{ bytes: range(0) }, { scope: 'entity' }],
    [{ bytes: range(0, 10) }, { bytes: range(-1000, -990) }],
    [{ bytes: range(990) }, { bytes: range(-10, 7000) }],
    [{ bytes: range(-10, 5) }, { scope: 'block' }],
  ]
  for (const [one, other] of same) expect(carTag(target, one)).toBe(carTag(target, other))
})

/** A directory of as many shards as it takes, by the importer's threshold. */
async function shardedDirectory(
  store: MemoryBlockstore,
  files: readonly { readonly path: string; readonly content: Uint8Array }[],
): Promise<CID> {
  const long = 'x'.repeat(60)
  return importDag(store, [
    ...files,
    ...Array.from({ length: 2000 }, (_, n) => ({ path: `d/${long}${n}`, content: pattern(10, n + 1) })),
  ])
}

/** The judge: shards are the dag-pb nodes whose links' names are two characters long or lead to entries. */
async function shardsOf(store: MemoryBlockstore, root: CID): Promise<string[]> {
  const found = [`${root}`]
  const node = dagPb.decode(await store.get(root, { signal }))
  for (const { Hash, Name } of node.Links) {
    if (Name?.length === 2) found.push(...(await shardsOf(store, CID.createV1(Hash.code, Hash.multihash))))
  }
  return found
}

test('the same CAR comes out of any read-ahead', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'f', content: pattern(20 * KiB) }], { chunkBytes: 100, width: 4 })
  const target = await open(store, root)
  const cars = await Promise.all(
    [0, 1, 500, MiB].map((readAheadBytes) =>
      bytesOf(exportCar(target, store, { ...options, readAheadBytes, bytes: range(777, 9999) })),
    ),
  )
  for (const car of cars) expect(car.equals(cars[0] ?? Buffer.alloc(0))).toBe(true)
  expect((await sectionsOf(inChunks(cars[0] ?? new Uint8Array(), 1000))).cids.length).toBeGreaterThan(90)
})
