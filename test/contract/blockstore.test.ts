import { createHash, randomBytes } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import { type Blockstore, blockBytesMax } from '../../src/blocks/blockstore.ts'
import { cached } from '../../src/blocks/cached.ts'
import { inline } from '../../src/blocks/inline.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { verified } from '../../src/blocks/verified.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

// Real work by the ten thousand blocks: minutes, where a machine has much else to do.
vi.setConfig({ testTimeout: 300_000 })

type Open = (onFinished: TestContext['onTestFinished']) => Promise<Blockstore>

const { signal } = new AbortController()
const rawCodec = 0x55
const dagPbCodec = 0x70

let server: TestNats
let small: TestNats
beforeAll(async () => {
  server = await startTestNats()
  small = await startTestNats({ maxPayload: '1MB' })
})
afterAll(async () => {
  await server.stop()
  await small.stop()
})

const openMemory: Open = async () => new MemoryBlockstore()
const openNats: Open = async (onFinished) => (await openTestStore(server.url, onFinished)).blocks
const openSmallPayload: Open = async (onFinished) => (await openTestStore(small.url, onFinished)).blocks

const stores: readonly (readonly [string, Open])[] = [
  ['memory', openMemory],
  ['nats', openNats],
  ['nats with a max_payload of 1 MB', openSmallPayload],
  ['verified over nats', async (onFinished) => verified(await openNats(onFinished))],
  ['cached over memory', async (onFinished) => cached(await openMemory(onFinished), MiB)],
  ['cached over verified over nats', async (onFinished) => cached(verified(await openNats(onFinished)), 8 * MiB)],
  ['inline over memory', async (onFinished) => inline(await openMemory(onFinished))],
]

describe.each(stores)('%s', (_label, open) => {
  test('gives back what was put, and says whether it was new', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const block = hashBlock(randomBytes(1000), rawCodec)
    expect(await blocks.has(block.cid, { signal })).toBe(false)
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(await blocks.put(block, { signal })).toBe(false)
    expect(await blocks.has(block.cid, { signal })).toBe(true)
    expect(await blocks.size(block.cid, { signal })).toBe(1000)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
  })

  test.each([0, 1, 255, 64 * KiB - 1, 64 * KiB, 1 * MiB, blockBytesMax])('holds a block of %i bytes', async (bytes) => {
    const finished: (() => unknown)[] = []
    const blocks = await open((done) => finished.push(done as () => unknown))
    const block = hashBlock(randomBytes(bytes), rawCodec)
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(await blocks.size(block.cid, { signal })).toBe(bytes)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
    const [again] = await blocks.getBatch([{ cid: block.cid }, { cid: block.cid }], { signal })
    expect(Buffer.compare(again ?? Buffer.alloc(0), block.bytes)).toBe(0)
    for (const done of finished) await done()
  })

  test('knows a block by its multihash, however its CID is spelled', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const block = hashBlock(randomBytes(100), dagPbCodec)
    await blocks.put(block, { signal })
    for (const cid of [CID.create(0, dagPbCodec, block.cid.multihash), CID.createV1(rawCodec, block.cid.multihash)]) {
      expect(await blocks.has(cid, { signal })).toBe(true)
      expect(Buffer.compare(await blocks.get(cid, { signal }), block.bytes)).toBe(0)
    }
  })

  test('a block that was never put is BLOCK_NOT_FOUND', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const { cid } = hashBlock(randomBytes(10), rawCodec)
    const present = hashBlock(randomBytes(10), rawCodec)
    await blocks.put(present, { signal })
    await expect(blocks.get(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    await expect(blocks.size(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    await expect(blocks.getBatch([{ cid: present.cid }, { cid }], { signal })).rejects.toMatchObject({
      code: 'BLOCK_NOT_FOUND',
    })
  })

  test('what is not here is named as it was asked for', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const { cid } = hashBlock(randomBytes(10), dagPbCodec)
    await expect(blocks.get(cid, { signal })).rejects.toThrow(cid.toString())
    await expect(blocks.size(cid, { signal })).rejects.toThrow(cid.toString())
    await expect(blocks.getBatch([{ cid }, { cid }], { signal })).rejects.toThrow(cid.toString())
  })

  test('a deleted block is gone and can be put again as new', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const block = hashBlock(randomBytes(5000), rawCodec)
    await blocks.put(block, { signal })
    await blocks.delete(block.cid, { signal })
    expect(await blocks.has(block.cid, { signal })).toBe(false)
    await expect(blocks.get(block.cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    await blocks.delete(block.cid, { signal })
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
  })

  test('a writer stores many blocks of mixed sizes, counts the new ones, and a batch gives them in order', async ({
    onTestFinished,
  }) => {
    const blocks = await open(onTestFinished)
    const sizes = Array.from({ length: 300 }, (_, i) => (i % 50 === 0 ? 200 * KiB : 1 + ((i * 37) % 3000)))
    const all = sizes.map((bytes) => hashBlock(randomBytes(bytes), rawCodec))
    for (const block of all.slice(0, 20)) await blocks.put(block, { signal })
    const writer = blocks.openWriter({ signal })
    for (const block of all) await writer.put(block)
    const last = all.at(-1)
    if (last !== undefined) await writer.put(last)
    expect(await writer.flush()).toEqual({ blocks: 301, newBlocks: 280 })
    const read = await blocks.getBatch(
      all.map(({ cid, bytes }) => ({ cid, bytes: bytes.byteLength })),
      { signal },
    )
    expect(read.map((bytes, i) => Buffer.compare(bytes, all[i]?.bytes ?? Buffer.alloc(0)))).toEqual(all.map(() => 0))
  })

  test('puts of one block at the same time end with one that is new', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    for (const bytes of [500, 300 * KiB]) {
      const block = hashBlock(randomBytes(bytes), rawCodec)
      const news = await Promise.all(Array.from({ length: 10 }, () => blocks.put(block, { signal })))
      expect(news.filter(Boolean)).toHaveLength(1)
    }
  })

  test('an aborted call rejects with the reason of the abort', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const block = hashBlock(randomBytes(10), rawCodec)
    const aborted = AbortSignal.abort(new Error('enough'))
    await expect(blocks.get(block.cid, { signal: aborted })).rejects.toThrow('enough')
    await expect(blocks.put(block, { signal: aborted })).rejects.toThrow('enough')
    await expect(blocks.openWriter({ signal: aborted }).put(block)).rejects.toThrow('enough')
  })

  test('a block under another hash function is stored and read like any other', async ({ onTestFinished }) => {
    const blocks = await open(onTestFinished)
    const bytes = randomBytes(700)
    const digest = createHash('sha512').update(bytes).digest()
    const block = verifyBlock(CID.createV1(rawCodec, Digest.create(0x13, digest)), bytes)
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), bytes)).toBe(0)
  })
})
