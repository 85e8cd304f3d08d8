import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { canonicalJson, type Json } from '../../src/events/canonical.ts'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import type { ReadContext, ReadEntry } from '../../src/events/read-event.ts'
import { EventReadLog } from '../../src/events/read-log.ts'
import { ReadTemplates } from '../../src/events/read-template.ts'
import { isUuid } from '../../src/lib/uuid.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { directGetFrom } from '../../src/nats/direct-get.ts'
import { openReadStream } from '../../src/nats/event-stream.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const waiting = { timeout: 15_000, interval: 10 }
const cid = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
const bounds = { on: true, bytesMax: 64 * 1024 * 1024, daysMax: 30 }
const reader: ReadContext = { principal: 'anonymous', via: 'http', traceparent: undefined, correlation: undefined }
const entry: ReadEntry = {
  cid,
  path: `/ipfs/${cid}/a "b".txt`,
  range: null,
  bytes: 5,
  format: 'unixfs',
  status: 200,
  latencyMs: 1.23456,
  name: null,
}

interface Logged {
  readonly subject: string
  readonly event: CloudEvent
}

async function openReads(url: string, onFinished: TestContext['onTestFinished'], pendingMax?: number) {
  const domain = `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(url, onFinished, { DOMAIN: domain })
  const stream = await openReadStream(nats, config.layout, bounds)
  const source = { domain, site: 'local', space: 'main', node: 'test' }
  const reads = new EventReadLog({ nats, source, ...(pendingMax === undefined ? {} : { pendingMax }) })
  onFinished(async () => void (await reads.close()))
  const logged = () => readAll(nats, stream, domain)
  return { nats, config, stream, domain, reads, logged }
}

async function readAll(nats: Nats, stream: string, domain: string): Promise<Logged[]> {
  const found: Logged[] = []
  for (let from = 1; ; ) {
    const { messages } = await directGetFrom(nats.log.requests, stream, `${domain}.reads.>`, from, 256)
    for (const { subject, data, seq } of messages) {
      const event = decodeEvent(data)
      if (event !== undefined) found.push({ subject, event })
      from = seq + 1
    }
    if (messages.length === 0) return found
  }
}

test('each read becomes an event with who, what and how much, in order', async ({ onTestFinished }) => {
  const { reads, logged, domain } = await openReads(server.url, onTestFinished)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  reads.read({ ...reader, principal: 'admin', correlation: 'c-1', traceparent }, entry)
  for (let i = 0; i < 600; i++) reads.read(reader, { ...entry, bytes: i, range: 'bytes=0-9', name: 'docs/a' })
  reads.read(reader, { ...entry, status: 404, bytes: 0 })
  await vi.waitFor(async () => expect(await logged()).toHaveLength(602), waiting)
  const all = await logged()
  expect(all[0]?.event).toMatchObject({
    type: `${domain}.object.read.v1`,
    authid: 'admin',
    correlationid: 'c-1',
    traceparent,
    subject: cid,
    data: {
      cid: { '/': cid },
      path: entry.path,
      bytes: 5,
      status: 200,
      format: 'unixfs',
      latencyMs: 1.235,
      name: null,
    },
  })
  expect(all.slice(1, 601).map(({ event }) => event.data.bytes)).toEqual(Array.from({ length: 600 }, (_, i) => i))
  expect(all.at(-1)?.subject).toBe(`${domain}.reads.local.main.object.missed.${cid}`)
  expect(new Set(all.map(({ event }) => event.id)).size).toBe(602)
})

describe('the event of a read', () => {
  const source = { domain: 'd', site: 's', space: 'main', node: 'n' }
  const timeMs = 1_700_000_000_000
  const written = (templates: ReadTemplates, context: ReadContext, record: ReadEntry): string => {
    const template = templates.of(context, record)
    if (template === undefined) throw new Error('no template')
    const target = Buffer.alloc(template.bytesMax)
    return target.toString('utf8', 0, template.write(target, 0, record.latencyMs, timeMs))
  }

  test.each<[string, ReadContext, Partial<ReadEntry>]>([
    ['plain', reader, {}],
    ['traced', { ...reader, traceparent: '00-aa-bb-01', correlation: 'x"y' }, { status: 404 }],
    ['by the node', { ...reader, via: 'node', principal: 'né' }, { name: 'é\n"', range: 'bytes=1-2', latencyMs: 0 }],
    ['lone surrogate', reader, { path: '/ipfs/\ud800', bytes: 2 ** 40 }],
  ])('%s: is canonical JSON, at the second time too', (_label, context, changed) => {
    const templates = new ReadTemplates(source)
    const record = { ...entry, ...changed }
    const texts = [written(templates, context, record), written(templates, { ...context }, { ...record })]
    const events = texts.map((text) => JSON.parse(text) as CloudEvent)
    for (const [at, text] of texts.entries()) {
      expect(text).toBe(canonicalJson(events[at] as unknown as Json))
      expect(events[at]).toMatchObject({
        source: '//d/s/n',
        time: '2023-11-14T22:13:20.000Z',
        correlationid: context.correlation ?? events[at]?.id,
        causationid: context.correlation ?? events[at]?.id,
        authid: context.principal,
        authtype: context.via === 'node' ? 'system' : 'unauthenticated',
        data: { bytes: record.bytes, status: record.status, range: record.range, name: record.name },
      })
      expect(isUuid(events[at]?.id ?? '')).toBe(true)
    }
    expect(events[0]?.id).not.toBe(events[1]?.id)
  })

  test.each([
    0, 0.0004, 0.0005, 0.001, 0.01, 0.1, 0.25, 1, 9.9996, 10, 10.01, 99.999, 1234.5, 1e5, 999_999.999, 1e6, 1e9,
  ])('a latency of %s ms is written as JSON writes it', (latencyMs) => {
    const { data } = JSON.parse(written(new ReadTemplates(source), reader, { ...entry, latencyMs })) as CloudEvent
    expect(data.latencyMs).toBe(Math.round(latencyMs * 1000) / 1000)
    expect(written(new ReadTemplates(source), reader, { ...entry, latencyMs })).toContain(
      `"latencyMs":${Math.round(latencyMs * 1000) / 1000},`,
    )
  })

  test('whatever differs from a read before is in it', () => {
    const templates = new ReadTemplates(source)
    const changes: Partial<ReadEntry>[] = [
      {},
      { bytes: 6 },
      { status: 206 },
      { status: 500 },
      { range: 'bytes=0-0' },
      { format: 'raw' },
      { name: 'docs/b' },
      { cid: `${cid}2` },
      { path: '/ipfs/x' },
    ]
    const contexts: ReadContext[] = [reader, { ...reader, principal: 'admin' }, { ...reader, via: 'node' }]
    for (const context of [...contexts, ...contexts]) {
      for (const change of [...changes, ...changes]) {
        const record = { ...entry, ...change }
        const event = JSON.parse(written(templates, context, record)) as CloudEvent
        const { cid: root, latencyMs: _, ...rest } = record
        expect(event.data).toMatchObject({ ...rest, cid: { '/': root } })
        expect(event.subject).toBe(root)
        expect([event.authid, event.owner]).toEqual([context.principal, context.principal])
        expect(event.type).toBe(`d.object.${record.status < 400 ? 'read' : 'missed'}.v1`)
      }
    }
  })
})

test('beyond its bound reads are dropped, and their number is an event', async ({ onTestFinished }) => {
  const { reads, logged, domain } = await openReads(server.url, onTestFinished, 100)
  for (let i = 0; i < 350; i++) reads.read(reader, entry)
  await vi.waitFor(async () => expect(await logged()).toHaveLength(101), waiting)
  const dropped = (await logged()).filter(({ subject }) =>
    subject.startsWith(`${domain}.reads.local.main.reads.dropped.`),
  )
  expect(dropped.map(({ event }) => event.data.count)).toEqual([250])
})

test('the bytes that wait are bounded, however long the paths, and what cannot be written is counted', async ({
  onTestFinished,
}) => {
  const { reads, logged } = await openReads(server.url, onTestFinished)
  const long = `/ipfs/${'a'.repeat(30_000)}`
  for (let i = 0; i < 400; i++) reads.read(reader, { ...entry, path: long })
  reads.read(reader, { ...entry, path: 'a'.repeat(70_000) })
  reads.read(reader, { ...entry, cid: 'not a\r\ntoken' })
  await vi.waitFor(async () => expect(await logged()).toHaveLength(257), waiting)
  const all = await logged()
  expect(all.map(({ event }) => event.data.count).filter((count) => count !== undefined)).toEqual([146])
  expect(all.filter(({ event }) => event.data.path === long)).toHaveLength(256)
})

test('reads that the stream did not take are counted, although only the last of a run is acknowledged', async ({
  onTestFinished,
}) => {
  const { reads, logged, nats, stream } = await openReads(server.url, onTestFinished)
  reads.read(reader, entry)
  await vi.waitFor(async () => expect(await logged()).toHaveLength(1), waiting)
  const { config } = await nats.jsm.streams.info(stream)
  await nats.jsm.streams.update(stream, { ...config, max_msg_size: 2_000 })
  for (let i = 0; i < 10; i++) reads.read(reader, { ...entry, path: i < 4 ? `/ipfs/${'a'.repeat(2_000)}` : entry.path })
  await vi.waitFor(async () => expect(await logged()).toHaveLength(8), waiting)
  expect((await logged()).map(({ event }) => event.data.count).filter((count) => count !== undefined)).toEqual([4])
})

test('close writes what is left', async ({ onTestFinished }) => {
  const { reads, logged } = await openReads(server.url, onTestFinished)
  for (let i = 0; i < 3000; i++) reads.read(reader, entry)
  expect(await reads.close()).toBe(0)
  expect(await logged()).toHaveLength(3000)
})

test('reads during an outage wait, bounded, and are written after it', async ({ onTestFinished }) => {
  const own = await startTestNats()
  onTestFinished(() => own.stop())
  const { reads, logged } = await openReads(own.url, onTestFinished, 100)
  reads.read(reader, entry)
  await vi.waitFor(async () => expect(await logged()).toHaveLength(1), waiting)
  // In order: the stream is flushed behind its acks, so a kill may take the read above along.
  await own.kill('SIGTERM')
  for (let i = 0; i < 150; i++) reads.read(reader, { ...entry, bytes: i })
  const again = await startTestNats({ port: own.port, dataDir: own.dataDir })
  onTestFinished(() => again.stop())
  await vi.waitFor(async () => expect((await logged()).length).toBeGreaterThanOrEqual(102), waiting)
  const all = await logged()
  expect(all.some(({ event }) => event.data.count === 50)).toBe(true)
  expect(all.map(({ event }) => event.data.bytes)).toEqual(expect.arrayContaining([0, 99]))
})

test('close gives up on a server that is gone, and says how many were lost', async ({ onTestFinished }) => {
  const own = await startTestNats()
  onTestFinished(() => own.stop())
  const { reads } = await openReads(own.url, onTestFinished)
  await own.kill('SIGKILL')
  for (let i = 0; i < 7; i++) reads.read(reader, entry)
  expect(await reads.close()).toBe(7)
})

test('new bounds are taken over; the stream of another site is refused', async ({ onTestFinished }) => {
  const { nats, config, stream } = await openReads(server.url, onTestFinished)
  await openReadStream(nats, config.layout, { ...bounds, daysMax: 2, bytesMax: 2 ** 20 })
  const { config: actual } = await nats.jsm.streams.info(stream)
  expect([actual.max_age, actual.max_bytes]).toEqual([2 * 86_400e9, 2 ** 20])
  await expect(openReadStream(nats, { ...config.layout, site: 'paris' }, bounds)).rejects.toMatchObject({
    code: 'STORE_MISMATCH',
  })
})
