import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import type { CloudEvent } from '../../src/events/envelope.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { authorization, startApi } from '../support/api.ts'
import { openTestLog, type TestLog } from '../support/event-log.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'

type OnFinished = TestContext['onTestFinished']

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const waiting = { timeout: 15_000, interval: 10 }
const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i)
const names = (count: number, from = 0) => upTo(count, from).map((i) => ({ key: `n${i}`, subject: `n${i}` }))

interface Sent {
  readonly id: number
  readonly event: string
  readonly data: CloudEvent
}

/** An API over a real log; its other parts are as in the tests of uploads. */
async function openEvents(onFinished: OnFinished, limits: Parameters<typeof startApi>[1] = {}) {
  const log: TestLog = await openTestLog(server.url, onFinished)
  const api = await startApi(onFinished, { feed: log.feed, ...limits })
  const url = (query = '') => `${api.url}/api/v1/events${query}`
  return {
    log,
    api,
    url,
    ask: (query = '', headers = {}) => fetch(url(query), { headers: { authorization, ...headers } }),
  }
}

/** Follows by server-sent events until it is stopped. */
function follow(url: string, onFinished: OnFinished, headers: Record<string, string> = {}) {
  const controller = new AbortController()
  const sent: Sent[] = []
  let text = ''
  const run = async () => {
    const reply = await fetch(url, { headers: { authorization, ...headers }, signal: controller.signal })
    expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8'])
    const decoder = new TextDecoder()
    for await (const part of reply.body ?? []) {
      text += decoder.decode(part, { stream: true })
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) if (block.startsWith('id: ')) sent.push(parse(block))
    }
  }
  const ended = run().catch((error: unknown) => {
    if (!controller.signal.aborted) throw error
  })
  const stop = async () => {
    controller.abort()
    await ended
  }
  onFinished(stop)
  return { sent, ids: () => sent.map(({ id }) => id), stop, ended }
}

function parse(block: string): Sent {
  const [id = '', event = '', data = '', ...rest] = block.split('\n')
  expect(rest).toEqual([])
  return { id: Number(id.slice(4)), event: event.slice(7), data: JSON.parse(data.slice(6)) as CloudEvent }
}

describe('server-sent events', () => {
  test('tell the history and then what happens, each event as it is in the log', async ({ onTestFinished }) => {
    const { log, url } = await openEvents(onTestFinished)
    await log.append(names(3))
    const { sent, ids } = follow(url(), onTestFinished)
    await vi.waitFor(() => expect(sent).toHaveLength(3), waiting)
    await log.append([{ verb: 'removed', key: 'n9', subject: 'n\n9' }])
    await vi.waitFor(() => expect(sent).toHaveLength(4), waiting)
    expect(ids()).toEqual([1, 2, 3, 4])
    expect(sent.map(({ event }) => event)).toEqual(['name.set', 'name.set', 'name.set', 'name.removed'])
    const stored = await log.nats.jsm.streams.getMessage(log.stream, { seq: 4 })
    expect(stored?.string()).toBe(JSON.stringify(sent[3]?.data))
  })

  test('a client cut off for 1,000 events gets exactly those, once, in order', async ({ onTestFinished }) => {
    const { log, url } = await openEvents(onTestFinished)
    const first = follow(url(), onTestFinished)
    await log.append(names(20))
    await vi.waitFor(() => expect(first.sent).toHaveLength(20), waiting)
    await first.stop()
    await log.append(names(1000, 20))
    const again = follow(url('?since=0'), onTestFinished, { 'last-event-id': String(first.ids().at(-1)) })
    await vi.waitFor(() => expect(again.sent).toHaveLength(1000), waiting)
    await log.append(names(1, 1020))
    await vi.waitFor(() => expect(again.sent.length).toBeGreaterThan(1000), waiting)
    expect(again.ids()).toEqual(upTo(1001, 21))
  })

  test('an undertaking is shown alone, from the time on that its id tells', async ({ onTestFinished }) => {
    const { log, ask } = await openEvents(onTestFinished)
    await log.append(names(3))
    const id = uuidv7()
    const later = { id: uuidv7(), correlation: id }
    await log.append([{ entity: 'object', verb: 'added', key: 'x', subject: 'x' }], { id, correlation: id })
    await log.append([{ entity: 'copy', verb: 'made', key: 'x', subject: 'x' }], later)
    await log.append(names(2, 10))
    await log.append([{ entity: 'copy', verb: 'verified', key: 'x', subject: 'x' }], { ...later, id: uuidv7() })
    const lines = async (query: string) => {
      const text = await (await ask(query, { accept: 'application/x-ndjson' })).text()
      return text
        .split('\n')
        .flatMap((line) => (line === '' ? [] : [(JSON.parse(line) as { sequence: number }).sequence]))
    }
    expect(await lines(`?correlation=${id}`)).toEqual([4, 5, 8])
    expect(await lines(`?correlation=${id}&entity=copy&since=5`)).toEqual([8])
    expect(await lines(`?correlation=${uuidv7()}`)).toEqual([])
    expect(await lines('?correlation=some-run')).toEqual([])
    expect((await ask('?correlation=a%20b')).status).toBe(400)
  })

  test('filters pass what was asked for and nothing else', async ({ onTestFinished }) => {
    const { log, url } = await openEvents(onTestFinished)
    const cases = {
      'entity=name&verb=set': [1, 3],
      'prefix=a': [1, 2],
      'owner=ann&entity=object': [4],
      'cid=QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG': [4],
    }
    const followers = Object.keys(cases).map((query) => follow(url(`?${query}`), onTestFinished))
    const cid = CID.parse('QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG').toV1().toString()
    await log.append([
      { key: 'a', subject: 'a' },
      { verb: 'removed', key: 'a', subject: 'a' },
      { key: 'b', subject: 'b' },
      { entity: 'object', verb: 'added', key: cid, subject: cid },
    ])
    for (const [i, expected] of Object.values(cases).entries()) {
      await vi.waitFor(() => expect(followers[i]?.ids()).toEqual(expected), waiting)
    }
  })

  test('a client that leaves ends the work for it', async ({ onTestFinished }) => {
    const { log, url } = await openEvents(onTestFinished)
    const { stop } = follow(url(), onTestFinished)
    await vi.waitFor(() => expect(log.feed.followers).toBe(1), waiting)
    await stop()
    await vi.waitFor(() => expect(log.feed.followers).toBe(0), waiting)
  })

  test('close ends those who follow at once', async ({ onTestFinished }) => {
    const { log, url, api } = await openEvents(onTestFinished)
    const { ended } = follow(url(), onTestFinished)
    await vi.waitFor(() => expect(log.feed.followers).toBe(1), waiting)
    await api.api.close({ graceMs: 60_000 })
    await ended
    expect(log.feed.followers).toBe(0)
    expect(api.logged).toEqual([])
  })

  test('a client that takes nothing stops the source, is cut, and can resume', async ({ onTestFinished }) => {
    const { log, api } = await openEvents(onTestFinished, { limits: { sendIdleMs: 300 } })
    const big = { text: 'x'.repeat(30_000) }
    for (let i = 0; i < 12; i++) await log.append(names(100, i * 100).map((draft) => ({ ...draft, data: big })))
    const socket: Socket = connect(api.port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.pause()
    socket.write(`GET /api/v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: ${authorization}\r\n\r\n`)
    await vi.waitFor(() => expect(log.feed.followers).toBe(1), waiting)
    await vi.waitFor(() => expect(log.feed.followers).toBe(0), waiting)
    let bytes = 0
    socket.on('data', (part) => {
      bytes += part.byteLength
    })
    socket.on('error', () => undefined)
    socket.resume()
    await vi.waitFor(() => expect(socket.destroyed).toBe(true), waiting)
    // Of 36 MB it had what the kernel and one page hold.
    expect(bytes).toBeLessThan(16 * 1024 * 1024)
  })

  test('there are no more followers than the setting allows', async ({ onTestFinished }) => {
    const { log, url, ask } = await openEvents(onTestFinished, { limits: { eventFollowersMax: 2 } })
    const followers = [follow(url(), onTestFinished), follow(url(), onTestFinished)]
    await vi.waitFor(() => expect(log.feed.followers).toBe(2), waiting)
    const refused = await ask()
    expect([refused.status, (await refused.json()) as object]).toMatchObject([503, { code: 'store_unavailable' }])
    await followers[0]?.stop()
    await vi.waitFor(() => expect(log.feed.followers).toBe(1), waiting)
    expect((await ask('?follow=false')).status).toBe(200)
  })
})

describe('JSON lines', () => {
  test('give the log and end with it', async ({ onTestFinished }) => {
    const { log, ask } = await openEvents(onTestFinished)
    await log.append(names(300))
    const reply = await ask('?since=100', { accept: 'application/x-ndjson' })
    expect(reply.headers.get('content-type')).toMatch(/^application\/x-ndjson/)
    const lines = (await reply.text()).trim().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { sequence: number }).sequence)).toEqual(upTo(200, 101))
  })
})

test('since= a time begins with the first event from then on', async ({ onTestFinished }) => {
  const { log, ask } = await openEvents(onTestFinished)
  await log.append(names(2))
  await delay(20)
  const time = new Date().toISOString()
  await log.append(names(2, 2))
  const text = await (await ask(`?follow=false&since=${time}`)).text()
  expect(text.match(/^id: \d+$(?=\nevent)/gm)).toEqual(['id: 3', 'id: 4'])
})

test.each([
  'since=x',
  'since=-1',
  'since=99999',
  'since=2026-13-01T00:00:00Z',
  'entity=a.b',
  'verb=*',
  'cid=x',
  'follow=maybe',
  'token=abc',
  'foo=1',
  'since=1&since=2',
])('%s is 400', async (query) => {
  let close = async () => undefined as unknown
  const { ask } = await openEvents((closer) => {
    const before = close
    close = async () => {
      await (closer as () => unknown)()
      return before()
    }
  })
  expect((await ask(`?${query}`)).status).toBe(400)
  await close()
})
