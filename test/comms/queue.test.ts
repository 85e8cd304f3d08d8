import { randomBytes } from 'node:crypto'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import type { Verbs } from '../../src/content/verbs.ts'
import { AppError } from '../../src/errors.ts'
import {
  clientConnection,
  headersFrom,
  startTestComms,
  type TestComms,
  type TestCommsOptions,
  token,
} from '../support/comms.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { waiting } from '../support/serving.ts'
import { freshDomain } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const open = ({ onTestFinished }: TestContext, options: TestCommsOptions = {}) =>
  startTestComms(server.url, onTestFinished, options)

const store = (
  { connection, domain }: TestComms,
  verb: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
) => jetstream(connection).publish(`${domain}.queue.main.${verb}`, body, { headers: headersFrom(headers) })

async function left({ connection, domain }: TestComms): Promise<number> {
  const jsm = await jetstreamManager(connection)
  return (await jsm.streams.info(`${domain}_queue`)).state.messages
}

async function letters({ connection, domain }: TestComms) {
  const jsm = await jetstreamManager(connection)
  const { state } = await jsm.streams.info(`${domain}_dead`)
  const found = []
  for (let seq = 1; seq <= state.last_seq; seq++) {
    const message = await jsm.streams.getMessage(`${domain}_dead`, { seq })
    if (message === null) throw new Error('a dead letter is missing')
    const headers = Object.fromEntries([...message.header].map(([name, [value]]) => [name.toLowerCase(), value]))
    found.push({ subject: message.subject, text: message.string(), bytes: message.data.byteLength, headers })
  }
  return found
}

const stories = async (comms: TestComms) =>
  (await comms.events()).map(({ type, data }) => `${type.split('.').slice(1, 3).join('.')} ${data.name ?? ''}`.trim())

test('a stored command is carried out once, and its events name the message as their cause', async (context) => {
  const comms = await open(context)
  await store(comms, 'put', 'hello', { Name: 'q', 'Nats-Msg-Id': 'order-7', 'Stowage-Owner': 'ann' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect(Buffer.from((await comms.client.request('get', 'q')).data).toString()).toBe('hello')
  expect(await stories(comms)).toEqual(['object.added', 'name.set q'])
  for (const event of await comms.events()) {
    expect(event).toMatchObject({ causationid: 'order-7', correlationid: 'order-7', owner: 'ann', authid: 'anonymous' })
  }
})

test('the same id twice, beyond the memory of the server too, is one effect', async (context) => {
  const comms = await open(context)
  await store(comms, 'put', 'one', { Name: 'q', 'Stowage-Command-Id': 'twice' })
  await store(comms, 'put', 'one', { Name: 'q', 'Stowage-Command-Id': 'twice' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect(await stories(comms)).toEqual(['object.added', 'name.set q'])
})

test('an id that somebody else has used swallows no stored command, and who uses it for something else is told', async (context) => {
  const comms = await open(context)
  const id = { 'Nats-Msg-Id': 'order-7' }
  await store(comms, 'put', 'strange', { ...id, Name: 'strange' })
  // Both come within the memory for message ids that a stream usually has.
  expect(await store(comms, 'put', 'wanted', { ...id, Name: 'q', 'Stowage-Token': token })).toMatchObject({
    duplicate: false,
  })
  await store(comms, 'put', 'other', { ...id, Name: 'other' })
  await store(comms, 'put', 'wanted', { ...id, Name: 'q', 'Stowage-Token': token })
  await expect.poll(() => left(comms), waiting).toBe(0)
  const done = (await stories(comms)).filter((one) => one.startsWith('name.set'))
  expect(done.toSorted()).toEqual(['name.set q', 'name.set strange'])
  const [letter, ...more] = await letters(comms)
  expect(more).toEqual([])
  expect(letter).toMatchObject({ text: 'other', headers: { 'stowage-dead-code': '409' } })
  expect(letter?.headers['stowage-dead-reason']).toMatch(/this id belongs to another command/)
})

test('a queue of an older data folder forgets to remember message ids, and keeps what is in it', async (context) => {
  const domain = freshDomain()
  const connection = await clientConnection(server.url, context.onTestFinished)
  const jsm = await jetstreamManager(connection)
  const name = `${domain}_queue`
  const bounds = { retention: 'workqueue', discard: 'new', max_bytes: 1 << 20 } as const
  const made = await jsm.streams.add({ name, subjects: [`${domain}.queue.>`], ...bounds })
  expect(made.config.duplicate_window).toBeGreaterThan(0)
  await jetstream(connection).publish(`${domain}.queue.main.put`, 'kept', { headers: headersFrom({ Name: 'kept' }) })
  const comms = await open(context, { domain })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect(await stories(comms)).toEqual(['object.added', 'name.set kept'])
  const { config } = await jsm.streams.info(name)
  expect(config.duplicate_window ?? 0).toBe(0)
})

test('large content is stored first and named by its CID', async (context) => {
  const comms = await open(context)
  const { cid } = await comms.client.put(
    (async function* () {
      yield randomBytes(9_000_000)
    })(),
  )
  await store(comms, 'put', '', { Name: 'large', Cid: String(cid) })
  await store(comms, 'name', JSON.stringify({ name: 'large-too', cid }))
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect((await comms.client.request('names', String(cid))).data.byteLength).toBeGreaterThan(0)
  const { names } = JSON.parse(Buffer.from((await comms.client.request('names', 'large')).data).toString())
  expect(names.map(({ name, size }: { name: string; size: number }) => [name, size])).toEqual([
    ['large', 9_000_000],
    ['large-too', 9_000_000],
  ])
})

test('what cannot succeed becomes a dead letter at once, with its headers, and those behind it are carried out', async (context) => {
  const comms = await open(context, { flags: { QUEUE_WORKERS: '1' } })
  await store(comms, 'name', '{"name":', { 'Nats-Msg-Id': 'bad-1', 'X-Mine': 'kept', 'Stowage-Token': 'secret' })
  await store(comms, 'nonsense', 'x')
  await store(comms, 'put', 'x', { Name: '../up' })
  await store(comms, 'put', 'after', { Name: 'after' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  const [first, second, third, ...more] = await letters(comms)
  expect(more).toEqual([])
  expect(first).toMatchObject({
    subject: `${comms.domain}.dead.main.name`,
    text: '{"name":',
    headers: {
      'x-mine': 'kept',
      'stowage-dead-header-nats-msg-id': 'bad-1',
      'stowage-dead-reason': 'the body is not JSON',
      'stowage-dead-code': '400',
      'stowage-dead-subject': `${comms.domain}.queue.main.name`,
      'stowage-dead-deliveries': '1',
    },
  })
  expect(JSON.stringify(first)).not.toContain('secret')
  expect(second).toMatchObject({ subject: `${comms.domain}.dead.main.unknown`, text: 'x' })
  expect(third).toMatchObject({ subject: `${comms.domain}.dead.main.put`, headers: { 'stowage-dead-code': '400' } })
  expect((await comms.client.request('get', 'after')).data.byteLength).toBe(5)
  const dead = (await comms.events()).filter(({ type }) => type.endsWith('.message.dead.v1'))
  expect(dead.map(({ causationid, data }) => [causationid, data.command, data.code, data.deadSequence])).toEqual([
    ['bad-1', 'name', 400, 1],
    [expect.any(String), 'unknown', 400, 2],
    [expect.any(String), 'put', 400, 3],
  ])
})

test('a dead letter belongs to whom its message does, and to the same undertaking', async (context) => {
  const comms = await open(context, { flags: { QUEUE_WORKERS: '1' } })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const told = { 'Stowage-Correlation-Id': 'order-1', 'Stowage-Owner': 'ann', 'Nats-Msg-Id': 'm-1', traceparent }
  await store(comms, 'name', '{"name":', told)
  await store(comms, 'name', JSON.stringify({ name: '../up', id: 'm-2', correlation: 'order-2', owner: 'bob' }))
  await store(comms, 'nonsense', 'x', { 'Stowage-Correlation-Id': 'order-3', 'Nats-Msg-Id': 'm-3' })
  await store(comms, 'nonsense', 'x', { 'Stowage-Owner': 'carl', 'Nats-Msg-Id': 'm-4', 'Stowage-Token': 'wrong' })
  await store(comms, 'nonsense', 'x', { 'Stowage-Correlation-Id': 'no id!', 'Nats-Msg-Id': 'm-5' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  const dead = (await comms.events()).filter(({ type }) => type.endsWith('.message.dead.v1'))
  const said = dead.map((event) => [event.subject, event.causationid, event.correlationid, event.owner, event.authid])
  expect(said).toEqual([
    ['m-1', 'm-1', 'order-1', 'ann', 'anonymous'],
    ['m-2', 'm-2', 'order-2', 'bob', 'anonymous'],
    ['m-3', 'm-3', 'order-3', 'anonymous', 'anonymous'],
    // Its sender is not who it says, so nothing it says of itself is believed.
    ['m-4', 'm-4', 'm-4', 'stowage', 'stowage'],
    ['m-5', 'm-5', 'm-5', 'stowage', 'stowage'],
  ])
  expect(dead[0]).toMatchObject({ traceparent, authtype: 'unauthenticated' })
})

test('what fails for a while is tried again, and given up after as many times as allowed', async (context) => {
  let failures = 0
  const failing = (verbs: Verbs): Verbs => ({
    ...verbs,
    changeNames: async (act, changes, options) => {
      const [change] = changes
      if (change?.name !== 'never' && (change?.name !== 'third' || failures >= 2)) {
        return verbs.changeNames(act, changes, options)
      }
      failures++
      throw new AppError('STORE_UNAVAILABLE', 'not now')
    },
  })
  const comms = await open(context, { flags: { QUEUE_DELIVERIES_MAX: '3' }, verbs: failing })
  const cid = (await comms.client.request('put', 'x')).header('Stowage-Cid') ?? ''
  await store(comms, 'name', cid, { Name: 'third' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect(await letters(comms)).toEqual([])
  expect((await comms.client.request('get', 'third')).data.byteLength).toBe(1)
  await store(comms, 'name', cid, { Name: 'never' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect(await letters(comms)).toMatchObject([
    { headers: { 'stowage-dead-reason': 'not now', 'stowage-dead-code': '503', 'stowage-dead-deliveries': '3' } },
  ])
})

test('headers that would mean something to the server are never passed on', async (context) => {
  const comms = await open(context)
  await store(comms, 'nonsense', 'kept')
  await expect.poll(async () => (await letters(comms)).length, waiting).toBe(1)
  // The server itself refuses a roll-up of the queue.
  await expect(store(comms, 'nonsense', 'x', { 'Nats-Rollup': 'all' })).rejects.toThrow(/rollup/i)
  await store(comms, 'nonsense', 'x', { 'Nats-Expected-Stream': `${comms.domain}_queue` })
  await expect.poll(async () => (await letters(comms)).length, waiting).toBe(2)
  const [, second] = await letters(comms)
  expect(second?.headers).toMatchObject({ 'stowage-dead-header-nats-expected-stream': `${comms.domain}_queue` })
  expect(second?.headers['nats-expected-stream']).toBeUndefined()
})

test('a dead letter that does not fit beside its reason is cut, and says so', async (context) => {
  const comms = await open(context)
  const bytes = 8 * 1024 * 1024 - 200
  await store(comms, 'nonsense', randomBytes(bytes))
  await expect.poll(() => left(comms), waiting).toBe(0)
  const [letter] = await letters(comms)
  expect(letter?.headers['stowage-dead-cut-from']).toBe(String(bytes))
  expect(letter?.bytes).toBeGreaterThan(bytes - 32 * 1024)
})

test('what a node took and did not finish is carried out by another, once', async (context) => {
  const stuck = (verbs: Verbs): Verbs => ({ ...verbs, put: () => new Promise(() => undefined) })
  const first = await open(context, { flags: { QUEUE_ACK_SECONDS: '1' }, verbs: stuck })
  await Promise.all(Array.from({ length: 6 }, (_, i) => store(first, 'put', `text ${i}`, { Name: `n${i}` })))
  await expect.poll(() => first.acts.length, waiting).toBe(4)
  // As a process that is killed: its connection goes, and nothing else is said.
  await first.kill()
  const second = await open(context, { flags: { QUEUE_ACK_SECONDS: '1' }, domain: first.domain })
  await expect.poll(() => left(second), waiting).toBe(0)
  for (let i = 0; i < 6; i++) {
    expect(Buffer.from((await second.client.request('get', `n${i}`)).data).toString()).toBe(`text ${i}`)
  }
  expect((await stories(second)).filter((story) => story.startsWith('name.set'))).toHaveLength(6)
  expect(await letters(second)).toEqual([])
})

test('a message that ends its worker each time is given up too', async (context) => {
  const stuck = (verbs: Verbs): Verbs => ({ ...verbs, put: () => new Promise(() => undefined) })
  const first = await open(context, { flags: { QUEUE_ACK_SECONDS: '1', QUEUE_DELIVERIES_MAX: '1' }, verbs: stuck })
  await store(first, 'put', 'deadly', { Name: 'n' })
  await expect.poll(() => first.acts.length, waiting).toBe(1)
  await first.kill()
  const second = await open(context, {
    flags: { QUEUE_ACK_SECONDS: '1', QUEUE_DELIVERIES_MAX: '1' },
    domain: first.domain,
  })
  await expect.poll(() => left(second), waiting).toBe(0)
  expect(await letters(second)).toMatchObject([{ text: 'deadly', headers: { 'stowage-dead-deliveries': '2' } }])
  expect(second.acts).toEqual([])
})

test('a queue that somebody deleted is made again, and goes on', async (context) => {
  const comms = await open(context)
  const jsm = await jetstreamManager(comms.connection)
  await jsm.consumers.delete(`${comms.domain}_queue`, 'workers-main')
  await store(comms, 'put', 'x', { Name: 'n' })
  await expect.poll(() => left(comms), waiting).toBe(0)
  expect((await comms.client.request('get', 'n')).data.byteLength).toBe(1)
})
