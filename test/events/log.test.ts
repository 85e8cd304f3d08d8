import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { type Context, decodeEvent, type Encoded, encodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

interface OpenLog {
  readonly nats: Nats
  readonly log: EventLog
  readonly event: (key: string, id?: string) => Encoded
  readonly filter: (key: string) => string
}

async function openLog(onFinished: TestContext['onTestFinished']): Promise<OpenLog> {
  const domain = `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(server.url, onFinished, { DOMAIN: domain })
  const stream = await openEventStream(nats, config.layout)
  const source = { domain, site: 'local', space: 'main', node: 'test' }
  return {
    nats,
    log: new EventLog(nats, stream, 5_000),
    event: (key, id = uuidv7()) => {
      const draft = { entity: 'name', verb: 'set', key, subject: key, data: { name: key } } as const
      return encodeEvent(draft, contextOf(id), source, id)
    },
    filter: (key) => `${domain}.evt.*.main.name.*.${key}`,
  }
}

const contextOf = (id: string): Context => ({
  id,
  correlation: id,
  causation: undefined,
  owner: 'ann',
  principal: 'admin',
  via: 'http',
  traceparent: undefined,
})

test('events get the sequences of the log, in order, and come back byte for byte', async ({ onTestFinished }) => {
  const { nats, log, event } = await openLog(onTestFinished)
  const events = Array.from({ length: 5 }, (_, i) => event(`k${i}`))
  expect(await log.append(events.slice(0, 3).map((event) => ({ event })))).toEqual([1, 2, 3])
  expect(await log.append(events.slice(3).map((event) => ({ event })))).toEqual([4, 5])
  for (const [i, { payload, event: sent }] of events.entries()) {
    const stored = await nats.jsm.streams.getMessage(log.stream, { seq: i + 1 })
    expect(Buffer.from(stored?.data ?? [])).toEqual(payload)
    expect(decodeEvent(stored?.data ?? new Uint8Array())).toEqual(sent)
  }
})

test('commits of many at the same time are each whole and in one piece', async ({ onTestFinished }) => {
  const { log, event } = await openLog(onTestFinished)
  const commits = Array.from({ length: 200 }, (_, i) => [event(`a${i}`), event(`b${i}`), event(`c${i}`)])
  const sequences = await Promise.all(commits.map((events) => log.append(events.map((event) => ({ event })))))
  for (const [first = 0, ...rest] of sequences) expect(rest).toEqual([first + 1, first + 2])
  expect(new Set(sequences.flat()).size).toBe(600)
})

test('a lost compare-and-set hurts only its own commit, though all share a batch', async ({ onTestFinished }) => {
  const { log, event, filter } = await openLog(onTestFinished)
  const [seq = 0] = await log.append([{ event: event('taken') }])
  const outcomes = await Promise.allSettled([
    log.append([{ event: event('one'), expect: { filter: filter('one'), lastSequence: 0 } }]),
    log.append([{ event: event('taken'), expect: { filter: filter('taken'), lastSequence: 0 } }]),
    log.append([{ event: event('two') }]),
    log.append([{ event: event('taken'), expect: { filter: filter('taken'), lastSequence: seq } }]),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'REVISION_CONFLICT' } })
})

test('of many that expect the same revision exactly one wins', async ({ onTestFinished }) => {
  const { log, event, filter } = await openLog(onTestFinished)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 64 }, () =>
      log.append([{ event: event('name'), expect: { filter: filter('name'), lastSequence: 0 } }]),
    ),
  )
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

test('a commit over two names is all or nothing', async ({ onTestFinished }) => {
  const { log, event, filter } = await openLog(onTestFinished)
  await log.append([{ event: event('old') }])
  const rename = [
    { event: event('new'), expect: { filter: filter('new'), lastSequence: 0 } },
    { event: event('old'), expect: { filter: filter('old'), lastSequence: 99 } },
  ]
  await expect(log.append(rename)).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
  expect(await log.append([{ event: event('next') }])).toEqual([2])
})

test('the same id twice is taken once', async ({ onTestFinished }) => {
  const { log, event } = await openLog(onTestFinished)
  const id = uuidv7()
  await log.append([{ event: event('x', id) }])
  await expect(log.append([{ event: event('x', id) }, { event: event('y') }])).rejects.toMatchObject({
    code: 'COMMAND_REPEATED',
  })
  expect(await log.sequenceOf(id, event('x').natsSubject)).toBe(1)
  expect(await log.sequenceOf(uuidv7(), event('x').natsSubject)).toBeUndefined()
})

test('the server refuses to delete and to purge events', async ({ onTestFinished }) => {
  const { nats, log, event } = await openLog(onTestFinished)
  await log.append([{ event: event('x') }])
  await expect(nats.jsm.streams.deleteMessage(log.stream, 1)).rejects.toThrow(/not permitted/)
  await expect(nats.jsm.streams.purge(log.stream)).rejects.toThrow(/not permitted/)
})

test('a stream that may be purged is refused as a log', async ({ onTestFinished }) => {
  const domain = `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(server.url, onTestFinished, { DOMAIN: domain })
  await nats.jsm.streams.add({ name: `${domain}_events`, subjects: [`${domain}.evt.local.>`] })
  await expect(openEventStream(nats, config.layout)).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
})
