import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { clientKey } from '../../src/http/admission.ts'
import { MiB } from '../../src/lib/units.ts'
import { CountingStore, importDag, pattern, putBytes, putRaw, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const hello = Buffer.from('hello world')
const accept = { accept: 'application/json' }

async function open(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

/** All that comes until the server ends the connection. */
async function received(socket: Socket): Promise<string> {
  const parts: Buffer[] = []
  socket.on('data', (part: Buffer) => parts.push(part))
  // A reply that fails halfway ends in a reset.
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('close', resolve))
  return Buffer.concat(parts).toString('latin1')
}

function gated(store: CountingStore): () => void {
  let release: () => void = () => undefined
  store.gate = new Promise((resolve) => {
    release = resolve
  })
  return () => {
    store.gate = undefined
    release()
  }
}

const body = (text: string): unknown => JSON.parse(text)

test('more requests at a time than the limit are 429 at once, and pass again when others have ended', async () => {
  const { ask, store, limitHits, logged } = await openGateway(onTestFinished, { requestsMax: 2 })
  const cid = await putRaw(store, hello)
  const release = gated(store)
  const first = [ask(`/ipfs/${cid}`), ask(`/ipfs/${cid}`)]
  await vi.waitFor(() => expect(store.asked).toHaveLength(2))
  const refused = await ask(`/ipfs/${cid}`, { headers: accept })
  expect([refused.status, body(refused.text)]).toMatchObject([429, { code: 'rate_limited' }])
  expect(refused.headers).toMatchObject({ 'retry-after': '60', 'cache-control': 'no-store' })
  expect(refused.headers['access-control-allow-origin']).toBe('*')
  release()
  expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200])
  expect((await ask(`/ipfs/${cid}`)).status).toBe(200)
  expect(limitHits.counts()).toMatchObject({ concurrent_total: 1, concurrent_per_client: 0 })
  expect(logged).toEqual([])
})

test('one client cannot take all: by the address that a believed proxy tells, and others go on', async () => {
  const hosts = { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] }
  const gateway = await openGateway(onTestFinished, { requestsPerClientMax: 2 }, new CountingStore(), { hosts })
  const { ask, store, limitHits } = gateway
  const cid = await putRaw(store, hello)
  const release = gated(store)
  const from = (address: string) => ask(`/ipfs/${cid}`, { headers: { 'x-forwarded-for': address } })
  const first = [from('203.0.113.7'), from('198.51.100.1, 203.0.113.7, 10.1.2.3')]
  await vi.waitFor(() => expect(store.asked).toHaveLength(2))
  expect((await from('203.0.113.7')).status).toBe(429)
  const other = [from('203.0.113.8'), ...Array.from({ length: 5 }, () => ask(`/ipfs/${cid}`))]
  await vi.waitFor(() => expect(store.asked).toHaveLength(8))
  release()
  for (const { status } of await Promise.all([...first, ...other])) expect(status).toBe(200)
  expect((await from('203.0.113.7')).status).toBe(200)
  expect(limitHits.counts().concurrent_per_client).toBe(1)
})

test.each([
  ['203.0.113.7', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::'],
  ['2001:db8:1:2::9', '2001:db8:1:2::'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::'],
  ['fe80::1%eth0', 'fe80:0:0:0::'],
  ['127.0.0.1', undefined],
  ['::1', undefined],
  ['::ffff:127.0.0.1', undefined],
  [undefined, undefined],
])('the address %s counts as %s', (address, key) => {
  expect(clientKey(address)).toBe(key)
})

test('a store that gives nothing for too long is 504, and the connection ends', async () => {
  const { ask, store, limitHits } = await openGateway(onTestFinished, { retrievalMs: 100 })
  const cid = await putRaw(store, hello)
  onTestFinished(gated(stuck(store)))
  for (const method of ['GET', 'HEAD']) {
    const answer = await ask(`/ipfs/${cid}`, { method, headers: accept })
    expect([answer.status, answer.headers.connection]).toEqual([504, 'close'])
    if (method === 'GET') expect(body(answer.text)).toMatchObject({ code: 'retrieval_timeout' })
  }
  expect(limitHits.counts().retrieval_time).toBe(2)
})

/** Waits, but hears when it is to stop, as the real store does. */
function stuck(store: CountingStore): CountingStore {
  const get = store.get.bind(store)
  store.get = (cid, options) => abortable(get(cid, options), options.signal)
  const getBatch = store.getBatch.bind(store)
  store.getBatch = (wants, options) => abortable(getBatch(wants, options), options.signal)
  return store
}

function abortable<T>(promise: Promise<T>, aborted: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    promise.then(resolve, reject)
    aborted.addEventListener('abort', () => reject(aborted.reason), { once: true })
  })
}

async function halfway(gateway: OpenGateway): Promise<Socket> {
  const { store, port } = gateway
  const cid = await importDag(store, [{ path: 'a', content: pattern(8 * MiB) }], { chunkBytes: 65_536 })
  stuck(store)
  const socket = await open(port, `GET /ipfs/${cid}?filename=a.bin HTTP/1.1\r\nHost: x\r\n\r\n`)
  await once(socket, 'data')
  onTestFinished(gated(store))
  return socket
}

test('a store that stops giving after the first byte cuts the reply', async () => {
  const gateway = await openGateway(onTestFinished, { retrievalMs: 200, readAheadBytes: 128 * 1024 })
  const text = await received(await halfway(gateway))
  expect(text.length).toBeLessThan(8 * MiB)
  expect(gateway.limitHits.counts().retrieval_time).toBe(1)
  expect(gateway.logged).toMatchObject([{ cut: true, err: { code: 'RETRIEVAL_TIMEOUT' } }])
})

test('a client that takes its time is not taken for a slow store, but has an end all the same', async () => {
  const gateway = await openGateway(onTestFinished, { retrievalMs: 50, requestMs: 1000, sendIdleMs: 20_000 })
  const { store, port, limitHits } = gateway
  const cid = await importDag(store, [{ path: 'a', content: pattern(32 * MiB) }], { chunkBytes: 262_144 })
  const socket = await open(port, `GET /ipfs/${cid}?filename=a.bin HTTP/1.1\r\nHost: x\r\n\r\n`)
  socket.pause()
  await vi.waitFor(() => expect(limitHits.counts().request_time).toBe(1), { timeout: 10_000 })
  expect(limitHits.counts().retrieval_time).toBe(0)
  const text = await received(socket.resume())
  expect(text.length).toBeLessThan(32 * MiB)
})

test('a request that takes too long altogether is 504 as long as nothing was sent', async () => {
  const { ask, store, limitHits } = await openGateway(onTestFinished, { requestMs: 100 })
  const cid = await putRaw(store, hello)
  onTestFinished(gated(stuck(store)))
  const answer = await ask(`/ipfs/${cid}`, { headers: accept })
  expect([answer.status, body(answer.text)]).toMatchObject([504, { code: 'request_timeout' }])
  expect(limitHits.counts().request_time).toBe(1)
})

test('a file above the limit is 410 as a file, and is still there as blocks and as a CAR', async () => {
  const { ask, store, limitHits } = await openGateway(onTestFinished, { fileBytesMax: 10 })
  const cid = await putRaw(store, hello)
  const answer = await ask(`/ipfs/${cid}`, { headers: { ...accept, range: 'bytes=0-1' } })
  // application/json is a format of files too.
  expect([answer.status, body(answer.text)]).toMatchObject([410, { code: 'file_too_large' }])
  for (const path of [`/ipfs/${cid}`, `/ipfs/${cid}?filename=a.bin`]) {
    expect((await ask(path)).status).toBe(410)
    expect((await ask(path, { method: 'HEAD' })).status).toBe(410)
  }
  for (const format of ['raw', 'car']) expect((await ask(`/ipfs/${cid}?format=${format}`)).status).toBe(200)
  const small = await putRaw(store, hello.subarray(0, 10))
  expect((await ask(`/ipfs/${small}`)).status).toBe(200)
  expect(limitHits.counts().file_bytes).toBe(5)
})

test('a head that comes too slowly is 408, and one that is too long 431, with a body of the usual shape', async () => {
  const { port, limitHits } = await openGateway(onTestFinished, { requestHeadMs: 300 })
  const slow = await received(await open(port, 'GET / HTTP/1.1\r\nHost: x\r\nX-Slow: '))
  expect(slow).toMatch(/^HTTP\/1\.1 408 /)
  expect(body(slow.split('\r\n\r\n')[1] ?? '')).toMatchObject({ code: 'request_invalid' })
  const long = await received(await open(port, `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`))
  expect(long).toMatch(/^HTTP\/1\.1 431 /)
  const silent = await received(await open(port, ''))
  expect(silent).toBe('')
  expect(limitHits.counts()).toMatchObject({ head_time: 1, head_bytes: 1 })
})

test('connections above the limit are closed, and counted', async () => {
  const { ask, port, store, limitHits } = await openGateway(onTestFinished, { connectionsMax: 2 })
  const cid = await putRaw(store, hello)
  const held = [await open(port, ''), await open(port, '')]
  expect(await received(await open(port, `GET /ipfs/${cid} HTTP/1.1\r\nHost: x\r\n\r\n`))).toBe('')
  expect(limitHits.counts().connections).toBe(1)
  for (const socket of held) socket.destroy()
  await vi.waitFor(async () => expect((await ask(`/ipfs/${cid}`)).status).toBe(200))
})

test('limits of content are counted by their names', async () => {
  const { ask, store, limitHits } = await openGateway(onTestFinished, { nodeLinksMax: 2, pathSegmentsMax: 3 })
  const cid = await putRaw(store, hello)
  expect((await ask(`/ipfs/${cid}/a/b/c/d`)).status).toBe(400)
  expect((await ask(`/ipfs/${cid}/${'a'.repeat(9000)}`)).status).toBe(400)
  const wide = await putBytes(store, Buffer.concat([Buffer.of(0x83), ...Array(3).fill(linkOf(cid.bytes))]), 0x71)
  expect((await ask(`/ipfs/${wide}?format=car`)).status).toBe(413)
  expect(limitHits.counts()).toMatchObject({ path_segments: 1, path_bytes: 1, node_links: 1 })
  await store.delete(cid, { signal })
})

/** In DAG-CBOR: tag 42, bytes, a zero and the CID. */
function linkOf(cid: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(0xd8, 0x2a, 0x58, cid.byteLength + 1, 0), cid])
}
