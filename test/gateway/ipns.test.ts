import { base58btc } from 'multiformats/bases/base58'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { decodeEvent } from '../../src/events/envelope.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { directGetFrom } from '../../src/nats/direct-get.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { type TestKey, testKey, testRecord } from '../support/ipns.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'
import { silent } from '../support/stores.ts'
import { tar } from '../support/tar.ts'

const closers: (() => unknown)[] = []
let full: FullNode
let http: NodeHttp
let nats: Nats
let site: string
const key = testKey()
const rsa = testKey('rsa')

beforeAll(async () => {
  full = await startFullNode((close) => closers.push(close as () => unknown))
  http = httpOf(full)
  nats = await connectNats(full.nats.url, readConfig({}).nats, silent)
  closers.push(() => nats.close())
  const archive = tar(
    { path: 'docs/a.txt', content: 'hello' },
    { path: 'docs/index.html', content: '<p>home</p>' },
    { path: 'deep/docs/b.txt', content: 'below' },
  )
  const put = await http.put('site', archive, { 'content-type': 'application/x-tar' })
  site = String(put.json?.cid)
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

const record = (of: TestKey, options: Partial<Parameters<typeof testRecord>[1]> = {}) =>
  testRecord(of, { value: `/ipfs/${site}`, ...options })

const put = (name: string, body: Uint8Array | string, headers: Record<string, string> = {}) =>
  fetch(`${full.node.apiUrl}/api/v1/ipns/${name}`, {
    method: 'PUT',
    body: typeof body === 'string' ? body : new Uint8Array(body),
    headers: { authorization: `Bearer ${full.token}`, ...headers },
  })

const peerId = (of: TestKey) => base58btc.encode(of.cid.multihash.bytes).slice(1)

describe('/ipns/<key>', () => {
  test('serves what the record points to, as long as its publisher said', async () => {
    expect((await put(key.name, record(key, { ttlSeconds: 1234 }))).status).toBe(201)
    const reply = await http.gateway(`/ipns/${key.name}/docs/a.txt`)
    expect([reply.status, reply.text]).toEqual([200, 'hello'])
    const headers = Object.fromEntries(reply.headers)
    expect(headers).toMatchObject({
      'cache-control': 'public, max-age=1234',
      'x-ipfs-path': `/ipns/${key.name}/docs/a.txt`,
      'ipfs-uri': `ipns://${key.name}/docs/a.txt`,
    })
    expect(headers['x-ipfs-roots']?.split(',')).toHaveLength(3)
    expect(headers['x-ipfs-roots']).toContain(site)
    const again = await http.gateway(`/ipns/${key.name}/docs/a.txt`, {
      headers: { 'if-none-match': headers.etag ?? '' },
    })
    expect([again.status, again.headers.get('cache-control')]).toEqual([304, 'public, max-age=1234'])
  })

  test('answers every format, none of them immutable', async () => {
    await put(key.name, record(key, { ttlSeconds: 77, sequence: 1n }))
    for (const query of ['?format=raw', '?format=car', '?format=tar', '', '/docs?format=car', '/docs/index.html']) {
      const reply = await http.gateway(`/ipns/${key.name}${query === '' ? '/docs/' : query}`)
      expect([query, reply.status, reply.headers.get('cache-control')]).toEqual([query, 200, 'public, max-age=77'])
      const head = await http.gateway(`/ipns/${key.name}${query === '' ? '/docs/' : query}`, { method: 'HEAD' })
      expect([head.status, head.text]).toEqual([200, ''])
    }
    expect((await http.gateway(`/ipns/${key.name}?format=dag-json`)).status).toBe(406)
    expect((await http.gateway(`/ipns/${key.name}/nothing`)).status).toBe(404)
    const proof = await http.gateway(`/ipns/${key.name}/nothing?format=car`)
    expect([proof.status, proof.headers.get('cache-control')]).toEqual([200, 'public, max-age=77'])
  })

  test('is one URL: other spellings are redirected to it, before anything is looked up', async () => {
    const unknown = testKey()
    for (const of of [unknown, rsa]) {
      for (const text of [peerId(of), of.cid.toString(), `${of.name.toUpperCase()}`]) {
        const reply = await http.gateway(`/ipns/${text}/a%20b/%C4%85?x=1`)
        expect([reply.status, reply.headers.get('location')]).toEqual([302, `/ipns/${of.name}/a%20b/%C4%85?x=1`])
      }
    }
  })

  test('that nobody has published, or whose record is refused, is 500; what is no name is 400', async () => {
    const invalid = testKey()
    const refused = await put(invalid.name, record(invalid, { v1: {}, signatureV2: null, data: null }))
    expect([refused.status, await refused.json()]).toMatchObject([400, { code: 'ipns_invalid' }])
    for (const { name } of [invalid, testKey()]) {
      const reply = await http.gateway(`/ipns/${name}`)
      expect([reply.status, reply.headers.get('cache-control')]).toEqual([500, 'no-store'])
    }
    for (const name of ['', 'hello', 'bafkqaaa', 'a..b', '%00', '%ff']) {
      expect([name, (await http.gateway(`/ipns/${name}`)).status]).toEqual([name, 400])
    }
    expect((await http.gateway(`/ipns/${key.name}//x`)).status).toBe(400)
    expect((await http.gateway(`/ipns/${key.name}/a%2Fb`)).status).toBe(400)
    expect(full.errors).toEqual([])
  })

  test('of content that was deleted is 410', async () => {
    const gone = await http.put('gone', 'soon gone')
    const of = testKey()
    await put(of.name, testRecord(of, { value: `/ipfs/${gone.json?.cid}` }))
    expect((await http.gateway(`/ipns/${of.name}`)).text).toBe('soon gone')
    await fetch(`${full.node.apiUrl}/api/v1/objects/${gone.json?.cid}?force=true`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${full.token}` },
    })
    expect((await http.gateway(`/ipns/${of.name}`)).status).toBe(410)
  })
})

describe('format=ipns-record', () => {
  test('is the record as it came, to be verified by whoever gets it', async () => {
    const of = testKey('rsa')
    const bytes = record(of, { ttlSeconds: 1800 })
    await put(of.name, bytes)
    const asked = [
      http.gateway(`/ipns/${of.name}?format=ipns-record`),
      http.gateway(`/ipns/${of.name}`, { headers: { accept: 'application/vnd.ipfs.ipns-record' } }),
    ]
    for (const reply of await Promise.all(asked)) {
      expect(reply.status).toBe(200)
      expect(Object.fromEntries(reply.headers)).toMatchObject({
        'content-type': 'application/vnd.ipfs.ipns-record',
        'cache-control': 'public, max-age=1800',
        'content-length': String(bytes.byteLength),
        'content-disposition': expect.stringMatching(/^attachment; filename="k2.*\.ipns-record"/),
        'x-content-type-options': 'nosniff',
      })
    }
    const [byUrl, byAccept] = await Promise.all(asked)
    expect(byUrl?.headers.get('content-location')).toBeNull()
    expect(byAccept?.headers.get('content-location')).toBe(`/ipns/${of.name}?format=ipns-record`)
    const raw = await fetch(`${full.node.gatewayUrl}/ipns/${of.name}?format=ipns-record`)
    expect(Buffer.from(await raw.arrayBuffer()).equals(bytes)).toBe(true)
    const same = await http.gateway(`/ipns/${of.name}?format=ipns-record`, {
      headers: { 'if-none-match': raw.headers.get('etag') ?? '' },
    })
    expect(same.status).toBe(304)
  })

  test('needs a key, and no path', async () => {
    await put('record.example.org', `/ipfs/${site}`)
    const bad = [`/ipns/${key.name}/docs`, '/ipns/record.example.org', `/ipfs/${site}`]
    for (const path of bad) {
      expect([path, (await http.gateway(`${path}?format=ipns-record`)).status]).toEqual([path, 400])
    }
  })

  test('is there though what it points to is not', async () => {
    const of = testKey()
    await put(of.name, testRecord(of, { value: '/ipns/nowhere.example.org' }))
    expect((await http.gateway(`/ipns/${of.name}?format=ipns-record`)).status).toBe(200)
    expect((await http.gateway(`/ipns/${of.name}`)).status).toBe(500)
  })
})

describe('/ipns/<domain>', () => {
  test('is a DNSLink of ours, with a path, over a key, or a name', async () => {
    expect((await put('a.example.org', `/ipfs/${site}/deep\n`)).status).toBe(201)
    expect((await http.gateway('/ipns/a.example.org/docs/b.txt')).text).toBe('below')
    await put(key.name, record(key, { sequence: 50n, ttlSeconds: 99 }))
    expect((await put('b.example.org?ttl=50', `/ipns/${peerId(key)}/deep`)).status).toBe(201)
    const reply = await http.gateway('/ipns/b.example.org/docs/b.txt')
    expect([reply.text, reply.headers.get('cache-control')]).toEqual(['below', 'public, max-age=50'])
    await http.put('named.example.org', 'by name')
    const named = await http.gateway('/ipns/named.example.org')
    expect([named.text, named.headers.get('cache-control')]).toEqual(['by name', null])
    expect((await http.gateway('/ipns/unknown.example.org')).status).toBe(500)
  })
})

test('a read through /ipns is recorded with the name', async () => {
  const of = testKey()
  await put(of.name, record(of))
  await http.gateway(`/ipns/${of.name}/docs/a.txt`)
  const reads = await vi.waitFor(
    async () => {
      const { messages } = await directGetFrom(nats.log.requests, 'stowage_reads', `stowage.reads.>`, 1, 256)
      const found = messages.flatMap(({ data }) => decodeEvent(data) ?? []).filter(({ data }) => data.name === of.name)
      expect(found.length).toBeGreaterThan(0)
      return found
    },
    { timeout: 10_000, interval: 20 },
  )
  expect(reads[0]?.data).toMatchObject({ cid: { '/': site }, path: `/ipns/${of.name}/docs/a.txt`, status: 200 })
})

describe('/api/v1/ipns', () => {
  const api = (path: string, init: RequestInit = {}) =>
    fetch(`${full.node.apiUrl}/api/v1/ipns${path}`, {
      ...init,
      headers: { authorization: `Bearer ${full.token}`, ...(init.headers as Record<string, string>) },
    })

  test('tells what there is, in pages, and forgets what is removed', async () => {
    const of = testKey()
    await put(of.name, record(of, { sequence: 9n }))
    const entry = (await (await api(`/${peerId(of)}`)).json()) as Record<string, unknown>
    expect(entry).toMatchObject({ name: of.name, kind: 'record', sequence: '9', value: `/ipfs/${site}` })
    const names: unknown[] = []
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page = (await (await api(`?limit=2${cursor && `&cursor=${cursor}`}`)).json()) as {
        entries: Record<string, unknown>[]
        next?: string
      }
      expect(page.entries.every((each) => !('record' in each))).toBe(true)
      names.push(...page.entries.map(({ name }) => name))
      cursor = page.next
    }
    expect(names).toEqual([...names].sort())
    expect(names).toContain(of.name)
    expect((await api(`/${of.name}`, { method: 'DELETE' })).status).toBe(200)
    expect((await api(`/${of.name}`)).status).toBe(404)
    expect((await api(`/${of.name}`, { method: 'DELETE' })).status).toBe(404)
    const older = await put(of.name, record(of, { sequence: 8n }))
    expect([older.status, await older.json()]).toMatchObject([412, { code: 'revision_conflict' }])
  })

  test('needs the token to write, and refuses what is too large or misspelled', async () => {
    const of = testKey()
    const bytes = record(of)
    expect((await put(of.name, bytes, { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await put(of.name, record(of, { padding: 10_240 }))).status).toBe(400)
    expect((await put(of.name, Buffer.alloc(100_000))).status).toBe(413)
    expect((await put(testKey().name, bytes)).status).toBe(400)
    expect((await put('hello', bytes)).status).toBe(400)
    expect((await put(`${of.name}?ttl=5`, bytes)).status).toBe(400)
    expect((await put('a.example.org?ttl=x', `/ipfs/${site}`)).status).toBe(400)
    expect((await put('a.example.org', '/nowhere')).status).toBe(400)
    expect((await api('', { method: 'PATCH' })).status).toBe(405)
    for (const body of [
      '',
      '{}',
      '{"publish":null}',
      '{"publish":{"name":"site"}}',
      '{"publish":{"name":"site","key":"k","x":1}}',
    ]) {
      expect([body, (await api('', { method: 'POST', body })).status]).toEqual([body, 400])
    }
    const id = crypto.randomUUID()
    const first = await put(of.name, bytes, { 'stowage-command-id': id })
    const second = await put(of.name, bytes, { 'stowage-command-id': id })
    expect([first.status, second.status]).toEqual([201, 200])
    expect(await second.json()).toMatchObject({ name: of.name })
  })
})
