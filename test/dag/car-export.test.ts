import { CarReader } from '@ipld/car'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { createDirectoryEncoderStream } from 'ipfs-car'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { type HashedBlock, hashBlock } from '../../src/blocks/block.ts'
import type { Abortable, Want } from '../../src/blocks/blockstore.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { type CarTarget, carTag, exportCar } from '../../src/dag/car-export.ts'
import { importCar } from '../../src/dag/car-import.ts'
import type { DagLimits } from '../../src/dag/target.ts'
import { AppError } from '../../src/errors.ts'
import { MiB } from '../../src/lib/units.ts'
import { carLimits, carV1, cborNode, dagLimits, node, raw, storeOf } from '../support/cars.ts'

const signal = new AbortController().signal
const options = { signal, readAheadBytes: 8 * MiB, limits: dagLimits }
const trailOf = (...trail: { cid: CID; bytes: Uint8Array }[]): CarTarget => ({ trail, kind: 'node', size: 0n })

async function collected(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of source) parts.push(Uint8Array.from(part))
  return Buffer.concat(parts)
}

async function cidsOf(car: Uint8Array): Promise<string[]> {
  const reader = await CarReader.fromBytes(car)
  const cids: string[] = []
  for await (const cid of reader.cids()) cids.push(`${cid}`)
  return cids
}

const cids = (...blocks: readonly { cid: CID }[]) => blocks.map(({ cid }) => `${cid}`)

const [a, b, c, d] = [raw('a'), raw('b'), raw('c'), raw('d')] as const
const left = node([a, b], 'left')
const right = node([b, c], 'right')
const top = node([left, d, right, left], 'top')
const all = [top, left, right, a, b, c, d]

test('a CAR has the header of its root and its blocks in depth-first pre-order, none twice', async () => {
  const car = await collected(exportCar(trailOf(top), await storeOf(all, signal), options))
  expect(car).toEqual(carV1([top.cid], [top, left, a, b, d, right, c]))
})

test('the blocks of the path come first, and what lies beside the path does not come', async () => {
  const car = await collected(exportCar(trailOf(top, right), await storeOf(all, signal), options))
  expect(car).toEqual(carV1([top.cid], [top, right, b, c]))
})

test('scope block gives the path and its end alone', async () => {
  const car = await collected(exportCar(trailOf(top, right), await storeOf([], signal), { ...options, scope: 'block' }))
  expect(car).toEqual(carV1([top.cid], [top, right]))
})

test('the order and the bytes are the same for any read-ahead and any speed of the store', async () => {
  await fc.assert(
    fc.asyncProperty(
      dags(),
      fc.constantFrom(0, 1, 2000, 8 * MiB),
      fc.infiniteStream(fc.nat(4)),
      async (dag, readAheadBytes, delays) => {
        const store = await storeOf(dag, signal)
        const root = dag.at(-1) ?? a
        const slow = {
          get: (cid: CID, given: Abortable) => store.get(cid, given),
          getBatch: async (wants: readonly Want[], given: Abortable) => {
            for (let turns = delays.next().value ?? 0; turns > 0; turns--) await new Promise(setImmediate)
            return store.getBatch(wants, given)
          },
        }
        const car = await collected(exportCar(trailOf(root), slow, { ...options, readAheadBytes }))
        expect(await cidsOf(car)).toEqual(preOrder(root, dag))
      },
    ),
    { numRuns: 150 },
  )
})

test('a random DAG, exported and imported, is the same blocks', async () => {
  await fc.assert(
    fc.asyncProperty(dags(), async (dag) => {
      const root = dag.at(-1) ?? a
      const copy = new MemoryBlockstore()
      const source = exportCar(trailOf(root), await storeOf(dag, signal), options)
      const result = await importCar(source, copy, { signal, limits: carLimits })
      const below = preOrder(root, dag)
      expect(cids(...result.roots.map((cid) => ({ cid })))).toEqual(cids(root))
      expect(result.newBlocks).toBe(copy.count)
      for (const block of dag.filter(({ cid }) => below.includes(`${cid}`))) {
        expect(Buffer.compare(await copy.get(block.cid, options), block.bytes)).toBe(0)
      }
    }),
    { numRuns: 100 },
  )
})

test('what ipfs-car packs is exported again with the same blocks', async () => {
  const files = ['one', 'two', 'sub/three', 'sub/four'].map((name) => ({
    name,
    stream: () => new Blob([name.repeat(500_000)]).stream(),
  }))
  const blocks: HashedBlock[] = []
  await createDirectoryEncoderStream(files).pipeTo(
    new WritableStream({
      write: ({ cid, bytes }) => {
        blocks.push(hashBlock(bytes, cid.code))
      },
    }),
  )
  const root = blocks.at(-1) ?? a
  const car = await collected(exportCar(trailOf(root), await storeOf(blocks, signal), options))
  expect((await cidsOf(car)).toSorted()).toEqual([...new Set(cids(...blocks))].toSorted())
})

test('identity blocks are followed and left out', async () => {
  const inlined = CID.createV1(0x71, Digest.create(0x00, cborNode([a.cid]).bytes))
  const root = cborNode([inlined, b.cid])
  const car = await collected(exportCar(trailOf(root), await storeOf([root, a, b], signal), options))
  expect(await cidsOf(car)).toEqual(cids(root, a, b))
})

test('the CAR of an identity root is its header alone', async () => {
  const cid = CID.parse('bafkqaaa')
  const car = await collected(
    exportCar(trailOf({ cid, bytes: cid.multihash.digest }), await storeOf([], signal), options),
  )
  expect(car).toEqual(carV1([cid], []))
})

test('a block linked as raw and as a node is followed where it is a node', async () => {
  const asRaw = { cid: CID.createV1(0x55, left.cid.multihash), bytes: left.bytes }
  const root = cborNode([asRaw.cid, left.cid])
  const car = await collected(exportCar(trailOf(root), await storeOf([root, left, a, b], signal), options))
  expect(await cidsOf(car)).toEqual(cids(root, asRaw, left, a, b))
})

test('a missing block is an error in its place: every block before it has been given', async () => {
  for (const readAheadBytes of [0, 8 * MiB]) {
    const leaves = Array.from({ length: 300 }, (_, index) => raw(`leaf ${index}`.padEnd(20_000, '.')))
    const root = node(leaves)
    const store = await storeOf([root, ...leaves.filter((_, index) => index !== 200)], signal)
    const parts: Uint8Array[] = []
    const read = (async () => {
      for await (const part of exportCar(trailOf(root), store, { ...options, readAheadBytes })) parts.push(part)
    })()
    await expect(read).rejects.toMatchObject({
      code: 'BLOCK_NOT_FOUND',
      message: expect.stringContaining(`${leaves[200]?.cid}`),
    })
    const given = Buffer.concat(parts)
    const complete = carV1([root.cid], [root, ...leaves.slice(0, 200)])
    expect(given.byteLength).toBe(complete.byteLength)
    expect(given.equals(complete)).toBe(true)
  }
})

test('an outage is passed on as it is, and the store is not asked for every block of the batch', async () => {
  const outage = new AppError('STORE_UNAVAILABLE', 'no answer')
  let gets = 0
  const down = {
    get: async () => {
      gets++
      throw outage
    },
    getBatch: async () => {
      throw outage
    },
  }
  await expect(collected(exportCar(trailOf(top), down, options))).rejects.toBe(outage)
  expect(gets).toBe(0)
})

test('nothing is asked of the store before the consumer asks, and no more than the window after it stops', async () => {
  const leaves = Array.from({ length: 64 }, (_, index) => raw(Buffer.alloc(MiB, index)))
  const root = node(leaves)
  const store = new CountingStore(await storeOf([root, ...leaves], signal))
  const parts = exportCar(trailOf(root), store, options)
  await settled()
  expect(store.wanted).toBe(0)
  for (let pulled = 0; pulled < 6; pulled++) await parts.next()
  await settled()
  const wanted = store.wanted
  expect(wanted).toBeGreaterThan(3)
  expect(wanted).toBeLessThanOrEqual(3 + 9)
  await settled()
  expect(store.wanted).toBe(wanted)
  await parts.return()
})

test('large blocks are handed on without a copy, small ones share chunks of up to 64 KiB', async () => {
  const small = Array.from({ length: 500 }, (_, index) => raw(`small ${index}`.padEnd(1000, '.')))
  const large = raw(Buffer.alloc(MiB, 1))
  const root = node([...small, large])
  const store = await storeOf([root, ...small, large], signal)
  const parts: Uint8Array[] = []
  for await (const part of exportCar(trailOf(root), store, options)) parts.push(part)
  expect(parts).toContain(await store.get(large.cid, options))
  expect(parts.filter(({ byteLength }) => byteLength !== MiB).every(({ byteLength }) => byteLength <= 65_536)).toBe(
    true,
  )
  expect(parts.length).toBeLessThan(20)
})

test('files in directories cost few round trips', async () => {
  const leaves = Array.from({ length: 2000 }, (_, index) => raw(`leaf ${index}`))
  const files = leaves.map((_, index) => node(leaves.slice(index, index + 2), `file ${index}`))
  const root = node(files)
  const store = new CountingStore(await storeOf([root, ...files, ...leaves], signal))
  const car = await collected(exportCar(trailOf(root), store, options))
  expect((await cidsOf(car)).length).toBe(1 + 2000 + 2000)
  expect(store.batches).toBeLessThan(60)
  expect(store.wanted).toBe(4000)
})

test('a DAG whose every level links twice to each block of the next is read once', async () => {
  let level: readonly HashedBlock[] = [a, b]
  const blocks: HashedBlock[] = [...level]
  for (let depth = 0; depth < 60; depth++) {
    level = [node(level, `p${depth}`), node(level, `q${depth}`)]
    blocks.push(...level)
  }
  const root = node([...level, ...level], 'root')
  const store = new CountingStore(await storeOf([...blocks, root], signal))
  expect(await cidsOf(await collected(exportCar(trailOf(root), store, options)))).toHaveLength(blocks.length + 1)
  expect(store.wanted).toBe(blocks.length)
})

test('sizes that a node states falsely are believed once: the window holds after that', async () => {
  const leaves = Array.from({ length: 1500 }, (_, index) => raw(Buffer.alloc(64 * 1024, `${index} `)))
  const links = leaves.map(({ cid }) => ({ Hash: cid, Name: '', Tsize: 1 }))
  const root = hashBlock(dagPb.encode(dagPb.createNode(Buffer.alloc(0), links)), 0x70)
  const store = new CountingStore(await storeOf([root, ...leaves], signal))
  await collected(exportCar(trailOf(root), store, { ...options, readAheadBytes: MiB }))
  const [believed, after] = [store.sizes.slice(0, 3), store.sizes.slice(3)]
  expect(believed).toEqual([256, 256, 256])
  expect(Math.max(...after)).toBe(1)
})

const chain = (length: number) => {
  const blocks: HashedBlock[] = [a]
  for (let depth = 0; depth < length; depth++) blocks.push(node(blocks.slice(-1)))
  return blocks
}

test.each<[string, Partial<DagLimits>, readonly HashedBlock[], string]>([
  ['dagDepthMax', { dagDepthMax: 9 }, chain(10), 'DAG_DEPTH_MAX'],
  ['dagBlocksMax', { dagBlocksMax: 6 }, [a, b, c, d, left, right, top], 'DAG_BLOCKS_MAX'],
  ['dagBytesMax', { dagBytesMax: 200 }, [a, b, c, d, left, right, top], 'DAG_BYTES_MAX'],
  ['nodeLinksMax', { nodeLinksMax: 3 }, [a, b, c, d, left, right, top], 'NODE_LINKS_MAX'],
])('%s ends an export that goes beyond it, and not one that reaches it', async (_, limit, blocks, setting) => {
  const root = blocks.at(-1) ?? a
  const store = await storeOf(blocks, signal)
  const car = (given: Partial<DagLimits>) =>
    collected(exportCar(trailOf(root), store, { ...options, limits: { ...dagLimits, ...given } }))
  await expect(car(limit)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', hint: expect.stringContaining(setting) })
  const bytes = blocks.reduce((sum, block) => sum + block.bytes.byteLength, 0)
  const enough = {
    dagDepthMax: 10,
    dagBlocksMax: blocks.length,
    dagBytesMax: bytes,
    dagExpandedBytesMax: bytes,
    nodeLinksMax: 4,
  }
  await expect(car(enough)).resolves.toBeInstanceOf(Buffer)
})

test('more links open at a time than memory is meant for end the export', async () => {
  const wide = (seed: number, below: readonly HashedBlock[]) => {
    const links = Array.from({ length: 16_000 }, (_, index) => ({
      Hash: raw(`${seed} ${index}`).cid,
      Name: '',
      Tsize: 1,
    }))
    for (const { cid } of below) links.unshift({ Hash: cid, Name: '', Tsize: 1 })
    return hashBlock(dagPb.encode(dagPb.createNode(Buffer.alloc(0), links)), 0x70)
  }
  const blocks: HashedBlock[] = [wide(0, [])]
  for (let depth = 1; depth < 10; depth++) blocks.push(wide(depth, blocks.slice(-1)))
  const read = collected(
    exportCar(trailOf(blocks.at(-1) ?? a), await storeOf(blocks, signal), { ...options, readAheadBytes: 0 }),
  )
  await expect(read).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

test('an abort ends the export with its reason', async () => {
  const controller = new AbortController()
  const reason = new Error('client left')
  const parts = exportCar(trailOf(top), await storeOf(all, signal), { ...options, signal: controller.signal })
  controller.abort(reason)
  await expect(parts.next()).rejects.toBe(reason)
})

test('the tag of a CAR is equal for equal bytes, and another for another root, path or scope', () => {
  const tags = [
    carTag(trailOf(top)),
    carTag(trailOf(top), { scope: 'block' }),
    carTag(trailOf(right)),
    carTag(trailOf(top, right)),
    carTag(trailOf(top, left, right)),
  ]
  expect(new Set(tags).size).toBe(tags.length)
  expect(carTag(trailOf(top), { scope: 'all' })).toBe(tags[0])
})

/** Blocks of a random DAG, children before parents, the root last; nodes share children. */
function dags(): fc.Arbitrary<readonly HashedBlock[]> {
  const nodes = fc.array(fc.tuple(fc.boolean(), fc.array(fc.nat(), { maxLength: 8 })), { minLength: 1, maxLength: 30 })
  return nodes.map((descriptions) => {
    const blocks: HashedBlock[] = [a, b, c, d]
    for (const [index, [cbor, picks]] of descriptions.entries()) {
      const links = picks.map((pick) => blocks[pick % blocks.length] ?? a)
      blocks.push(cbor ? cborNode({ index, links: links.map(({ cid }) => cid) }) : node(links, `${index}`))
    }
    const root = node([...blocks.slice(-5)].reverse(), 'root')
    return [...blocks, root]
  })
}

/** The judge: what recursion over blocks in memory gives. Links are found by comparing bytes, not by our decoders. */
function preOrder(root: HashedBlock, dag: readonly HashedBlock[]): string[] {
  const order = new Set<string>()
  const visit = (block: HashedBlock): void => {
    if (order.has(`${block.cid}`)) return
    order.add(`${block.cid}`)
    const haystack = Buffer.from(block.bytes)
    const found = dag.flatMap((child) => positions(haystack, child.cid.bytes).map((at) => ({ at, child })))
    for (const { child } of found.toSorted((one, other) => one.at - other.at)) visit(child)
  }
  visit(root)
  return [...order]
}

function positions(haystack: Buffer, needle: Uint8Array): number[] {
  const found: number[] = []
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) found.push(at)
  return found
}

class CountingStore {
  readonly #store: MemoryBlockstore
  wanted = 0
  batches = 0
  readonly sizes: number[] = []

  constructor(store: MemoryBlockstore) {
    this.#store = store
  }

  get(cid: CID, given: Abortable): Promise<Uint8Array> {
    this.wanted++
    return this.#store.get(cid, given)
  }

  getBatch(wants: readonly Want[], given: Abortable): Promise<Uint8Array[]> {
    this.batches++
    this.sizes.push(wants.length)
    this.wanted += wants.length
    return this.#store.getBatch(wants, given)
  }
}

/** Everything that can happen without I/O has happened. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
}
