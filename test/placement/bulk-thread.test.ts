import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { placeOf } from '../../src/blocks/stores.ts'
import type { Bulk, Mended, Pace, ScannedPage } from '../../src/placement/bulk.ts'
import { BulkThread } from '../../src/placement/bulk-thread.ts'
import { BulkWork } from '../../src/placement/bulk-work.ts'
import { limits, signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { SiteRig } from '../support/site-rig.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

const pace: Pace = { lane: 'copies', bytesPerSecond: Number.POSITIVE_INFINITY }

const openers: readonly (readonly [string, (rig: SiteRig) => Bulk])[] = [
  ['in this thread', ({ nats, config }) => new BulkWork({ nats, store: config.store, limits })],
  [
    'in a thread of its own',
    ({ config }) => {
      const thread = new BulkThread({ natsUrl: server.url, nats: config.nats, store: config.store, limits })
      onTestFinished(() => thread.close())
      return thread
    },
  ],
]

test.each(openers)('%s: a DAG is copied once, verified, and mended where it is damaged', async (_label, open) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const bulk = open(rig)
  const leaves = rig.leaves(20, 1)
  const root = (await rig.put(leaves)).toString()
  const dest = await rig.stores.make('b')
  const job = { root, at: placeOf(dest), from: [placeOf(rig.stores.primary)], pace }
  const bytes = leaves.reduce((sum, leaf) => sum + leaf.byteLength, 0)

  const first = await bulk.copy({ ...job, isNew: true }, { signal })
  expect(first).toMatchObject({ blocks: 21, newBlocks: 21 })
  expect(first.bytes).toBeGreaterThan(bytes)
  expect(await bulk.copy({ ...job, isNew: true }, { signal })).toMatchObject({ blocks: 21, newBlocks: 0 })
  expect(await bulk.verify(job, { signal })).toMatchObject({ blocks: 21, bytes: first.bytes })

  const gone = hashBlock(leaves[7] ?? new Uint8Array(), 0x55).cid
  await dest.raw.delete(gone, { signal })
  await expect(bulk.verify(job, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  const mended: Mended[] = []
  const onMended = (one: Mended) => void mended.push(one)
  await bulk.copy({ ...job, isNew: false }, { signal, onMended })
  const { site, store } = rig.stores.primary
  expect(mended).toEqual([{ count: 1, first: { cid: gone.toString(), from: { site, store } } }])
  expect(await bulk.verify(job, { signal })).toMatchObject({ blocks: 21 })
})

test.each(openers)('%s: a shard is scanned page by page, from where one begins', async (_label, open) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const bulk = open(rig)
  await rig.put(rig.leaves(50, 2))
  const at = placeOf(rig.stores.primary)
  const scan = async (fromSeq: number) => {
    const pages: ScannedPage[] = []
    for (const shard of at.buckets.keys()) {
      const onPage = async (page: ScannedPage) => void pages.push(page)
      await bulk.scan({ at, shard, fromSeq, pace, graceMs: 0 }, { signal, onPage })
    }
    return pages
  }
  const pages = await scan(1)
  expect(pages.reduce((sum, { blocks }) => sum + blocks, 0)).toBe(51)
  expect(pages.flatMap(({ findings }) => findings)).toEqual([])
  expect((await scan(1_000)).reduce((sum, { blocks }) => sum + blocks, 0)).toBe(0)
  await expect(
    bulk.scan({ at, shard: 99, fromSeq: 1, pace, graceMs: 0 }, { signal, onPage: async () => undefined }),
  ).rejects.toThrow('a shard outside the store')
})

test.runIf(process.platform === 'linux')('the thread gives way to those that answer requests', async () => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const before = niceThreads()
  const bulk = new BulkThread({ natsUrl: server.url, nats: rig.config.nats, store: rig.config.store, limits })
  onTestFinished(() => bulk.close())
  const root = (await rig.put(rig.leaves(3, 3))).toString()
  await bulk.verify({ root, at: placeOf(rig.stores.primary), pace }, { signal })
  expect(niceThreads() - before).toBe(1)
})

/** Threads of this process that have less priority than the rest: field 19 of proc_pid_stat(5). */
function niceThreads(): number {
  return readdirSync('/proc/self/task').filter((thread) => {
    const text = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]) > 0
  }).length
}
