import { EventEmitter, once } from 'node:events'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import type { Draft } from '../../src/events/envelope.ts'
import type { FedEvent, FeedFilter } from '../../src/events/feed.ts'
import { openTestLog, type TestLog } from '../support/event-log.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const named = (...names: string[]): Partial<Draft>[] => names.map((name) => ({ key: name, subject: name }))
const numbered = (count: number, from = 0) => named(...Array.from({ length: count }, (_, i) => `n${from + i}`))
const waiting = { timeout: 15_000, interval: 10 }

interface Follower {
  readonly events: FedEvent[]
  readonly sequences: () => number[]
  readonly stop: () => Promise<void>
}

/** Collects what is fed until it is stopped. */
function follow(
  { feed }: TestLog,
  onFinished: TestContext['onTestFinished'],
  after = 0,
  filter: FeedFilter = {},
  pace: (events: readonly FedEvent[]) => Promise<void> = async () => undefined,
): Follower {
  const controller = new AbortController()
  const events: FedEvent[] = []
  const run = async () => {
    for await (const event of feed.follow(filter, after, { signal: controller.signal, live: true })) {
      events.push(event)
      await pace(events)
    }
  }
  const ended = run().catch((error: unknown) => {
    if (!controller.signal.aborted) throw error
  })
  const stop = async () => {
    controller.abort(new Error('enough'))
    await ended
  }
  onFinished(stop)
  return { events, sequences: () => events.map(({ sequence }) => sequence), stop }
}

const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i)

test('history comes first and then what happens, each once and in order', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  await log.append(numbered(700))
  const follower = follow(log, onTestFinished)
  await vi.waitFor(() => expect(follower.events.length).toBeGreaterThanOrEqual(300), waiting)
  await log.append(numbered(700, 700))
  await vi.waitFor(() => expect(follower.events).toHaveLength(1400), waiting)
  expect(follower.sequences()).toEqual(upTo(1400))
  expect(follower.events.map(({ event }) => event.subject)).toEqual(upTo(1400, 0).map((i) => `n${i}`))
})

test('a follower cut off for 1,000 events gets exactly those, once and in order', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const first = follow(log, onTestFinished)
  await log.append(numbered(10))
  await vi.waitFor(() => expect(first.events).toHaveLength(10), waiting)
  await first.stop()
  await log.append(numbered(1000, 10))
  const again = follow(log, onTestFinished, first.sequences().at(-1))
  await vi.waitFor(() => expect(again.events).toHaveLength(1000), waiting)
  await log.append(numbered(1, 1010))
  await vi.waitFor(() => expect(again.events.length).toBeGreaterThan(1000), waiting)
  expect(again.sequences()).toEqual(upTo(1001, 11))
})

test('followers that join while writers write miss nothing and see nothing twice', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  let writing = true
  const writer = (async () => {
    for (let i = 0; i < 150; i++) await log.append(numbered(20, i * 20))
    writing = false
  })()
  const followers: Follower[] = []
  while (writing && followers.length < 40) {
    followers.push(follow(log, onTestFinished))
    await log.feed.last({ signal: new AbortController().signal })
  }
  await writer
  for (const { events, sequences } of followers) {
    await vi.waitFor(() => expect(events).toHaveLength(3000), waiting)
    expect(sequences()).toEqual(upTo(3000))
  }
})

test('a slow follower falls behind the tail, reads pages again and still gets all', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const gate = new EventEmitter()
  await log.append(numbered(1))
  const slow = follow(log, onTestFinished, 0, {}, async (events) => {
    if (events.length === 2) await once(gate, 'open')
  })
  await vi.waitFor(() => expect(slow.events).toHaveLength(1), waiting)
  await log.append(numbered(5000, 1))
  gate.emit('open')
  await vi.waitFor(() => expect(slow.events).toHaveLength(5001), waiting)
  expect(slow.sequences()).toEqual(upTo(5001))
})

test('filters choose by entity, verb, name, CID and owner, in history and live', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const cid = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
  const write = async () => {
    await log.append(named('docs.a', 'img.b'))
    await log.append([{ verb: 'removed', key: 'docs.a', subject: 'docs.a' }])
    await log.append([{ entity: 'object', verb: 'added', key: cid, subject: cid }], { owner: 'bob' })
    await log.append([{ key: 'docs.c', subject: 'docs.c', data: { cid: { '/': cid } } }])
  }
  await write()
  const cases: [FeedFilter, number[]][] = [
    [{}, [1, 2, 3, 4, 5]],
    [{ entity: 'name' }, [1, 2, 3, 5]],
    [{ entity: 'name', verb: 'removed' }, [3]],
    [{ verb: 'added' }, [4]],
    [{ namePrefix: 'docs.' }, [1, 3, 5]],
    [{ cid }, [4, 5]],
    [{ entity: 'object', cid }, [4]],
    [{ owner: 'bob' }, [4]],
    [{ owner: 'eve' }, []],
  ]
  const followers = cases.map(([filter]) => follow(log, onTestFinished, 0, filter))
  const all = follow(log, onTestFinished)
  await vi.waitFor(() => expect(all.events).toHaveLength(5), waiting)
  await write()
  for (const [i, [, expected]] of cases.entries()) {
    const twice = [...expected, ...expected.map((sequence) => sequence + 5)]
    await vi.waitFor(() => expect(followers[i]?.sequences()).toEqual(twice), waiting)
  }
})

test('a hundred followers make no consumer at the server', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  await log.append(numbered(300))
  const followers = upTo(100).map(() => follow(log, onTestFinished))
  for (const { events } of followers) await vi.waitFor(() => expect(events).toHaveLength(300), waiting)
  expect((await log.nats.jsm.streams.info(log.stream)).state.consumer_count).toBe(0)
  expect(log.feed.followers).toBe(100)
  await Promise.all(followers.map(({ stop }) => stop()))
  expect(log.feed.followers).toBe(0)
})

test('a follower outlives a kill of nats-server and misses nothing', async ({ onTestFinished }) => {
  const own = await startTestNats()
  onTestFinished(() => own.stop())
  const log = await openTestLog(own.url, onTestFinished)
  const follower = follow(log, onTestFinished)
  await log.append(numbered(5))
  await vi.waitFor(() => expect(follower.events).toHaveLength(5), waiting)
  await own.kill('SIGKILL')
  const again = await startTestNats({ port: own.port, dataDir: own.dataDir })
  onTestFinished(() => again.stop())
  await log.append(numbered(5, 5))
  await vi.waitFor(() => expect(follower.events).toHaveLength(10), waiting)
  expect(follower.sequences()).toEqual(upTo(10))
})

test('what the server does not echo is found all the same, without gap and in order', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const { config } = await log.nats.jsm.streams.info(log.stream)
  // An update keeps what it does not name.
  const silent = { ...config, republish: undefined } as unknown as typeof config
  const follower = follow(log, onTestFinished)
  await log.append(numbered(1))
  await vi.waitFor(() => expect(follower.events).toHaveLength(1), waiting)
  const quiet = await log.nats.jsm.streams.update(log.stream, silent)
  expect(quiet.config.republish).toBeUndefined()
  await log.append(numbered(10, 1))
  // The echo of what comes next shows the gap before it.
  await log.nats.jsm.streams.update(log.stream, config)
  await log.append(numbered(1, 11))
  await vi.waitFor(() => expect(follower.events.length).toBeGreaterThanOrEqual(12), waiting)
  expect(follower.sequences()).toEqual(upTo(12))
  await log.nats.jsm.streams.update(log.stream, silent)
  await log.append(numbered(10, 12))
  // Nothing else tells of these: they are looked for.
  await vi.waitFor(() => expect(follower.sequences()).toEqual(upTo(22)), waiting)
})

test('what is not live ends with what the log held', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  await log.append(numbered(600))
  const { signal } = new AbortController()
  const seen: number[] = []
  for await (const { sequence } of log.feed.follow({}, 100, { signal, live: false })) {
    if (seen.length === 0) await log.append(numbered(1, 600))
    seen.push(sequence)
  }
  expect(seen).toEqual(upTo(500, 101))
  expect(log.feed.followers).toBe(0)
})

test('a message in the log that is no event stops nobody', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const follower = follow(log, onTestFinished)
  for (const poison of ['', 'no json', '[]', '{"specversion":"1.0"}', 'null']) {
    await log.nats.js.publish(`${log.domain}.evt.local.main.name.set.x`, poison)
  }
  await log.append(numbered(1))
  await vi.waitFor(() => expect(follower.sequences()).toEqual([6]), waiting)
  const late = follow(log, onTestFinished)
  await vi.waitFor(() => expect(late.sequences()).toEqual([6]), waiting)
})

test('an event that the log refuses is not fed', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const follower = follow(log, onTestFinished)
  await log.append(numbered(1))
  const expect1 = { filter: `${log.domain}.evt.*.main.name.*.n0`, lastSequence: 0 }
  await expect(log.log.append([{ event: log.encode({ key: 'n0', subject: 'n0' }), expect: expect1 }])).rejects.toThrow()
  await log.append(numbered(1, 1))
  await vi.waitFor(() => expect(follower.sequences()).toEqual([1, 2]), waiting)
})

test('a time leads to the sequence before the first event from then on', async ({ onTestFinished }) => {
  const log = await openTestLog(server.url, onTestFinished)
  const { signal } = new AbortController()
  const long = new Date(Date.now() - 60_000)
  await log.append(numbered(3))
  const message = await log.nats.jsm.streams.getMessage(log.stream, { seq: 2 })
  const stored = new Date(message?.time ?? 0)
  expect(await log.feed.sequenceBefore(long, { signal })).toBe(0)
  expect(await log.feed.sequenceBefore(new Date(Date.now() + 60_000), { signal })).toBe(3)
  expect(await log.feed.sequenceBefore(stored, { signal })).toBeLessThanOrEqual(1)
})
