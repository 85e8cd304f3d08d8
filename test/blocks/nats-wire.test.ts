import { randomBytes } from 'node:crypto'
import { jetstreamManager } from '@nats-io/jetstream'
import { Objm } from '@nats-io/obj'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { blockBucket, chunkSubject, metaSubject, objectStream, shardOf } from '../../src/nats/layout.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

const { signal } = new AbortController()
const rawCodec = 0x55

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

describe.each([
  ['max_payload 8 MB', () => server.url],
  ['max_payload 1 MB', () => small.url],
])('the Object Store client of NATS, %s', (_label, url) => {
  test('reads, lists and checks the digest of blocks that we wrote', async ({ onTestFinished }) => {
    const { nats, blocks, config } = await openTestStore(url(), onTestFinished)
    const written = [0, 1, 1000, 64 * KiB, MiB, 2 * MiB].map((bytes) => hashBlock(randomBytes(bytes), rawCodec))
    for (const block of written) await blocks.put(block, { signal })
    const objects = new Objm(nats.control)
    const listed: string[] = []
    for (let shard = 0; shard < config.layout.shards; shard++) {
      const bucket = await objects.open(blockBucket(config.layout, shard))
      for (const info of await bucket.list()) listed.push(info.name)
    }
    expect(listed.sort()).toEqual(written.map(({ cid }) => blockKey(cid)).sort())
    for (const { cid, bytes } of written) {
      const bucket = await objects.open(blockBucket(config.layout, shardOf(cid.multihash.digest, config.layout.shards)))
      const info = await bucket.info(blockKey(cid))
      expect(info).toMatchObject({ size: bytes.byteLength, nuid: blockKey(cid), deleted: false })
      // getBlob checks the digest in the meta and throws when it does not match.
      expect(Buffer.compare((await bucket.getBlob(blockKey(cid))) ?? Buffer.alloc(1), bytes)).toBe(0)
    }
  })

  test.each([128 * KiB, 300 * KiB, 1000])('writes blocks in chunks of %i bytes that we read', async (chunkBytes) => {
    const finished: (() => unknown)[] = []
    const { nats, blocks, config } = await openTestStore(url(), (done) => finished.push(done as () => unknown))
    const objects = new Objm(nats.control)
    const block = hashBlock(randomBytes(500 * KiB + 7), rawCodec)
    const bucket = await objects.open(
      blockBucket(config.layout, shardOf(block.cid.multihash.digest, config.layout.shards)),
    )
    await bucket.putBlob({ name: blockKey(block.cid), options: { max_chunk_size: chunkBytes } }, block.bytes)
    expect(await blocks.has(block.cid, { signal })).toBe(true)
    expect(await blocks.size(block.cid, { signal })).toBe(block.bytes.byteLength)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
    expect(await blocks.put(block, { signal })).toBe(false)
    await blocks.delete(block.cid, { signal })
    expect(await blocks.has(block.cid, { signal })).toBe(false)
    await expect(blocks.get(block.cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    for (const done of finished) await done()
  })
})

test('an object removed with the Object Store client is lost to us, since we remove none so, and can be put again', async ({
  onTestFinished,
}) => {
  const { nats, blocks, config } = await openTestStore(server.url, onTestFinished)
  for (const bytes of [700, 200 * KiB]) {
    const block = hashBlock(randomBytes(bytes), rawCodec)
    await blocks.put(block, { signal })
    const shard = shardOf(block.cid.multihash.digest, config.layout.shards)
    const bucket = await new Objm(nats.control).open(blockBucket(config.layout, shard))
    await bucket.delete(blockKey(block.cid))
    expect(await blocks.has(block.cid, { signal })).toBe(false)
    await expect(blocks.get(block.cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_LOST' })
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
  }
})

test('a block whose bytes are gone while its meta stands is BLOCK_LOST, never not found', async ({
  onTestFinished,
}) => {
  const { nats, blocks, config } = await openTestStore(server.url, onTestFinished)
  const block = hashBlock(randomBytes(700), rawCodec)
  await blocks.put(block, { signal })
  const bucket = blockBucket(config.layout, shardOf(block.cid.multihash.digest, config.layout.shards))
  await nats.jsm.streams.purge(objectStream(bucket), { filter: chunkSubject(bucket, blockKey(block.cid)) })
  await expect(blocks.get(block.cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_LOST' })
  await expect(blocks.getBatch([{ cid: block.cid }], { signal })).rejects.toMatchObject({ code: 'BLOCK_LOST' })
})

test('a chunk that a crash left without its meta is completed by the next put', async ({ onTestFinished }) => {
  const { nats, blocks, config } = await openTestStore(server.url, onTestFinished)
  for (const bytes of [700, 200 * KiB]) {
    const block = hashBlock(randomBytes(bytes), rawCodec)
    const bucket = blockBucket(config.layout, shardOf(block.cid.multihash.digest, config.layout.shards))
    await nats.js.publish(chunkSubject(bucket, blockKey(block.cid)), block.bytes)
    expect(await blocks.has(block.cid, { signal })).toBe(false)
    expect(await blocks.put(block, { signal })).toBe(true)
    expect(await blocks.has(block.cid, { signal })).toBe(true)
    const manager = await jetstreamManager(nats.control)
    const meta = await manager.streams.getMessage(objectStream(bucket), {
      last_by_subj: metaSubject(bucket, blockKey(block.cid)),
    })
    expect(meta?.json()).toMatchObject({ size: bytes })
  }
})

test('a store opened with another number of shards is a clear error', async ({ onTestFinished }) => {
  const { nats, config } = await openTestStore(server.url, onTestFinished)
  await expect(openNatsBlockstore(nats, { ...config.layout, shards: 8 }, config.store)).rejects.toMatchObject({
    code: 'STORE_MISMATCH',
    message: expect.stringContaining('4 shards, not 8'),
    hint: expect.stringContaining('STOWAGE_SHARDS=4'),
  })
})

test('a bucket that is not ours is a clear error and stays as it was', async ({ onTestFinished }) => {
  const { nats, config } = await openTestStore(server.url, onTestFinished)
  const layout = { ...config.layout, store: 'theirs' }
  await new Objm(nats.control).create(blockBucket(layout, 0))
  await expect(openNatsBlockstore(nats, layout, config.store)).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
})
