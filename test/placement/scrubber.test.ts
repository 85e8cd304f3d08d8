import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { Stores } from '../../src/blocks/stores.ts'
import { readConfig } from '../../src/config.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { chunkSubject, shardOf } from '../../src/nats/layout.ts'
import { publish } from '../../src/nats/publish.ts'
import { BulkWork } from '../../src/placement/bulk-work.ts'
import { Repair } from '../../src/placement/repair.ts'
import { Scrubber, type ScrubberParts } from '../../src/placement/scrubber.ts'
import { limits, signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { silent } from '../support/stores.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const noFacts = {
  get: async () => undefined,
  all: async function* () {
    yield []
  },
}
const day = 24 * 3600 * 1000

async function openStore(store: string) {
  const config = readConfig({ STOWAGE_NATS_URL: server.url, STOWAGE_STORE: store, STOWAGE_SHARDS: '2' })
  const nats = await connectNats(server.url, config.nats, silent)
  onTestFinished(() => nats.close())
  const stores = await Stores.open(nats, config.layout, config.store)
  const bucket = await KvBucket.open(nats, `kv_${store}`, { replicas: 1, waitMs: 5_000, description: 'a test' })
  const { primary } = stores
  const bulk = new BulkWork({ nats, store: config.store, limits })
  const troubles: unknown[] = []
  const repair = new Repair({
    ...{ primary, facts: noFacts, bulk, bytesPerSecond: MiB, keepRemoteReads: false, isUp: () => true },
    isNamed: async () => false,
    marks: { mark: async () => undefined },
    recorder: { record: () => Promise.reject(new Error('nothing is to be told')), copyFilter: () => 'x' },
    current: (facts) => facts,
    routesBeside: () => [],
    onLoss: () => troubles.push('loss'),
    onTrouble: (error) => troubles.push(error),
  })
  const open = (node: string, bytesPerSecond: number, more: Partial<ScrubberParts> = {}) => {
    const scrubber = new Scrubber({
      ...{ nats, bulk, bucket, space: 'main', site: 'local', node, facts: noFacts, repair, waitMs: 5_000 },
      lookEveryMs: 20,
      isNamed: async () => false,
      stores: async () => [primary],
      bytesIn: async (handle) => (await stores.usage(handle)).bytes,
      config: { bytesPerSecond, everyMs: 30 * day },
      onTrouble: (error) => troubles.push(error),
      ...more,
    })
    onTestFinished(() => scrubber.close())
    return scrubber
  }
  const put = async (count: number, bytes: number) => {
    for (let i = 0; i < count; i++) await primary.blocks.put(hashBlock(randomBytes(bytes), 0x55), { signal })
  }
  return { nats, primary, open, put, troubles }
}

const until = <T>(work: () => Promise<T>): Promise<T> => vi.waitFor(work, { timeout: 20_000, interval: 20 })

test('a round begins where its node stopped, at another node, and no block is left out', async () => {
  const { open, put, troubles } = await openStore('resumed')
  await put(48, 256 * KiB)
  const slow = open('first', 16 * MiB, { saveEveryMs: 0 })
  slow.start()
  await slow.want(undefined, signal)
  await until(async () => {
    const [status] = await slow.status(signal)
    expect(status?.round?.sums.blocks).toBeGreaterThan(0)
  })
  await slow.close()
  const [stopped] = await slow.status(signal)
  expect(stopped?.round?.sums.blocks).toBeLessThan(48)
  const fast = open('second', 1024 * MiB)
  fast.start()
  const [done] = await until(async () => {
    const statuses = await fast.status(signal)
    expect(statuses[0]?.last).toBeDefined()
    return statuses
  })
  expect(done?.round).toBeUndefined()
  expect(done?.last?.startedAt).toBe(stopped?.round?.startedAt)
  expect(done?.last?.sums).toMatchObject({ blocks: 48, bad: 0 })
  expect(troubles).toEqual([])
}, 60_000)

test('nothing begins before it is due or asked for, and one node of two does it once', async () => {
  const { open, put, troubles } = await openStore('asked')
  await put(4, 10 * KiB)
  const nodes = [open('one', 1024 * MiB), open('two', 1024 * MiB)]
  for (const node of nodes) node.start()
  const [one] = nodes
  await until(async () => expect((await one?.status(signal))?.[0]).toMatchObject({ wanted: false }))
  expect((await one?.status(signal))?.[0]?.last).toBeUndefined()
  await nodes[1]?.want('asked', signal)
  const [status] = await until(async () => {
    const statuses = (await one?.status(signal)) ?? []
    expect(statuses[0]?.last).toBeDefined()
    return statuses
  })
  expect(status?.last?.sums.blocks).toBe(4)
  await expect(one?.want('nowhere', signal)).rejects.toMatchObject({ code: 'PLACE_NOT_FOUND' })
  expect(troubles).toEqual([])
}, 60_000)

test('a store that has not been gone through for long is due by itself', async () => {
  const { open, put } = await openStore('due')
  await put(3, 10 * KiB)
  const scrubber = open('node', 1024 * MiB, { config: { bytesPerSecond: 1024 * MiB, everyMs: 100 } })
  scrubber.start()
  await until(async () => expect((await scrubber.status(signal))[0]?.last?.sums.blocks).toBe(3))
}, 30_000)

test('bytes that are wrong and that no meta names end no round, and are gone after it', async () => {
  const { nats, primary, open, put, troubles } = await openStore('unnamed')
  await put(4, 10 * KiB)
  const { cid } = hashBlock(randomBytes(KiB), 0x55)
  const { bucket = '', stream = '' } = primary.buckets[shardOf(cid.multihash.digest, 2)] ?? {}
  await publish(nats.requests, { subject: chunkSubject(bucket, blockKey(cid)), payload: randomBytes(KiB) })
  const before = (await nats.jsm.streams.info(stream)).state.messages
  const scrubber = open('node', 1024 * MiB, { graceMs: 0 })
  scrubber.start()
  await scrubber.want(undefined, signal)
  await until(async () => expect((await scrubber.status(signal))[0]?.last?.sums.blocks).toBe(5))
  expect((await nats.jsm.streams.info(stream)).state.messages).toBe(before - 1)
  expect(troubles).toEqual([])
}, 30_000)

test('a block that cannot be dealt with is told, and the round goes on to its end', async () => {
  const { nats, primary, open, put, troubles } = await openStore('stubborn')
  const { cid } = hashBlock(randomBytes(KiB), 0x55)
  const { bucket = '' } = primary.buckets[shardOf(cid.multihash.digest, 2)] ?? {}
  await publish(nats.requests, { subject: chunkSubject(bucket, blockKey(cid)), payload: randomBytes(KiB) })
  await put(8, 10 * KiB)
  const scrubber = open('node', 1024 * MiB, {
    repair: { mendBlock: () => Promise.reject(new Error('stubborn')) } as unknown as Repair,
  })
  scrubber.start()
  await scrubber.want(undefined, signal)
  await until(async () => expect((await scrubber.status(signal))[0]?.last?.sums).toMatchObject({ blocks: 9, bad: 1 }))
  expect(troubles).toMatchObject([{ message: 'stubborn' }])
}, 30_000)

test('a scrubber that is off does nothing and says so', async () => {
  const { open } = await openStore('off')
  const scrubber = open('node', 0)
  scrubber.start()
  expect(scrubber.isOn).toBe(false)
  await expect(scrubber.want(undefined, signal)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})
