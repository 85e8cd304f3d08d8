import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { type CountingStore, importDag, pattern, putBytes, putNode, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

// What the public conformance suite leaves unchecked, or checks in a way that cannot fail (its v0.13.2).

const text = (value: string) => Buffer.from(value)
const accept = (type: string) => ({ accept: type })
const mediaTypeOf = {
  raw: 'application/vnd.ipld.raw',
  car: 'application/vnd.ipld.car',
  tar: 'application/x-tar',
  'dag-json': 'application/vnd.ipld.dag-json',
  'dag-cbor': 'application/vnd.ipld.dag-cbor',
  json: 'application/json',
  cbor: 'application/cbor',
} as const
const formats = Object.keys(mediaTypeOf) as (keyof typeof mediaTypeOf)[]

const dagJson = text('{"hello":"world","list":[1,2,3]}')
/** `{"hello": "world"}` */
const dagCbor = Buffer.from('a16568656c6c6f65776f726c64', 'hex')
const tree = (store: CountingStore) => importDag(store, [{ path: 'd/a.txt', content: text('hello world') }])

const cors = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': ['GET', 'HEAD', 'OPTIONS'],
  'access-control-allow-headers': ['Content-Type', 'Range', 'User-Agent', 'X-Requested-With'],
  'access-control-expose-headers': [
    'Content-Length',
    'Content-Range',
    'Ipfs-Uri',
    'X-Chunked-Output',
    'X-Ipfs-Path',
    'X-Ipfs-Roots',
    'X-Stream-Output',
  ],
} as const

test.each([
  ['dag-json', 0x0129, dagJson, 'json'],
  ['dag-cbor', 0x71, dagCbor, 'cbor'],
] as const)(
  '%s: ranges of the block, under its own type, the plain one and with none asked for',
  async (name, codec, bytes, plain) => {
    const { ask, store } = await openGateway(onTestFinished)
    const cid = await putBytes(store, bytes, codec)
    const size = bytes.byteLength
    for (const [headers, query] of [
      [{}, ''],
      [accept(mediaTypeOf[name]), ''],
      [{}, `?format=${name}`],
      [accept(mediaTypeOf[plain]), ''],
      [{}, `?format=${plain}`],
    ] as const) {
      for (const [range, start, end] of [
        ['bytes=1-4', 1, 4],
        ['bytes=5-', 5, size - 1],
        ['bytes=-3', size - 3, size - 1],
        ['bytes=0-1,4-5', 0, 1],
      ] as const) {
        const answer = await ask(`/ipfs/${cid}${query}`, { headers: { ...headers, range } })
        expect([answer.status, answer.headers['content-range']]).toEqual([206, `bytes ${start}-${end}/${size}`])
        expect(answer.bytes.equals(bytes.subarray(start, end + 1))).toBe(true)
        expect(answer.headers['content-length']).toBe(String(end - start + 1))
      }
    }
  },
)

test('CORS: every value of every list, on content, redirects, errors, and answers without a body', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const absent = hashBlock(text('absent'), 0x55).cid
  const etag = (await ask(`/ipfs/${root}/a.txt`)).headers.etag
  for (const [status, method, path, headers] of [
    [200, 'GET', `/ipfs/${root}/a.txt`, {}],
    [200, 'HEAD', `/ipfs/${root}/a.txt`, {}],
    [200, 'OPTIONS', `/ipfs/${root}/a.txt`, {}],
    [200, 'OPTIONS', '/', {}],
    [200, 'GET', `/ipfs/${root}/`, {}],
    [200, 'GET', `/ipfs/${root}?format=car`, {}],
    [200, 'GET', `/ipfs/${root}?format=tar`, {}],
    [206, 'GET', `/ipfs/${root}/a.txt`, { range: 'bytes=0-1' }],
    [301, 'GET', `/ipfs/${root}`, {}],
    [301, 'HEAD', `/ipfs/${root}`, {}],
    [301, 'GET', `/?uri=ipfs://${root}`, {}],
    [301, 'GET', `/ipfs/ipfs/${root}`, {}],
    [304, 'GET', `/ipfs/${root}/a.txt`, { 'if-none-match': etag }],
    [400, 'GET', '/ipfs/x', {}],
    [404, 'GET', `/ipfs/${absent}`, {}],
    [404, 'HEAD', `/ipfs/${absent}`, {}],
    [405, 'POST', `/ipfs/${root}`, {}],
    [406, 'GET', `/ipfs/${root}?format=dag-json`, {}],
    [412, 'GET', `/ipfs/${absent}`, { 'cache-control': 'only-if-cached' }],
    [416, 'GET', `/ipfs/${root}/a.txt`, { range: 'bytes=99-' }],
  ] as const) {
    const answer = await ask(path, { method, headers })
    expect([method, path, answer.status]).toEqual([method, path, status])
    for (const [name, wanted] of Object.entries(cors)) {
      const sent = answer.headers[name]
      // One field, one value: two are refused by browsers.
      expect([name, typeof sent]).toEqual([name, 'string'])
      if (typeof wanted === 'string') expect(sent).toBe(wanted)
      else expect(String(sent).split(', ')).toEqual(expect.arrayContaining([...wanted]))
    }
  }
})

test('HEAD is GET without its body, for every format; of a directory too', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const json = await putBytes(store, dagJson, 0x0129)
  const site = await importDag(store, [{ path: 'd/index.html', content: text('<p>index</p>') }])
  for (const [path, headers] of [
    [`/ipfs/${root}/a.txt`, {}],
    [`/ipfs/${root}/a.txt?download=true&filename=b.txt`, {}],
    [`/ipfs/${root}/`, {}],
    [`/ipfs/${root}`, {}],
    [`/ipfs/${site}/`, {}],
    [`/ipfs/${json}`, {}],
    [`/ipfs/${root}/a.txt`, { range: 'bytes=1-2' }],
    [`/ipfs/${root}/a.txt?format=raw`, { range: 'bytes=1-2' }],
    ...(['raw', 'car', 'tar'] as const).map((format) => [`/ipfs/${root}?format=${format}`, {}] as const),
    ...(['raw', 'car', 'tar'] as const).map((format) => [`/ipfs/${root}`, accept(mediaTypeOf[format])] as const),
    [`/ipfs/${root}?format=dag-json`, {}],
    [`/ipfs/${hashBlock(text('absent'), 0x55).cid}`, {}],
  ] as const) {
    const get = await ask(path, { headers })
    const head = await ask(path, { headers, method: 'HEAD' })
    expect([path, head.status, head.bytes.byteLength]).toEqual([path, get.status, 0])
    const { date: _, 'transfer-encoding': __, 'content-length': length, ...rest } = get.headers
    expect(head.headers).toMatchObject(rest)
    // A listing's length costs its entries.
    if (length !== undefined && path !== `/ipfs/${root}/`) expect(head.headers['content-length']).toBe(length)
  }
})

test('416 in every format that has ranges; those that have none send all', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const json = await putBytes(store, dagJson, 0x0129)
  const cbor = await putBytes(store, dagCbor, 0x71)
  const headers = { range: 'bytes=1000-' }
  for (const [path, size] of [
    [`/ipfs/${root}/a.txt`, 11],
    [`/ipfs/${root}/a.txt?format=raw`, 11],
    [`/ipfs/${root}/a.txt?format=json`, 11],
    [`/ipfs/${json}`, dagJson.byteLength],
    [`/ipfs/${json}?format=json`, dagJson.byteLength],
    [`/ipfs/${cbor}?format=dag-cbor`, dagCbor.byteLength],
    [`/ipfs/${cbor}?format=cbor`, dagCbor.byteLength],
  ] as const) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await ask(path, { method, headers })
      expect([path, answer.status, answer.headers['content-range']]).toEqual([path, 416, `bytes */${size}`])
      expect(answer.headers['cache-control']).toBe('no-store')
    }
  }
  for (const path of [`/ipfs/${root}?format=car`, `/ipfs/${root}?format=tar`, `/ipfs/${root}/`]) {
    expect([path, (await ask(path, { headers })).status]).toEqual([path, 200])
  }
})

test('a root that is not here is 404 at once, in every format and by every way to ask', async () => {
  const { ask, logged } = await openGateway(onTestFinished)
  for (const codec of [0x55, 0x70, 0x71, 0x0129]) {
    const cid = hashBlock(text('absent'), codec).cid
    for (const method of ['GET', 'HEAD']) {
      for (const below of ['', '/', '/a/b']) {
        expect((await ask(`/ipfs/${cid}${below}`, { method })).status).toBe(404)
      }
      for (const format of formats) {
        const byFormat = await ask(`/ipfs/${cid}?format=${format}`, { method })
        const byAccept = await ask(`/ipfs/${cid}`, { method, headers: accept(mediaTypeOf[format]) })
        expect([format, byFormat.status, byAccept.status]).toEqual([format, 404, 404])
        expect(byFormat.headers['cache-control']).toBe('no-store')
      }
      for (const scope of ['block', 'entity', 'all']) {
        expect((await ask(`/ipfs/${cid}?format=car&dag-scope=${scope}`, { method })).status).toBe(404)
      }
    }
  }
  expect(logged).toEqual([])
})

test('a service worker is refused wherever content shares the origin, also below a directory', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [{ path: 'd/sw.js', content: text('self.x = 1') }])
  const headers = { 'service-worker': 'script' }
  for (const path of [`/ipfs/${root}/sw.js`, `/ipfs/${root}`, `/ipfs/${root}/`, `/ipfs/${root}/sw.js?format=raw`]) {
    expect([path, (await ask(path, { headers })).status]).toEqual([path, 400])
  }
  expect((await ask(`/ipfs/${root}/sw.js`)).status).toBe(200)
})

test('IPIP-512: an inlined CID may hold 128 bytes and not 129, as a root and as a link', async () => {
  const { ask, store, logged } = await openGateway(onTestFinished)
  const inlined = (bytes: number) => CID.createV1(0x55, Digest.create(0, Buffer.alloc(bytes, 'x')))
  for (const format of ['', '?format=raw', '?format=car', '?format=tar']) {
    for (const method of ['GET', 'HEAD']) {
      expect((await ask(`/ipfs/${inlined(128)}${format}`, { method })).status).toBe(200)
      expect((await ask(`/ipfs/${inlined(129)}${format}`, { method })).status).toBe(400)
    }
  }
  const directory = Uint8Array.of(0x08, 0x01)
  const good = await putNode(store, directory, [{ cid: inlined(128), name: 'a' }])
  const bad = await putNode(store, directory, [{ cid: inlined(129), name: 'a' }])
  expect((await ask(`/ipfs/${good}/a`)).text).toBe('x'.repeat(128))
  expect((await ask(`/ipfs/${bad}/a`)).status).toBe(400)
  expect((await ask(`/ipfs/${bad}?format=tar`)).status).toBe(400)
  expect(logged).toEqual([])
})

test('Content-Location tells the URL of what Accept chose, and nothing where the URL says it', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const json = await putBytes(store, dagJson, 0x0129)
  const cbor = await putBytes(store, dagCbor, 0x71)
  const locationOf = async (path: string, headers = {}) => (await ask(path, { headers })).headers['content-location']
  for (const format of ['raw', 'tar'] as const) {
    expect(await locationOf(`/ipfs/${root}/a.txt`, accept(mediaTypeOf[format]))).toBe(
      `/ipfs/${root}/a.txt?format=${format}`,
    )
    expect(await locationOf(`/ipfs/${root}/a.txt?format=${format}`, accept(mediaTypeOf[format]))).toBeUndefined()
  }
  expect(await locationOf(`/ipfs/${root}`, accept('application/vnd.ipld.car; order=unk; dups=y'))).toMatch(
    new RegExp(`^/ipfs/${root}\\?format=car&car-version=1&car-order=(dfs|unk)&car-dups=y$`),
  )
  expect(await locationOf(`/ipfs/${json}`, accept(mediaTypeOf['dag-json']))).toBe(`/ipfs/${json}?format=dag-json`)
  expect(await locationOf(`/ipfs/${json}`, accept(mediaTypeOf.json))).toBe(`/ipfs/${json}?format=json`)
  expect(await locationOf(`/ipfs/${cbor}`, accept(mediaTypeOf.cbor))).toBe(`/ipfs/${cbor}?format=cbor`)
  expect(await locationOf(`/ipfs/${root}?filename=a%20b.tar&download=true`, accept(mediaTypeOf.tar))).toBe(
    `/ipfs/${root}?format=tar&filename=a%20b.tar&download=true`,
  )
  for (const type of ['*/*', 'text/html', 'image/*']) {
    expect(await locationOf(`/ipfs/${root}/a.txt`, accept(type))).toBeUndefined()
  }
})

test('nosniff is on everything, so that no browser takes bytes for a page', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const json = await putBytes(store, dagJson, 0x0129)
  for (const path of [
    ...['raw', 'car', 'tar'].map((format) => `/ipfs/${root}?format=${format}`),
    `/ipfs/${json}?format=json`,
    `/ipfs/${json}`,
    `/ipfs/${root}/a.txt`,
    `/ipfs/${root}/`,
    `/ipfs/${root}`,
    '/ipfs/x',
  ]) {
    expect([path, (await ask(path)).headers['x-content-type-options']]).toEqual([path, 'nosniff'])
  }
})

test('only-if-cached: 412 without the root, by GET and HEAD and in every format, 200 with it', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const absent = hashBlock(text('absent'), 0x55).cid
  const root = await tree(store)
  const headers = { 'cache-control': 'only-if-cached' }
  for (const method of ['GET', 'HEAD']) {
    for (const query of ['', '?format=raw', '?format=car', '?format=tar']) {
      expect((await ask(`/ipfs/${absent}${query}`, { method, headers })).status).toBe(412)
      expect((await ask(`/ipfs/${root}/a.txt${query}`, { method, headers })).status).toBe(200)
    }
  }
  const large = await importDag(store, [{ path: 'a', content: pattern(1 << 20) }], { chunkBytes: 65_536 })
  store.forget()
  expect((await ask(`/ipfs/${large}?filename=a.bin`, { method: 'HEAD', headers })).status).toBe(200)
  expect(store.asked.length).toBe(1)
})

test('a path that ends at a value inside a block is 501, one to a field that is not there 404', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const cbor = await putBytes(store, dagCbor, 0x71)
  const json = await putBytes(store, dagJson, 0x0129)
  for (const method of ['GET', 'HEAD']) {
    const statusOf = async (path: string) => (await ask(`/ipfs/${path}`, { method })).status
    expect([await statusOf(`${cbor}/hello`), await statusOf(`${json}/list/0`)]).toEqual([501, 501])
    expect([await statusOf(`${cbor}/absent`), await statusOf(`${json}/list/7`)]).toEqual([404, 404])
    expect(await statusOf(`${cbor}/hello?format=raw`)).toBe(501)
  }
})

test('a path that is doubled leads to the one that was meant, and what is no path is 400', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const locationOf = async (path: string) => {
    const { status, headers } = await ask(path)
    return [status, headers.location]
  }
  expect(await locationOf(`/ipfs/ipfs/${root}/a%20b?x=1`)).toEqual([301, `/ipfs/${root}/a%20b?x=1`])
  expect(await locationOf('/ipfs/ipns/example.com')).toEqual([301, '/ipns/example.com'])
  expect(await locationOf('/ipfs/ipfs/nothing')).toEqual([400, undefined])
  expect(await locationOf('/ipfs/ipfs/')).toEqual([400, undefined])
  expect(await locationOf('/ipfs/ipfs//evil.example/x')).toEqual([400, undefined])
})

test('a time that the node holds is Last-Modified, and If-Modified-Since counts where there is no If-None-Match', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const mtime = { secs: 1_577_934_245n, nsecs: 5 }
  const cid = await putNode(store, new UnixFS({ type: 'file', data: text('x'), mtime }).marshal(), [])
  const path = `/ipfs/${cid}?filename=a.txt`
  const date = 'Thu, 02 Jan 2020 03:04:05 GMT'
  const statusOf = async (headers: Record<string, string>) => (await ask(path, { headers })).status
  expect((await ask(path)).headers['last-modified']).toBe(date)
  const unchanged = await ask(path, { headers: { 'if-modified-since': date } })
  expect([unchanged.status, unchanged.headers['last-modified'], unchanged.text]).toEqual([304, date, ''])
  expect(await statusOf({ 'if-modified-since': 'Thu, 02 Jan 2020 03:04:04 GMT' })).toBe(200)
  expect(await statusOf({ 'if-modified-since': 'no date' })).toBe(200)
  expect(await statusOf({ 'if-modified-since': date, 'if-none-match': '"other"' })).toBe(200)
  expect((await ask(`/ipfs/${await putRaw(store, text('x'))}`)).headers['last-modified']).toBeUndefined()
  const odd = await putNode(
    store,
    new UnixFS({ type: 'file', data: text('x'), mtime: { secs: 2n ** 60n } }).marshal(),
    [],
  )
  expect((await ask(`/ipfs/${odd}?filename=a.txt`)).headers['last-modified']).toBeUndefined()
})
