import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, type TestContext, test, vi } from 'vitest'
import { type HashedBlock, hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { type Finding, scanShard } from '../../src/blocks/scan-shard.ts'
import { verified } from '../../src/blocks/verified.ts'
import { KiB } from '../../src/lib/units.ts'
import { chunkSubject, metaSubject } from '../../src/nats/layout.ts'
import { publish } from '../../src/nats/publish.ts'
import { deleteFile, flipBits, storeFiles } from '../support/damage.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { freePorts } from '../support/ports.ts'
import { type OpenStore, openTestStore } from '../support/stores.ts'

const { signal } = new AbortController()
const raw = 0x55
const waitMs = 5_000

/** A server whose files can be damaged between two runs. */
async function openServer(onFinished: TestContext['onTestFinished'], maxPayload = '8MB') {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-damage-'))
  const [port = 0] = await freePorts(1)
  let server: TestNats = await startTestNats({ dataDir, port, maxPayload })
  onFinished(async () => {
    await server.stop()
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
  })
  const restart = async (stop: 'SIGTERM' | 'SIGKILL', damage: (files: string[]) => Promise<void>, prefix: string) => {
    await server.kill(stop)
    await damage(await storeFiles(dataDir, prefix))
    server = await startTestNats({ dataDir, port, maxPayload })
  }
  return { url: server.url, restart }
}

async function putBlocks({ blocks }: OpenStore, sizes: readonly number[]): Promise<HashedBlock[]> {
  const put = sizes.map((bytes) => hashBlock(randomBytes(bytes), raw))
  for (const block of put) await blocks.put(block, { signal })
  return put
}

async function scan({ nats, blocks }: OpenStore, graceMs = 0): Promise<{ blocks: number; findings: Finding[] }> {
  const findings: Finding[] = []
  let count = 0
  for (const bucket of blocks.buckets) {
    for await (const page of scanShard(nats, blocks, bucket, { signal, waitMs, graceMs })) {
      findings.push(...page.findings)
      count += page.blocks
    }
  }
  return { blocks: count, findings }
}

async function unreadable({ blocks }: OpenStore, put: readonly HashedBlock[]): Promise<HashedBlock[]> {
  const safe = verified(blocks)
  const read = await Promise.allSettled(put.map(({ cid }) => safe.get(cid, { signal })))
  return put.filter((_, i) => read[i]?.status === 'rejected')
}

/** Connected again: what asks for control waits for nothing by itself. */
async function again(store: OpenStore): Promise<OpenStore> {
  await vi.waitFor(() => store.nats.jsm.streams.info(store.blocks.buckets[0]?.stream ?? ''), { timeout: 20_000 })
  return store
}

const sizes = Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? 3 * KiB : 150 * KiB))
const keys = (blocks: readonly { readonly cid: HashedBlock['cid'] }[]) => blocks.map(({ cid }) => blockKey(cid)).sort()

test('bits that were flipped while the server was down are found, rewritten, and stay repaired over a restart', async ({
  onTestFinished,
}) => {
  const server = await openServer(onTestFinished)
  const store = await openTestStore(server.url, onTestFinished, { SHARDS: '1', STORE_WAIT_SECONDS: '20' })
  const put = await putBlocks(store, sizes)
  const prefix = `${store.config.layout.domain}-${store.config.layout.space}-${store.config.layout.site}-${store.config.layout.store}`
  await server.restart('SIGTERM', async ([first = '']) => flipBits(first, 7), prefix)
  const after = await again(store)
  const bad = await unreadable(after, put)
  expect(bad.length).toBeGreaterThanOrEqual(5)
  const { findings } = await scan(after)
  expect(keys(findings)).toEqual(keys(bad))
  for (const block of bad) await after.blocks.rewrite(block, { signal })
  expect(await unreadable(after, put)).toEqual([])
  expect((await scan(after)).findings).toEqual([])
  await server.restart('SIGTERM', async () => undefined, prefix)
  expect(await unreadable(await again(store), put)).toEqual([])
})

test('a file of messages that is gone leaves nothing to be hashed, and each block can be written again', async ({
  onTestFinished,
}) => {
  const server = await openServer(onTestFinished)
  const store = await openTestStore(server.url, onTestFinished, { SHARDS: '1', STORE_WAIT_SECONDS: '20' })
  const put = await putBlocks(store, sizes)
  const { domain, space, site, store: name } = store.config.layout
  await server.restart('SIGTERM', async ([first = '']) => deleteFile(first), `${domain}-${space}-${site}-${name}`)
  const after = await again(store)
  const bad = await unreadable(after, put)
  expect(bad.length).toBeGreaterThan(10)
  expect((await scan(after)).findings.length).toBeLessThanOrEqual(1)
  for (const block of bad) await after.blocks.rewrite(block, { signal })
  expect(await unreadable(after, put)).toEqual([])
})

test.each(['8MB', '1MB'])(
  'a block with other bytes in its place is found and rewritten, and readers never find none, max_payload %s',
  async (maxPayload) => {
    const finished: (() => unknown)[] = []
    const onFinished: TestContext['onTestFinished'] = (done) => void finished.push(done as () => unknown)
    const server = await startTestNats({ maxPayload })
    try {
      const store = await openTestStore(server.url, onFinished, { SHARDS: '1' })
      const [block, whole] = await putBlocks(store, [700 * KiB, 5 * KiB])
      const [bucket] = store.blocks.buckets
      if (block === undefined || whole === undefined || bucket === undefined) throw new Error('nothing was put')
      const subject = chunkSubject(bucket.bucket, blockKey(block.cid))
      await publish(store.nats.requests, { subject, payload: randomBytes(700 * KiB) })
      expect((await scan(store)).findings).toMatchObject([{ fault: 'corrupt' }])
      const answers = new Set<string>()
      let rewriting = true
      const reading = (async () => {
        while (rewriting) {
          const bytes = await store.blocks.get(block.cid, { signal })
          answers.add(isWhole(block, bytes) ? 'whole' : 'damaged')
        }
      })()
      await store.blocks.rewrite(block, { signal })
      rewriting = false
      await reading
      expect([...answers].sort()).not.toContain('missing')
      expect(Buffer.compare(await store.blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
      const again = await scan(store)
      expect(again.findings).toEqual([])
      expect((await store.nats.jsm.streams.info(bucket.stream)).state.messages).toBeLessThanOrEqual(5)
    } finally {
      for (const done of finished.reverse()) await done()
      await server.stop()
    }
  },
)

test('halves of blocks are told: bytes without a meta once they are old, a meta without its bytes at once', async ({
  onTestFinished,
}) => {
  const server = await startTestNats()
  onTestFinished(() => server.stop())
  const store = await openTestStore(server.url, onTestFinished, { SHARDS: '1' })
  const [unnamed, hollow] = await putBlocks(store, [4 * KiB, 4 * KiB, 4 * KiB])
  const [bucket] = store.blocks.buckets
  if (unnamed === undefined || hollow === undefined || bucket === undefined) throw new Error('nothing was put')
  const { jsm } = store.nats
  await jsm.streams.purge(bucket.stream, { filter: metaSubject(bucket.bucket, blockKey(unnamed.cid)) })
  await jsm.streams.purge(bucket.stream, { filter: chunkSubject(bucket.bucket, blockKey(hollow.cid)) })
  const young = await scan(store, 60_000)
  expect(young.findings.map(({ fault }) => fault)).toEqual(['lost'])
  const { findings } = await scan(store)
  expect(findings.map(({ cid, fault }) => [blockKey(cid), fault]).sort()).toEqual(
    [
      [blockKey(unnamed.cid), 'unfinished'],
      [blockKey(hollow.cid), 'lost'],
    ].sort(),
  )
  for (const block of [unnamed, hollow]) await store.blocks.rewrite(block, { signal })
  expect((await scan(store)).findings).toEqual([])
  await expect(store.blocks.has(unnamed.cid, { signal })).resolves.toBe(true)
})

test('a lost block that was marked is absent to a put, lost to a reader and a scan, and a put writes it again', async ({
  onTestFinished,
}) => {
  const server = await startTestNats()
  onTestFinished(() => server.stop())
  const store = await openTestStore(server.url, onTestFinished, { SHARDS: '1' })
  const put = await putBlocks(store, [4 * KiB, 4 * KiB, 4 * KiB, 200 * KiB])
  const other = hashBlock(randomBytes(10), 0x55).cid
  const [bucket] = store.blocks.buckets
  if (bucket === undefined) throw new Error('nothing was put')
  for (const { cid } of put) {
    await store.nats.jsm.streams.purge(bucket.stream, { filter: chunkSubject(bucket.bucket, blockKey(cid)) })
    await expect(store.blocks.get(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_LOST' })
    // The second time there is nothing left to be done.
    for (let time = 0; time < 2; time++) await store.blocks.markLost(cid, { signal })
    await expect(store.blocks.has(cid, { signal })).resolves.toBe(false)
    await expect(store.blocks.hasMany([cid], { signal })).resolves.toEqual([false])
    const lost = { code: 'BLOCK_LOST', block: cid.toString() }
    await expect(store.blocks.get(cid, { signal })).rejects.toMatchObject(lost)
    await expect(store.blocks.getBatch([{ cid }, { cid: other }], { signal })).rejects.toMatchObject(lost)
    await expect(store.blocks.size(cid, { signal })).rejects.toMatchObject(lost)
  }
  const { findings } = await scan(store)
  expect(findings.map(({ cid, fault }) => [blockKey(cid), fault]).sort()).toEqual(
    put.map(({ cid }) => [blockKey(cid), 'lost']).sort(),
  )
  const writer = store.blocks.openWriter({ signal })
  for (const block of put) await writer.put(block)
  await writer.flush()
  expect(await unreadable(store, put)).toEqual([])
  // Nothing is left of the markers.
  const { state } = await store.nats.jsm.streams.info(bucket.stream)
  expect(state.messages).toBe(2 * put.length)
  expect((await scan(store)).findings).toEqual([])
})

test('what was never there is not found, and a block gone without a trace is, until somebody marks it', async ({
  onTestFinished,
}) => {
  const server = await startTestNats()
  onTestFinished(() => server.stop())
  const store = await openTestStore(server.url, onTestFinished, { SHARDS: '1' })
  const [gone] = await putBlocks(store, [4 * KiB])
  const [bucket] = store.blocks.buckets
  if (gone === undefined || bucket === undefined) throw new Error('nothing was put')
  const { cid } = gone
  for (const subject of [chunkSubject(bucket.bucket, blockKey(cid)), metaSubject(bucket.bucket, blockKey(cid))]) {
    await store.nats.jsm.streams.purge(bucket.stream, { filter: subject })
  }
  await expect(store.blocks.get(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND', block: `${cid}` })
  await store.blocks.markLost(cid, { signal })
  await expect(store.blocks.get(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_LOST' })
  // What we delete ourselves leaves nothing.
  await store.blocks.delete(cid, { signal })
  await expect(store.blocks.get(cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

function isWhole({ cid }: HashedBlock, bytes: Uint8Array): boolean {
  try {
    verifyBlock(cid, bytes)
    return true
  } catch {
    return false
  }
}
