import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import type { StoreHandle } from '../../src/blocks/stores.ts'
import { verifyDag } from '../../src/placement/copy-dag.ts'
import { copyEvents } from '../../src/placement/copy-events.ts'
import { placeEvents } from '../../src/placement/place-events.ts'
import type { SiteKeeperParts } from '../../src/placement/site-keeper.ts'
import type { SweepParts } from '../../src/placement/sweep.ts'
import { limits, signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { SiteRig } from '../support/site-rig.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

const waiting = { timeout: 20_000, interval: 10 }
const cause = { correlation: 'c', causation: 'c' }

async function copied(rig: SiteRig, cid: CID, store = 'b'): Promise<void> {
  await rig.queued(rig.task(cid, store))
  await vi.waitFor(async () => expect(await rig.stateOf(cid, store)).toBe('verified'), waiting)
}

async function removed(rig: SiteRig, cid: CID, store = 'b'): Promise<void> {
  await rig.recorder.record(copyEvents.removed(cid.toString(), rig.at(store)), cause)
  await vi.waitFor(async () => expect(await rig.stateOf(cid, store)).toBeUndefined(), waiting)
}

const verify = (rig: SiteRig, cid: CID, { blocks }: StoreHandle) =>
  verifyDag(cid, blocks, { signal, limits, rate: rig.unlimited, readAheadBytes: 1 << 20 })

const leaf = (bytes: Uint8Array): CID => hashBlock(bytes, 0x55).cid

test('what only a removed root needs goes; what others share with it stays', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { follower } = rig.follow()
  rig.replicator().start()
  const shared = rig.leaves(5, 1)
  const own = rig.leaves(5, 2)
  const kept = await rig.put([...shared, ...rig.leaves(3, 3)])
  const gone = await rig.put([...shared, ...own])
  await copied(rig, kept)
  await copied(rig, gone)
  const store = await rig.stores.make('b')
  const sweep = rig.sweep(follower)
  await expect(sweep.run(store, signal)).resolves.toMatchObject({ looked: 15, freed: 0 })
  await removed(rig, gone)
  await expect(sweep.run(store, signal)).resolves.toMatchObject({ freed: 6, blockedBy: undefined })
  await verify(rig, kept, store)
  for (const bytes of own) await expect(store.raw.has(leaf(bytes), { signal })).resolves.toBe(false)
  await expect(store.raw.has(gone, { signal })).resolves.toBe(false)
  // The primary store is not touched.
  await verify(rig, gone, rig.stores.primary)
  await expect(sweep.run(store, signal)).resolves.toMatchObject({ looked: 9, freed: 0 })
})

test('young blocks are left alone, and told of', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { follower } = rig.follow()
  const store = await rig.stores.make('b')
  await store.blocks.put(hashBlock(Buffer.from('just now'), 0x55), { signal })
  const report = await rig.sweep(follower, { graceMs: 60_000 }).run(store, signal)
  expect(report).toMatchObject({ looked: 1, freed: 0, young: 1 })
})

test('with little memory a store is swept in several rounds, with the same end', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { follower } = rig.follow()
  rig.replicator().start()
  const kept = await rig.put(rig.leaves(300, 1))
  const gone = await rig.put(rig.leaves(300, 2))
  await copied(rig, kept)
  await copied(rig, gone)
  await removed(rig, gone)
  const store = await rig.stores.make('b')
  const report = await rig.sweep(follower, { candidatesMax: 100 }).run(store, signal)
  expect(report.freed).toBe(301)
  await verify(rig, kept, store)
})

test('while a root in the store cannot be told to its end, nothing goes', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { follower } = rig.follow()
  rig.replicator().start()
  const kept = await rig.put(rig.leaves(3, 1))
  const gone = await rig.put(rig.leaves(3, 2))
  await copied(rig, kept)
  await copied(rig, gone)
  await removed(rig, gone)
  const store = await rig.stores.make('b')
  for (const { raw } of [store, rig.stores.primary]) await raw.delete(kept, { signal })
  const report = await rig.sweep(follower).run(store, signal)
  expect(report).toMatchObject({ freed: 0, blockedBy: kept.toString() })
})

test('a copy that is told of behind the fence, and cannot be told to its end, is not swept away', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { follower } = rig.follow()
  const store = await rig.stores.make('b')
  // It is on its way in: its leaves are there, and of its root nobody can tell what it needs.
  const leaves = rig.leaves(5, 1)
  const coming = await rig.put(leaves)
  await vi.waitFor(async () => expect(await rig.factsOf(coming)).toBeDefined(), waiting)
  for (const bytes of leaves) await store.blocks.put(hashBlock(bytes, 0x55), { signal })
  await rig.stores.primary.raw.delete(coming, { signal })
  let told = false
  const sweep = rig.sweep(follower, {
    caughtUp: async () => {
      if (told) return
      told = true
      await rig.recorder.record(
        copyEvents.requested(coming.toString(), 'add', rig.at('b'), { rule: 'r', why: 'w' }),
        cause,
      )
      await vi.waitFor(async () => expect(await rig.stateOf(coming, 'b')).toBe('requested'), waiting)
    },
  })
  await expect(sweep.run(store, signal)).resolves.toMatchObject({ freed: 0, blockedBy: coming.toString() })
  for (const bytes of leaves) await expect(store.raw.has(leaf(bytes), { signal })).resolves.toBe(true)
})

test('a store that was removed takes no puts: every node of the site deletes what lies there', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { store } = rig.stores.primary
  await rig.keeper().register()
  const settings = { ...rig.keeper().settingsOf(rig.stores.primary), primary: true, state: 'removed' as const }
  await rig.recorder.record(placeEvents.store(settings), cause)
  await expect(rig.keeper().takePuts()).rejects.toMatchObject({
    code: 'STORE_MISMATCH',
    message: `store ${store} of site here was removed`,
  })
})

test('of two nodes that sweep one store at once, one does', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const other = await SiteRig.open(server.url, onTestFinished, { DOMAIN: rig.config.layout.domain })
  const [one, two] = [rig.follow(), other.follow()]
  const store = await rig.stores.make('b')
  const writer = store.blocks.openWriter({ signal })
  for (const bytes of rig.leaves(2_000, 7, 20)) await writer.put(hashBlock(bytes, 0x55))
  await writer.flush()
  const reports = await Promise.all([
    rig.sweep(one.follower).run(store, signal),
    other.sweep(two.follower).run((await other.stores.find(rig.at('b'))) ?? store, signal),
  ])
  expect(reports.reduce((sum, { freed }) => sum + freed, 0)).toBeLessThanOrEqual(2_000)
  await expect(rig.sweep(one.follower).run(store, signal)).resolves.toMatchObject({ blockedBy: undefined })
  await expect(rig.sweep(one.follower).run(store, signal)).resolves.toMatchObject({ looked: 0 })
})

test('a sweep that was cut off leaves a store that the next one finishes, and copies go on', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished, { abandonedMs: 500 })
  const { follower } = rig.follow()
  rig.replicator().start()
  const kept = await rig.put(rig.leaves(3, 1))
  const gone = await rig.put(rig.leaves(100, 2))
  await copied(rig, kept)
  await copied(rig, gone)
  await removed(rig, gone)
  const store = await rig.stores.make('b')
  // As a node that dies behind the fence: it stays up, and half is deleted.
  const { space, site } = rig.config.layout
  await rig.bucket.write(`${space}.fence.${site}.b`, Buffer.from('{}'), 0)
  for (const bytes of rig.leaves(50, 2)) await store.raw.delete(leaf(bytes), { signal })
  await expect(rig.sweep(follower).run(store, signal)).resolves.toMatchObject({ freed: 51 })
  await copied(rig, gone)
  await verify(rig, gone, store)
  await verify(rig, kept, store)
})

/**
 * A store is swept that another node begins to put into, on one side or the other of the sweep's look at the log: the put finds
 * its blocks there, and tells of its root once the sweep is through.
 * @param begins before = all blocks are put before the sweep looks; after = while it goes on behind its look
 */
async function putInto(
  rig: SiteRig,
  begins: 'before' | 'after',
  parts: { readonly sweep?: Partial<SweepParts>; readonly keeper?: Partial<SiteKeeperParts> } = {},
): Promise<{ readonly freed: number; readonly isWhole: boolean }> {
  const { follower } = rig.follow()
  rig.replicator().start()
  const leaves = rig.leaves(20, 1)
  const gone = await rig.put(leaves)
  await copied(rig, gone)
  await removed(rig, gone)
  const node = await SiteRig.open(server.url, rig.onFinished, { DOMAIN: rig.config.layout.domain, STORE: 'b' })
  const putAll = async () => {
    await node.keeper(parts.keeper).register()
    const writer = node.stores.primary.blocks.openWriter({ signal })
    for (const bytes of [...leaves, await rig.stores.primary.blocks.get(gone, { signal })]) {
      await writer.put(verifyBlock(bytes.byteLength === 100 ? leaf(bytes) : gone, bytes))
    }
    await writer.flush()
  }
  let putting: Promise<void> | undefined
  if (begins === 'before') await putAll()
  const sweep = rig.sweep(follower, {
    ...parts.sweep,
    // After it has looked; its own time to begin, and to come to the fence.
    caughtUp: async () => {
      if (begins === 'before') return
      putting ??= putAll()
      await Promise.race([putting, delay(1_000)])
    },
  })
  const { freed } = await sweep.run(await rig.stores.make('b'), signal)
  await putting
  const isWhole = await verify(rig, gone, node.stores.primary).then(
    () => true,
    () => false,
  )
  return { freed, isWhole }
}

test.each([['before'], ['after']] as const)(
  'a node that begins to put into a swept store %s the sweep looks loses no block',
  async (begins) => {
    const rig = await SiteRig.open(server.url, onTestFinished)
    const { freed, isWhole } = await putInto(rig, begins)
    expect({ freed, isWhole }).toEqual({ freed: begins === 'before' ? 0 : 21, isWhole: true })
    // It has taken puts now.
    const { follower } = rig.follow()
    await expect(rig.sweep(follower).run(await rig.stores.make('b'), signal)).resolves.toMatchObject({ freed: 0 })
  },
)

// The controls of the test above.
test.each([
  ['without a look at the log', 'before', { sweep: { tookPuts: async () => false } }],
  ['without waiting for the fence', 'after', { keeper: { fence: { swept: async () => undefined } } }],
] as const)('%s it does', async (_label, begins, parts) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  await expect(putInto(rig, begins, parts)).resolves.toEqual({ freed: 21, isWhole: false })
})

/**
 * Roots that share blocks come into a store and go out of it again while it is swept without a pause.
 * @returns copies that the log calls verified and that are not whole
 */
async function churn(rig: SiteRig, seconds: number, { fenced }: { readonly fenced: boolean }): Promise<string[]> {
  const { follower } = rig.follow()
  rig.replicator(fenced ? {} : { swept: async () => undefined }).start()
  const pool = Array.from({ length: 40 }, (_, seed) => rig.leaves(4, seed, 50))
  const roots: CID[] = []
  for (let i = 0; i < 12; i++) {
    roots.push(await rig.put([0, 7, 13, 21].flatMap((step) => pool[(i * 3 + step) % pool.length] ?? [])))
  }
  const store = await rig.stores.make('b')
  const sweep = rig.sweep(follower, fenced ? {} : { caughtUp: async () => undefined })
  const end = new AbortController()
  let freed = 0
  const sweeping = (async () => {
    while (!end.signal.aborted) freed += (await sweep.run(store, signal)).freed
  })()
  const endMs = performance.now() + seconds * 1000
  const damaged: string[] = []
  await Promise.all(
    roots.map(async (root) => {
      // The control needs one; and a busy machine may take long to the first block that is freed.
      while ((performance.now() < endMs || freed === 0) && (fenced || damaged.length === 0)) {
        await copied(rig, root)
        await verify(rig, root, store).catch((error: unknown) => damaged.push(String(error)))
        await removed(rig, root)
      }
    }),
  )
  end.abort()
  await sweeping
  expect(freed).toBeGreaterThan(0)
  return damaged
}

test('copies that come and go while the store is swept all the time never lose a block', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  expect(await churn(rig, 5, { fenced: true })).toEqual([])
}, 60_000)

// The control of the test above: with the fence open it must find what it is there for.
test('without the fence they do', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  expect((await churn(rig, 40, { fenced: false })).length).toBeGreaterThan(0)
}, 60_000)
