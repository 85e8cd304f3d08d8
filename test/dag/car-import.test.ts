import { CarReader, CarWriter } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { checkCid, type HashedBlock, hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import type { Abortable, BlockWriter } from '../../src/blocks/blockstore.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { type CarImport, importCar, rootBytesHeldMax } from '../../src/dag/car-import.ts'
import { AppError, statusOf } from '../../src/errors.ts'
import { badCars, endless, identity, join, leafA, leafB, root, rootsOf, whole } from '../support/bad-cars.ts'
import { carLimits, carV1, carV2, cborNode, header, inChunks, node, raw, varint } from '../support/cars.ts'

const signal = new AbortController().signal
const options = { signal, limits: carLimits }

test.each(badCars)(
  '$group is refused with $code, and no root is visible',
  async ({ car, code, status, message, limit }) => {
    const store = new MemoryBlockstore()
    const given = car()
    const source = given instanceof Uint8Array ? inChunks(given, 65_536) : given
    const error = await importCar(source, store, options).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(AppError)
    if (!(error instanceof AppError)) return
    expect(error).toMatchObject({ code })
    expect(statusOf[error.code]).toBe(status)
    if (message !== undefined) expect(error.message).toMatch(message)
    if (limit !== undefined) expect(error.limit).toBe(limit)
    expect(await store.has(root.cid, options)).toBe(false)
  },
)

test.each([
  ['a header of 2^40 bytes', varint(2n ** 40n)],
  ['a header of 1 MiB + 1', varint(2 ** 20 + 1)],
  ['100,000 roots', header({ version: 1, roots: rootsOf(100_000) }).subarray(0, 64)],
  ['a section of 2^40 bytes', join(header({ version: 1, roots: [] }), varint(2n ** 40n))],
  ['a section of 2 MiB + 1 KiB', join(header({ version: 1, roots: [] }), varint(2 ** 21 + 1024))],
])('what claims %s is refused before 64 KiB of it have been pulled', async (_, start) => {
  let pulled = 0
  async function* counted() {
    for await (const chunk of endless(start, 1024)) {
      pulled += chunk.byteLength
      yield chunk
    }
  }
  await expect(importCar(counted(), new MemoryBlockstore(), options)).rejects.toBeInstanceOf(AppError)
  expect(pulled).toBeLessThanOrEqual(65_536)
})

test.each([1, 2, 7, 64, 1000])('a CAR in chunks of %i bytes gives its blocks and roots', async (chunkBytes) => {
  const store = new MemoryBlockstore()
  const result = await importCar(inChunks(whole, chunkBytes), store, options)
  const bytes = BigInt(root.bytes.byteLength + leafA.bytes.byteLength + leafB.bytes.byteLength)
  expect(shown(result)).toEqual({ roots: [`${root.cid}`], missing: [], blocks: 3, newBlocks: 3, bytes })
  for (const block of [root, leafA, leafB])
    expect(Buffer.compare(await store.get(block.cid, options), block.bytes)).toBe(0)
})

test('a CAR cut at any byte is refused and leaves no root visible, whether its root comes first or last', async () => {
  for (const blocks of [
    [root, leafA, leafB],
    [leafA, leafB, root],
  ]) {
    const car = carV1([root.cid], blocks)
    for (const [label, complete] of [
      ['v1', car],
      ['v2', carV2(car, { padding: 5 })],
    ] as const) {
      for (let length = 0; length < complete.byteLength; length++) {
        const store = new MemoryBlockstore()
        const cut = importCar(inChunks(complete.subarray(0, length), 13), store, options)
        await expect(cut, `${label} cut at ${length}`).rejects.toMatchObject({ code: 'CAR_INVALID' })
        expect(await store.has(root.cid, options), `${label} cut at ${length}`).toBe(false)
      }
      await expect(importCar(inChunks(complete, 13), new MemoryBlockstore(), options)).resolves.toMatchObject({
        blocks: 3,
      })
    }
  }
})

test('root blocks are handed to the store after everything else is durable', async () => {
  const log: string[] = []
  const store = new LoggedStore(log)
  const upper = node([root], 'upper')
  await importCar(inChunks(carV1([upper.cid, root.cid], [upper, root, leafA, leafB]), 50), store, options)
  expect(log).toEqual([leafA, leafB].map(putOf).concat('flush', [root, upper].map(putOf), 'flush'))
})

test('a flush that fails leaves the root unwritten', async () => {
  const log: string[] = []
  const full = new AppError('STORE_FULL', 'the disk is full')
  await expect(importCar(inChunks(whole, 50), new LoggedStore(log, full), options)).rejects.toBe(full)
  expect(log).toEqual([leafA, leafB].map(putOf).concat('flush'))
})

test('a root that the store already has need not be in the body', async () => {
  const store = new MemoryBlockstore()
  await importCar(inChunks(whole, 50), store, options)
  const result = await importCar(inChunks(carV1([root.cid], [leafA]), 50), store, options)
  expect(shown(result)).toMatchObject({ roots: [`${root.cid}`], missing: [], blocks: 1, newBlocks: 0 })
})

test('a partial CAR keeps its blocks and names the roots that are missing', async () => {
  const store = new MemoryBlockstore()
  const result = await importCar(inChunks(carV1([root.cid], [leafA]), 50), store, { ...options, partial: true })
  expect(shown(result)).toMatchObject({ roots: [`${root.cid}`], missing: [`${root.cid}`], newBlocks: 1 })
  expect(await store.has(leafA.cid, options)).toBe(true)
})

test('a CAR may fill the gaps of a DAG of which the store has the rest', async () => {
  const store = new MemoryBlockstore()
  await store.put(leafA, options)
  await expect(importCar(inChunks(carV1([root.cid], [root, leafB]), 50), store, options)).resolves.toMatchObject({
    newBlocks: 2,
  })
})

test('a CAR without roots is a bag of blocks, and nobody knows what it should hold', async () => {
  const result = await importCar(inChunks(carV1([], [leafA]), 50), new MemoryBlockstore(), options)
  expect(result).toMatchObject({ roots: [], missing: undefined, blocks: 1, newBlocks: 1 })
})

test('the same block twice is stored once and counted twice', async () => {
  const car = carV1([root.cid], [root, leafA, leafB, leafA, root])
  const store = new MemoryBlockstore()
  await expect(importCar(inChunks(car, 50), store, options)).resolves.toMatchObject({ blocks: 5, newBlocks: 3 })
  expect(store.count).toBe(3)
})

test('identity blocks are accepted and not stored, in the body and as a root', async () => {
  const cid = identity(Buffer.alloc(128, 7))
  const store = new MemoryBlockstore()
  const car = carV1([cid], [{ cid, bytes: cid.multihash.digest }, leafA])
  expect(shown(await importCar(inChunks(car, 50), store, options))).toMatchObject({ roots: [`${cid}`], blocks: 1 })
  expect(store.count).toBe(1)
})

test('a link to an identity CID is taken up to the length that reads take, wherever it stands', async () => {
  const of = (bytes: number, codec = 0x55) =>
    CID.createV1(
      codec,
      Digest.create(0x00, codec === 0x55 ? Buffer.alloc(bytes, 7) : cborNode('x'.repeat(bytes - 2)).bytes),
    )
  const taking = (link: CID, more: object = {}) => {
    const top = cborNode({ link, leaf: leafA.cid })
    const inside = cborNode({ top: top.cid })
    return importCar(inChunks(carV1([inside.cid], [inside, top, leafA]), 50), new MemoryBlockstore(), {
      ...options,
      ...more,
    })
  }
  for (const codec of [0x55, 0x71]) {
    const [longest, longer] = [of(128, codec), of(129, codec)]
    expect(() => checkCid(longest)).not.toThrow()
    expect(() => checkCid(longer)).toThrow(/129 bytes; the limit is 128/)
    await expect(taking(longest)).resolves.toMatchObject({ blocks: 3 })
    const refused = {
      code: 'CAR_INVALID',
      message: expect.stringMatching(/129 bytes; the limit is 128/),
      hint: expect.any(String),
    }
    await expect(taking(longer)).rejects.toMatchObject(refused)
    // Where too many links are open the DAG is walked at the end.
    await expect(taking(longer, { openLinksMax: 0 })).rejects.toMatchObject(refused)
    // In a block that was in the store.
    const store = new MemoryBlockstore()
    const [old, top] = [cborNode([longer]), cborNode([cborNode([longer]).cid])]
    await store.put(old, options)
    await expect(importCar(inChunks(carV1([top.cid], [top]), 50), store, options)).rejects.toMatchObject(refused)
    // A bag of blocks promises nothing; what they lack cannot be told.
    await expect(taking(longer, { partial: true })).resolves.toMatchObject({ blocks: 3, missing: undefined })
  }
})

test('a link out of an identity block counts as a link', async () => {
  const link = CID.createV1(0x71, Digest.create(0x00, cborNode(leafA.cid).bytes))
  const top = cborNode([link])
  await expect(importCar(inChunks(carV1([top.cid], [top]), 50), new MemoryBlockstore(), options)).rejects.toMatchObject(
    invalidCode,
  )
  await expect(
    importCar(inChunks(carV1([top.cid], [top, leafA]), 50), new MemoryBlockstore(), options),
  ).resolves.toMatchObject({ blocks: 2 })
})

/** `82 <link> 18 05`: a list of a link and of a number that DAG-CBOR wants in one byte. */
const lax = (link: CID, codec = 0x71) =>
  hashBlock(Buffer.concat([Buffer.of(0x82), dagCbor.encode(link), Buffer.of(0x18, 0x05)]), codec)

test.each([
  ['a node that is no protobuf', hashBlock(Buffer.from('not a protobuf'), 0x70)],
  ['DAG-CBOR that is not canonical, with a link to nowhere', lax(raw('nowhere').cid)],
  ['DAG-CBOR that is not canonical, with a link to what is there', lax(leafA.cid)],
  ['DAG-JSON that is none', hashBlock(Buffer.from('{"/": {'), 0x0129)],
])('%s is refused, since nobody can tell what it links to; of a partial CAR it is kept as it is', async (_, odd) => {
  const top = cborNode([odd.cid])
  for (const [roots, blocks] of [
    [[odd.cid], [odd, leafA]],
    [[top.cid], [top, odd, leafA]],
  ] as const) {
    const store = new MemoryBlockstore()
    const car = carV1(roots, blocks)
    const refused = importCar(inChunks(car, 50), store, options)
    await expect(refused).rejects.toMatchObject({
      ...invalidCode,
      message: expect.stringMatching(/block [12] \(b.*decoded/),
    })
    expect(await store.has(roots[0], options)).toBe(false)
    const taken = await importCar(inChunks(car, 50), store, { ...options, partial: true })
    expect(taken.missing).toBeUndefined()
    expect(Buffer.compare(await store.get(odd.cid, options), odd.bytes)).toBe(0)
  }
})

test('a block of a codec that we do not know leads nowhere, as for every reader', async () => {
  const opaque = lax(raw('nowhere').cid, 0x300001)
  const taken = importCar(inChunks(carV1([opaque.cid], [opaque]), 50), new MemoryBlockstore(), options)
  await expect(taken).resolves.toMatchObject({ missing: [] })
})

test('a block that the store has already is whole only with all that is below it', async () => {
  const inner = cborNode([leafA.cid, leafB.cid])
  const top = cborNode([inner.cid])
  const car = carV1([top.cid], [top])
  for (const left of [[inner], [inner, leafA]]) {
    const store = new MemoryBlockstore()
    for (const block of left) await store.put(block, options)
    await expect(importCar(inChunks(car, 50), store, options)).rejects.toMatchObject({
      ...{ ...invalidCode, message: expect.stringContaining(`${left.length === 1 ? leafA.cid : leafB.cid}`) },
    })
    expect(await store.has(top.cid, options)).toBe(false)
    for (const leaf of [leafA, leafB]) await store.put(leaf, options)
    await expect(importCar(inChunks(car, 50), store, options)).resolves.toMatchObject({ missing: [] })
  }
})

test('a node that the CAR carries as raw bytes is followed where it is linked as a node', async () => {
  const inner = cborNode([leafA.cid])
  const top = cborNode([inner.cid])
  const asRaw = { cid: CID.createV1(0x55, inner.cid.multihash), bytes: inner.bytes }
  const import_ = (blocks: readonly { cid: CID; bytes: Uint8Array }[]) =>
    importCar(inChunks(carV1([top.cid], [top, ...blocks]), 50), new MemoryBlockstore(), options)
  await expect(import_([asRaw])).rejects.toMatchObject(invalidCode)
  await expect(import_([asRaw, leafA])).resolves.toMatchObject({ missing: [] })
})

test('a root inside its own CID is followed, and so is an identity block in the body', async () => {
  const inRoot = CID.createV1(0x71, Digest.create(0x00, cborNode([leafA.cid]).bytes))
  const import_ = (car: Buffer) => importCar(inChunks(car, 50), new MemoryBlockstore(), options)
  await expect(import_(carV1([inRoot], []))).rejects.toMatchObject(invalidCode)
  await expect(
    import_(carV1([leafB.cid], [leafB, { cid: inRoot, bytes: inRoot.multihash.digest }])),
  ).rejects.toMatchObject(invalidCode)
  await expect(import_(carV1([inRoot], [leafA]))).resolves.toMatchObject({ missing: [], blocks: 1 })
  const partial = await importCar(inChunks(carV1([inRoot], []), 50), new MemoryBlockstore(), {
    ...options,
    partial: true,
  })
  expect(partial.missing?.map(String)).toEqual([`${leafA.cid}`])
})

test('a partial CAR tells what is missing, also below what the store has in part, and no more than it may', async () => {
  const inner = cborNode([leafA.cid, leafB.cid])
  const top = cborNode([inner.cid, raw('nowhere').cid])
  const store = new MemoryBlockstore()
  await store.put(inner, options)
  await store.put(leafA, options)
  const import_ = (missingMax: number) =>
    importCar(inChunks(carV1([top.cid], [top]), 50), store, { ...options, partial: true, missingMax })
  expect((await import_(2)).missing?.map(String).sort()).toEqual([`${leafB.cid}`, `${raw('nowhere').cid}`].sort())
  expect((await import_(1)).missing).toBeUndefined()
})

test('links beyond what is kept in memory are looked for all the same, in breadth-first order too', async () => {
  const leaves = Array.from({ length: 1_020 }, (_, index) => raw(`leaf ${index}`))
  const nodes: HashedBlock[] = []
  for (let at = 0; at < leaves.length; at += 200) {
    nodes.push(cborNode(leaves.slice(at, at + 200).map(({ cid }) => cid)))
  }
  const top = cborNode(nodes.map(({ cid }) => cid))
  const import_ = (blocks: readonly HashedBlock[], partial = false) =>
    importCar(inChunks(carV1([top.cid], blocks), 65_536), new MemoryBlockstore(), {
      ...{ ...options, partial, openLinksMax: 500 },
    })
  await expect(import_([top, ...nodes, ...leaves])).resolves.toMatchObject({ missing: [] })
  const [first, second] = leaves
  await expect(import_([top, ...nodes, ...leaves.slice(1)])).rejects.toMatchObject({
    ...{ ...invalidCode, message: expect.stringContaining(`${first?.cid}`) },
  })
  const partial = await import_([top, ...nodes, ...leaves.slice(2)], true)
  expect(partial.missing?.map(String).sort()).toEqual([`${first?.cid}`, `${second?.cid}`].sort())
})

test('an empty block and one of 2 MiB are accepted', async () => {
  const blocks = [raw(''), raw(Buffer.alloc(2 ** 21, 3))]
  await expect(importCar(inChunks(carV1([], blocks), 65_536), new MemoryBlockstore(), options)).resolves.toMatchObject({
    blocks: 2,
  })
})

test.each([
  ['lying offsets', Buffer.alloc(400, 0xff)],
  ['nothing', Buffer.alloc(0)],
])('a CARv2 index of %s is read over', async (_, index) => {
  const car = carV2(whole, { padding: 1400, index })
  const result = await importCar(inChunks(car, 100), new MemoryBlockstore(), options)
  expect(shown(result)).toMatchObject({ blocks: 3, roots: [`${root.cid}`] })
})

test('raw roots beyond half of what is held are written at once; nodes beyond all of it are refused', async () => {
  const big = Array.from({ length: 10 }, (_, index) => raw(Buffer.alloc(2 ** 20, index)))
  const log: string[] = []
  await importCar(
    inChunks(
      carV1(
        big.map(({ cid }) => cid),
        big,
      ),
      65_536,
    ),
    new LoggedStore(log),
    options,
  )
  expect(log.slice(0, 3)).toEqual([...big.slice(8).map(putOf), 'flush'])
  expect(log).toHaveLength(12)
  const nodes = Array.from({ length: rootBytesHeldMax / 2 ** 20 + 1 }, (_, index) =>
    cborNode(Buffer.alloc(2 ** 20, index + 50)),
  )
  const refused = importCar(
    inChunks(
      carV1(
        nodes.map(({ cid }) => cid),
        nodes,
      ),
      65_536,
    ),
    new MemoryBlockstore(),
    options,
  )
  await expect(refused).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

test('an abort ends an import whose source is silent, with the reason, and writes no root', async () => {
  const controller = new AbortController()
  const reason = new Error('client left')
  async function* silent() {
    yield whole.subarray(0, whole.byteLength - 5)
    setImmediate(() => controller.abort(reason))
    await new Promise(() => undefined)
  }
  const store = new MemoryBlockstore()
  await expect(importCar(silent(), store, { ...options, signal: controller.signal })).rejects.toBe(reason)
  expect(await store.has(root.cid, options)).toBe(false)
})

test('the error of a source that fails is passed on', async () => {
  const failure = new Error('socket closed')
  async function* failing() {
    yield whole.subarray(0, 60)
    throw failure
  }
  await expect(importCar(failing(), new MemoryBlockstore(), options)).rejects.toBe(failure)
})

test('a source is let go of when its CAR is refused', async () => {
  let closed = false
  async function* watched() {
    try {
      for (;;) yield Buffer.alloc(100, 0xff)
    } finally {
      closed = true
    }
  }
  await expect(importCar(watched(), new MemoryBlockstore(), options)).rejects.toMatchObject(invalidCode)
  expect(closed).toBe(true)
})

test('whatever @ipld/car writes is imported as @ipld/car reads it', async () => {
  const arbitraryBlocks = fc.array(fc.uint8Array({ maxLength: 3000 }), { minLength: 1, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(arbitraryBlocks, fc.integer({ min: 1, max: 4000 }), async (contents, chunkBytes) => {
      const blocks = contents.map((content) => raw(content))
      const { writer, out } = CarWriter.create(blocks.slice(0, 1).map(({ cid }) => cid))
      const written = Promise.all(blocks.map((block) => writer.put(block))).then(() => writer.close())
      const parts: Uint8Array[] = []
      for await (const part of out) parts.push(part)
      await written
      const store = new MemoryBlockstore()
      const result = await importCar(inChunks(Buffer.concat(parts), chunkBytes), store, options)
      const judge = await CarReader.fromBytes(Buffer.concat(parts))
      expect(result.roots.map(String)).toEqual((await judge.getRoots()).map(String))
      for await (const { cid, bytes } of judge.blocks())
        expect(Buffer.compare(await store.get(cid, options), bytes)).toBe(0)
      expect(result.blocks).toBe(blocks.length)
    }),
    { numRuns: 50 },
  )
})

test('any byte changed in a CAR is refused or changes nothing that is stored', async () => {
  for (let at = 0; at < whole.byteLength; at++) {
    const changed = Buffer.from(whole)
    changed[at] = (changed[at] ?? 0) ^ 0x41
    const store = new MemoryBlockstore()
    const result = await importCar(inChunks(changed, 40), store, options).catch((error: unknown) => error)
    if (result instanceof Error) expect(result, `byte ${at}`).toMatchObject({ name: 'AppError' })
    else expect(await store.has(root.cid, options), `byte ${at}`).toBe(true)
  }
})

const shown = (result: CarImport) => ({
  ...result,
  roots: result.roots.map(String),
  missing: result.missing?.map(String),
})
const invalidCode = { code: 'CAR_INVALID' }
const putOf = ({ cid }: { cid: CID }) => `put ${cid}`

class LoggedStore extends MemoryBlockstore {
  readonly #log: string[]
  readonly #flushError: Error | undefined

  constructor(log: string[], flushError?: Error) {
    super()
    this.#log = log
    this.#flushError = flushError
  }

  override openWriter(options: Abortable): BlockWriter {
    const writer = super.openWriter(options)
    return {
      put: async (block) => {
        this.#log.push(putOf(block))
        await writer.put(verifyBlock(block.cid, block.bytes))
      },
      flush: async () => {
        this.#log.push('flush')
        if (this.#flushError !== undefined) throw this.#flushError
        return writer.flush()
      },
    }
  }
}
