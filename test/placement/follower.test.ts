import { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { copyEvents } from '../../src/placement/copy-events.ts'
import { positionKey } from '../../src/placement/fold-position.ts'
import { Follower, type FollowerParts } from '../../src/placement/follower.ts'
import { signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { rootNamed } from '../support/placement.ts'
import { SiteRig } from '../support/site-rig.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

const waiting = { timeout: 20_000, interval: 20 }
const cause = { correlation: 'c', causation: 'c' }

const tell = (rig: SiteRig, cid: CID, verb: 'requested' | 'verified' | 'removed', store = 'b') => {
  const [text, at] = [cid.toString(), rig.at(store)]
  const events = {
    requested: () => copyEvents.requested(text, 'add', at, { rule: 'r', why: 'w' }),
    verified: () => copyEvents.verified(text, at, { blocks: 1, bytes: 1 }),
    removed: () => copyEvents.removed(text, at),
  }
  return rig.recorder.record(events[verb](), cause)
}

const position = async (rig: SiteRig) =>
  Number((await rig.bucket.get(positionKey(rig.config.layout.space)))?.value.toString('utf8') ?? 0)

test('the log is folded in its order, by two nodes at once as by one', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const other = await SiteRig.open(server.url, onTestFinished, { DOMAIN: rig.config.layout.domain })
  const roots: CID[] = []
  for (let i = 0; i < 20; i++) roots.push(await rig.put(rig.leaves(1, i)))
  const [one, two] = [rig.follow(), other.follow()]
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      roots.map(async (cid) => {
        for (const verb of ['requested', 'verified', 'removed'] as const) await tell(rig, cid, verb)
        await tell(rig, cid, 'requested', 'c')
      }),
    )
  }
  const { state } = await rig.nats.jsm.streams.info(`${rig.config.layout.domain}_events`)
  await one.follower.reached(state.last_seq, signal)
  await two.follower.reached(state.last_seq, signal)
  for (const cid of roots) {
    const facts = await rig.factsOf(cid)
    expect(facts?.copies.map(({ store, state: now }) => `${store} ${now}`)).toEqual(['a verified', 'c requested'])
    const last = (await rig.copyEvents(cid)).at(-1)
    expect(facts?.lastEventId).toBe(last?.id)
  }
  expect(rig.trouble).toEqual([])
})

test('after a restart it goes on where it stopped, and reads nothing twice', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const first = rig.follow()
  const cid = await rig.put(rig.leaves(1, 1))
  await vi.waitFor(async () => expect(await position(rig)).toBeGreaterThan(0), waiting)
  await first.stop()
  await tell(rig, cid, 'requested')
  rig.heard.length = 0
  const begun: number[] = []
  const reader: FollowerParts['reader'] = {
    from: (...args) => {
      begun.push(args[1])
      return rig.reader.from(...args)
    },
  }
  rig.follow(rig.follower({ reader }))
  await vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBe('requested'), waiting)
  expect(begun[0]).toBe(2)
  await vi.waitFor(() => expect(rig.heard).toHaveLength(1), waiting)
})

test('with its position lost, or beyond understanding, all is folded again and nothing changes', async ({
  onTestFinished,
}) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const first = rig.follow()
  const cid = await rig.put(rig.leaves(1, 1))
  await tell(rig, cid, 'requested')
  await tell(rig, cid, 'verified')
  await vi.waitFor(async () => expect(await rig.stateOf(cid, 'b')).toBe('verified'), waiting)
  await vi.waitFor(async () => expect(await position(rig)).toBe(3), waiting)
  await first.stop()
  const before = await rig.factsOf(cid)
  for (const value of [undefined, Buffer.from('nonsense')]) {
    const present = await rig.bucket.get(positionKey(rig.config.layout.space))
    await rig.bucket.write(positionKey(rig.config.layout.space), value, present?.seq ?? 0)
    const again = rig.follow()
    await again.follower.reached(3, signal)
    expect(await rig.factsOf(cid)).toEqual(before)
    await again.stop()
  }
})

test('facts that nobody can read are made again from the log, and hold up no others', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const [one, two] = [await rig.put(rig.leaves(1, 1)), await rig.put(rig.leaves(1, 2))]
  const first = rig.follow()
  await vi.waitFor(async () => expect(await rig.stateOf(two, 'a')).toBe('verified'), waiting)
  await first.stop()
  const { space } = rig.config.layout
  const [key = ''] = rig.heard
  const record = await rig.bucket.get(`${space}.root.${key}`)
  await rig.bucket.write(`${space}.root.${key}`, Buffer.from('{"root":'), record?.seq ?? 0)
  const pages: string[] = []
  for await (const page of rig.facts.all(signal)) pages.push(...page.map(([, { root }]) => root))
  expect(pages).toEqual([two.toString()])
  const other = await SiteRig.open(server.url, onTestFinished, { DOMAIN: rig.config.layout.domain })
  await rig.bucket.purge(positionKey(space))
  other.follow()
  await vi.waitFor(async () => expect(await rig.stateOf(one, 'a')).toBe('verified'), waiting)
})

test('a copy that is told of before its put is known once the put comes in', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  rig.follow()
  const text = rootNamed('told of before')
  await rig.recorder.record(copyEvents.verified(text, rig.at('b'), { blocks: 1, bytes: 7 }), cause)
  const cid = CID.parse(text)
  await vi.waitFor(async () => expect((await rig.factsOf(cid))?.originSite).toBe(''), waiting)
  await rig.tell(cid, 7)
  await vi.waitFor(async () => expect((await rig.factsOf(cid))?.originSite).toBe('here'), waiting)
  expect((await rig.factsOf(cid))?.copies.map(({ store }) => store)).toEqual(['a', 'b'])
})

test('many roots at once cost a few requests, not some for each', async ({ onTestFinished }) => {
  const rig = await SiteRig.open(server.url, onTestFinished)
  const roots = Array.from({ length: 500 }, (_, i) => rootNamed(`root ${i}`))
  await Promise.all(roots.map((text) => rig.tell(CID.parse(text), 1)))
  let requests = 0
  const { one } = rig.nats.log.requests
  rig.nats.log.requests.one = (...args: Parameters<typeof one>) => {
    requests++
    return one.apply(rig.nats.log.requests, args)
  }
  const { follower } = rig.follow()
  await follower.reached(500, signal)
  expect(rig.heard).toHaveLength(500)
  expect(requests).toBeLessThan(50)
})

test('the end of a log was met also where more comes all the time', async ({ onTestFinished }) => {
  const event = Buffer.from('{}')
  // Each look finds one message more than the one before.
  const reader: FollowerParts['reader'] = {
    async *from(_filter, sequence) {
      yield { subject: 'd.evt.here.s.other.set.k', sequence, payload: event }
    },
  }
  const follower = new Follower({
    ...{ reader, domain: 'd', space: 's' },
    facts: { apply: async () => new Map() },
    bucket: { get: async () => undefined, write: async () => 1 },
    onRoot: () => undefined,
    onMessages: async () => undefined,
  })
  const end = new AbortController()
  const running = follower.run(end.signal).catch(() => undefined)
  onTestFinished(async () => {
    end.abort()
    await running
  })
  await vi.waitFor(() => expect(follower.isCaughtUp).toBe(true), waiting)
})
