import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { link } from '../../src/events/canonical.ts'
import { rootKey } from '../../src/names/name-fold.ts'
import { verifyDag } from '../../src/placement/copy-dag.ts'
import { copyEvents, lossEvents } from '../../src/placement/copy-events.ts'
import { limits, signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { SiteRig } from '../support/site-rig.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

const waiting = { timeout: 20_000, interval: 20 }
const cause = { correlation: 'c', causation: 'c' }

const isCopied = (rig: SiteRig, cid: CID) =>
  vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBe('verified'), waiting)

async function verified(rig: SiteRig, cid: CID): Promise<number> {
  const store = await rig.stores.make('b')
  const { blocks } = await verifyDag(cid, store.blocks, {
    ...{ signal, limits, rate: rig.unlimited, readAheadBytes: 1 << 20 },
  })
  return blocks
}

test('a copy is requested, made and verified, in one undertaking; the same task again finds it done', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const replicator = rig.replicator()
  replicator.start()
  const cid = await rig.put(rig.leaves(20, 1))
  await rig.queued(rig.task(cid, 'b'))
  await isCopied(rig, cid)
  expect(await rig.verbs(cid)).toEqual(['requested', 'made', 'verified'])
  const events = await rig.copyEvents(cid)
  expect(new Set(events.map(({ correlationid }) => correlationid))).toEqual(new Set(['c']))
  expect(events[1]?.causationid).toBe(events[0]?.id)
  expect(await verified(rig, cid)).toBe(21)
  await vi.waitFor(async () => expect(await rig.queued(rig.task(cid, 'b'))).toBe(true), waiting)
  await vi.waitFor(() => expect(replicator.busy).toBe(0), waiting)
  expect(await rig.verbs(cid)).toEqual(['requested', 'made', 'verified'])
  expect(rig.trouble).toEqual([])
})

test('a copy that lay in a store which was made anew is made again', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const replicator = rig.replicator()
  replicator.start()
  const cid = await rig.put(rig.leaves(5, 7))
  await rig.queued(rig.task(cid, 'b'))
  await isCopied(rig, cid)
  await rig.stores.remove('b')
  const notBefore = new Date(Date.now() + 1).toISOString()
  await vi.waitFor(async () => expect(await rig.queued({ ...rig.task(cid, 'b'), notBefore })).toBe(true), waiting)
  await vi.waitFor(
    async () => expect((await rig.verbs(cid)).slice(3)).toEqual(['requested', 'made', 'verified']),
    waiting,
  )
  expect(await verified(rig, cid)).toBe(6)
})

test('a node that ends while it copies leaves the task to another one, which goes on where it stopped', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const other = await SiteRig.open(server.url, onTestFinished, { DOMAIN: rig.config.layout.domain })
  rig.follow()
  const cid = await rig.put(rig.leaves(64, 3, 100_000))
  const slow = rig.replicator({ bytesPerSecond: 1_500_000 })
  slow.start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(() => expect(slow.counts.bytes).toBeGreaterThan(2_000_000), waiting)
  await slow.close()
  expect(await rig.stateOf(cid, 'b')).toBe('requested')
  other.replicator().start()
  await isCopied(rig, cid)
  // Begun once, as the log has it; and what was there was not written again.
  expect(await rig.verbs(cid)).toEqual(['requested', 'made', 'verified'])
  const made = (await rig.copyEvents(cid)).find(({ type }) => type.includes('.made'))
  expect(made?.data.blocks).toBe(65)
  expect(Number(made?.data.newBlocks)).toBeLessThan(60)
}, 40_000)

test('what cannot be copied is told once, tried again, and done when it can be', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const leaves = rig.leaves(5, 4)
  const cid = await rig.put(leaves)
  const [first] = leaves
  if (first === undefined) throw new Error('no leaf')
  const missing = hashBlock(first, 0x55)
  await rig.stores.primary.raw.delete(missing.cid, { signal })
  await vi.waitFor(async () => expect(await rig.factsOf(cid)).toBeDefined(), waiting)
  const replicator = rig.replicator()
  replicator.start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(() => expect(replicator.counts.failed).toBe(2), waiting)
  expect(await rig.verbs(cid)).toEqual(['requested', 'failed'])
  // It holds its place meanwhile.
  expect(await rig.queued(rig.task(cid, 'b'))).toBe(false)
  await rig.stores.primary.blocks.put(missing, { signal })
  await isCopied(rig, cid)
  expect(await verified(rig, cid)).toBe(6)
}, 40_000)

test('a task that nobody can read, or that lies, is taken out of the queue and told', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  rig.replicator().start()
  await rig.queue.add('b.poison', Buffer.from('{"action":"add"'))
  const cid = await rig.put(rig.leaves(2, 5))
  const lie = { ...rig.task(cid, 'b'), rootKey: 'another' }
  await rig.queue.add('b.lie', Buffer.from(JSON.stringify(lie)))
  await vi.waitFor(() => expect(rig.trouble).toHaveLength(2), waiting)
  await rig.queued(rig.task(cid, 'b'))
  await isCopied(rig, cid)
  await vi.waitFor(async () => expect(await rig.queue.add('b.poison', Buffer.from('x'))).toBe(true), waiting)
})

test('what was deleted, or has nowhere to go, is dropped, and what was begun of it has ended', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const cid = await rig.put(rig.leaves(2, 6))
  await rig.recorder.record(copyEvents.requested(cid.toString(), 'add', rig.at('b'), { rule: 'r', why: 'w' }), cause)
  await vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBe('requested'), waiting)
  rig.replicator({ takesCopies: () => false }).start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBeUndefined(), waiting)
  expect(await rig.verbs(cid)).toEqual(['requested', 'removed'])
})

test('what was deleted is copied all the same where a plan wants it, for a name holds it', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  let wanted = false
  rig.replicator({ isWanted: async () => wanted }).start()
  const cid = await rig.put(rig.leaves(2, 9))
  const text = cid.toString()
  const deleted = { entity: 'object', verb: 'deleted', key: text, subject: text, data: { cid: link(text) } } as const
  await rig.recorder.record(deleted, cause)
  await vi.waitFor(async () => expect((await rig.facts.get(rootKey(cid), signal))?.deleted).toBe(true), waiting)
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(async () => expect(await rig.queued(rig.task(cid, 'b'))).toBe(true), waiting)
  expect(await rig.stateOf(cid, 'b')).toBeUndefined()
  wanted = true
  await vi.waitFor(async () => {
    await rig.queued(rig.task(cid, 'b'))
    expect(await rig.stateOf(cid, 'b')).toBe('verified')
  }, waiting)
})

test('a removal is carried out once, and only of what was asked to go', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const replicator = rig.replicator()
  replicator.start()
  const cid = await rig.put(rig.leaves(2, 7))
  await rig.queued(rig.task(cid, 'b'))
  await isCopied(rig, cid)
  const removal = rig.task(cid, 'b', { action: 'remove', from: [] })
  await vi.waitFor(async () => expect(await rig.queued(removal)).toBe(true), waiting)
  await vi.waitFor(async () => expect(await rig.queued(removal)).toBe(true), waiting)
  expect(await rig.stateOf(cid, 'b')).toBe('verified')
  await rig.recorder.record(copyEvents.requested(cid.toString(), 'remove', rig.at('b'), { rule: 'r', why: 'w' }), cause)
  await vi.waitFor(async () => {
    await rig.queued(removal)
    expect(await rig.stateOf(cid, 'b')).toBeUndefined()
  }, waiting)
  expect((await rig.verbs(cid)).filter((verb) => verb === 'removed')).toEqual(['removed'])
})

test('copies wait while their store is swept', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  rig.replicator().start()
  const cid = await rig.put(rig.leaves(2, 8))
  const behind = rig.fence.behind('b', signal, async () => {
    await rig.queued(rig.task(cid, 'b'))
    await vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBe('requested'), waiting)
    await delay(200)
    return rig.verbs(cid)
  })
  expect(await behind).toEqual(['requested'])
  await isCopied(rig, cid)
})

test('bytes that are read are held to the rate', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const cid = await rig.put(rig.leaves(40, 9, 100_000))
  rig.replicator({ bytesPerSecond: 4_000_000 }).start()
  const beforeMs = performance.now()
  await rig.queued(rig.task(cid, 'b'))
  await isCopied(rig, cid)
  // 8 MB in all, of which only the first moment is free.
  expect(performance.now() - beforeMs).toBeGreaterThan(1_500)
}, 30_000)

test('what nobody wants any more has ended in the log, also where the facts do not know yet that it was begun', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { stop } = rig.follow()
  const cid = await rig.put(rig.leaves(2, 10))
  await vi.waitFor(async () => expect(await rig.factsOf(cid)).toBeDefined(), waiting)
  await stop()
  await rig.recorder.record(copyEvents.requested(cid.toString(), 'add', rig.at('b'), { rule: 'r', why: 'w' }), cause)
  rig.replicator({ takesCopies: () => false }).start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(async () => expect(await rig.verbs(cid)).toEqual(['requested', 'removed']), waiting)
  expect(await rig.stateOf(cid, 'b')).toBeUndefined()
})

test('a copy goes on by the log where nobody folds it', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const { stop } = rig.follow()
  const cid = await rig.put(rig.leaves(2, 11))
  await vi.waitFor(async () => expect(await rig.factsOf(cid)).toBeDefined(), waiting)
  await stop()
  await rig.recorder.record(copyEvents.requested(cid.toString(), 'add', rig.at('c'), { rule: 'r', why: 'w' }), cause)
  rig.replicator().start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(async () => expect((await rig.verbs(cid)).at(-1)).toBe('verified'), waiting)
  expect(await verified(rig, cid)).toBe(3)
})

test('content that counted as lost is told to be back when a copy of it was made', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const cid = await rig.put(rig.leaves(2, 12))
  await rig.recorder.record(lossEvents.lost(cid.toString(), { code: 'block_lost', message: 'm' }), cause)
  await vi.waitFor(async () => expect((await rig.factsOf(cid))?.lost).toBe(true), waiting)
  rig.replicator().start()
  await rig.queued(rig.task(cid, 'b'))
  await vi.waitFor(async () => expect((await rig.factsOf(cid))?.lost).toBe(false), waiting)
})
