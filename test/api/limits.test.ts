import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { NameEntry, Verbs } from '../../src/content/verbs.ts'
import { LimitHits } from '../../src/observability/limits.ts'
import { authorization, post, rawExchange, startApi, type TestApiOptions } from '../support/api.ts'
import { noFeed, verbsOver } from '../support/put-verbs.ts'

const names = (count: number, from: string | undefined): NameEntry[] =>
  Array.from({ length: count }, (_, at) => {
    const name = `${'n'.repeat(900)}/${String(Number(from?.split('/')[1] ?? -1) + 1 + at).padStart(8, '0')}`
    return { name, cid: 'bafkqaaa', revision: 1, size: 1, mediaType: null } as unknown as NameEntry
  })

/** Names without end, and how often a page of them was asked for. */
function endlessNames(gate?: Promise<void>) {
  const asked: { readonly limit: number; readonly signal: AbortSignal }[] = []
  const listNames: Verbs['listNames'] = async (_prefix, { limit, cursor, signal }) => {
    asked.push({ limit, signal })
    await gate
    const page = names(limit, cursor)
    return { names: page, next: page.at(-1)?.name ?? '' }
  }
  return { asked, verbs: { ...verbsOver({} as never), listNames } }
}

async function start(options: TestApiOptions = {}) {
  const limitHits = new LimitHits()
  return { ...(await startApi(onTestFinished, { limitHits, ...options })), limitHits }
}

async function open(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

function gate() {
  let release: () => void = () => undefined
  const closed = new Promise<void>((resolve) => {
    release = resolve
  })
  return { closed, release }
}

test('more requests at a time than the limit are 429, and whether the node lives is answered all the same', async () => {
  const { closed, release } = gate()
  const { asked, verbs } = endlessNames(closed)
  const { url, limitHits, logged } = await start({ verbs, limits: { requestsMax: 2 } })
  const first = [fetch(`${url}/api/v1/names?limit=1`), fetch(`${url}/api/v1/names?limit=1`)]
  await vi.waitFor(() => expect(asked).toHaveLength(2))
  const refused = await fetch(`${url}/api/v1/status`)
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '10'])
  expect(await refused.json()).toMatchObject({ code: 'rate_limited' })
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
  release()
  expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200])
  expect((await fetch(`${url}/api/v1/status`)).status).toBe(200)
  expect(limitHits.counts()).toMatchObject({ concurrent_total: 1 })
  expect(logged).toEqual([])
})

test('one client is told apart by what a believed proxy says of it', async () => {
  const { closed, release } = gate()
  const { asked, verbs } = endlessNames(closed)
  const limits = { requestsPerClientMax: 1 }
  const { url } = await start({ verbs, limits, trustedProxies: ['127.0.0.1'] })
  const by = (address: string) => ({ headers: { 'x-forwarded-for': address } })
  const first = fetch(`${url}/api/v1/names?limit=1`, by('203.0.113.1'))
  await vi.waitFor(() => expect(asked).toHaveLength(1))
  expect((await fetch(`${url}/api/v1/status`, by('203.0.113.1'))).status).toBe(429)
  expect((await fetch(`${url}/api/v1/status`, by('203.0.113.2'))).status).toBe(200)
  release()
  expect((await first).status).toBe(200)
})

test('who follows events takes no place of those that are worked on', async () => {
  const follow = async function* () {
    await new Promise(() => undefined)
  }
  const feed = { ...noFeed, last: async () => 0, follow: follow as never }
  const { url, port } = await start({ feed, limits: { requestsMax: 1 } })
  const follower = await open(port, `GET /api/v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: ${authorization}\r\n\r\n`)
  await once(follower, 'data')
  expect((await fetch(`${url}/api/v1/status`)).status).toBe(200)
})

test('a list whose client has left is read no further', async () => {
  const { asked, verbs } = endlessNames()
  const { port } = await start({ verbs })
  const socket = await open(port, 'GET /api/v1/names?limit=10000 HTTP/1.1\r\nHost: t\r\n\r\n')
  await once(socket, 'data')
  socket.destroy()
  await vi.waitFor(() => expect(asked.at(-1)?.signal.aborted).toBe(true))
  const before = asked.length
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
  expect(asked.length).toBe(before)
  expect(before).toBeLessThan(40)
})

test('a list is one JSON document, whatever its slices', async () => {
  const { asked, verbs } = endlessNames()
  const { url } = await start({ verbs })
  for (const limit of [1, 250, 251, 1000]) {
    asked.length = 0
    const answer = (await (await fetch(`${url}/api/v1/names?limit=${limit}`)).json()) as {
      names: NameEntry[]
      next: string
    }
    expect(answer.names.map(({ name }) => name)).toEqual(names(limit, undefined).map(({ name }) => name))
    expect(answer.next).toBe(answer.names.at(-1)?.name)
    expect(Math.max(...asked.map(({ limit }) => limit))).toBeLessThanOrEqual(250)
  }
  const head = await fetch(`${url}/api/v1/names?limit=1000`, { method: 'HEAD' })
  expect([head.status, await head.text()]).toEqual([200, ''])
})

test('a list that fails in the middle is cut, and at its start it is an answer', async () => {
  const { verbs, asked } = endlessNames()
  const listNames: Verbs['listNames'] = (prefix, options) =>
    asked.length >= (prefix === 'late' ? 2 : 0) ? Promise.reject(new Error('lost')) : verbs.listNames(prefix, options)
  const { url } = await start({ verbs: { ...verbs, listNames } })
  expect((await fetch(`${url}/api/v1/names?prefix=early`)).status).toBe(500)
  await expect(fetch(`${url}/api/v1/names?prefix=late`).then((answer) => answer.text())).rejects.toThrow()
})

test('a client that takes nothing of a list is cut, and the list is read no further', async () => {
  const { asked, verbs } = endlessNames()
  const { port, limitHits } = await start({ verbs, limits: { sendIdleMs: 300, listingEntriesMax: 1_000_000_000 } })
  // So much that no socket holds it.
  const socket = await open(port, 'GET /api/v1/names?limit=900000000 HTTP/1.1\r\nHost: t\r\n\r\n')
  socket.pause()
  await vi.waitFor(() => expect(limitHits.counts().send_idle_time).toBe(1), { timeout: 30_000 })
  await vi.waitFor(() => expect(asked.at(-1)?.signal.aborted).toBe(true))
})

test('an answer that we take long for is not taken for an idle connection', async () => {
  const { closed, release } = gate()
  const put = async (): Promise<never> => {
    await closed
    throw new Error('too late')
  }
  const { port } = await start({ verbs: { ...verbsOver({} as never), put }, limits: { sendIdleMs: 100 } })
  const socket = await open(port, `${post('/api/v1/objects', 'Content-Length: 1', 'Connection: close')}x`)
  const idle = await open(port, '')
  // Cut while the other one waits, as it has asked nothing.
  await once(idle, 'close')
  expect(socket.closed).toBe(false)
  release()
  const [answer] = await once(socket.setEncoding('latin1'), 'data')
  expect(answer).toContain('500 Internal Server Error')
})

test('a read for which nothing comes is 504, also when what it waits for does not hear of it', async () => {
  const { asked, verbs } = endlessNames(new Promise(() => undefined))
  const { url, limitHits } = await start({ verbs, limits: { retrievalMs: 100 } })
  const answer = await fetch(`${url}/api/v1/names`)
  expect([answer.status, await answer.json()]).toMatchObject([504, { code: 'retrieval_timeout' }])
  expect(asked[0]?.signal.aborted).toBe(true)
  expect(limitHits.counts().retrieval_time).toBe(1)
})

test('a head that comes too slowly is 408, one that is too long 431, and too many connections are closed', async () => {
  const { port, limitHits } = await start({ limits: { requestHeadMs: 300, connectionsMax: 3 } })
  const slow = await rawExchange(port, 'GET /healthz HTTP/1.1\r\nHost: t\r\nX-A: ')
  expect(slow).toContain('408 Request Timeout')
  expect(await rawExchange(port, `GET /healthz HTTP/1.1\r\nHost: t\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`)).toContain(
    '431',
  )
  for (let i = 0; i < 3; i++) await open(port, '')
  const fourth = await open(port, 'GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n')
  if (!fourth.closed) await once(fourth, 'close')
  expect(limitHits.counts()).toMatchObject({ head_time: 1, head_bytes: 1, connections: 1 })
})

test('with readAccess token every read needs one, but for those who look whether the node is well', async () => {
  const { verbs } = endlessNames()
  const metrics = { limitHits: {}, placement: undefined }
  const { url } = await start({ verbs, metrics, readAccess: 'token' })
  const status = async (path: string, init: RequestInit = {}) => (await fetch(`${url}${path}`, init)).status
  const closed = ['/api/v1/names?limit=1', '/api/v1/status', '/metrics', '/api/v1/objects/bafkqaaa', '/api/v1/names/x']
  for (const path of closed) {
    expect([path, await status(path), await status(path, { method: 'HEAD' })]).toEqual([path, 401, 401])
  }
  for (const path of ['/healthz', '/readyz']) expect([path, await status(path)]).toEqual([path, 200])
  const headers = { authorization }
  for (const path of closed.slice(0, 3)) expect([path, await status(path, { headers })]).toEqual([path, 200])
  expect(await status('/api/v1/status', { headers: { authorization: 'Bearer wrong' } })).toBe(401)
})
