import { createHash, randomBytes } from 'node:crypto'
import type { Msg } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, onTestFinished, type TestContext, test } from 'vitest'
import { headersFrom, startTestComms, type TestComms } from '../support/comms.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { waiting } from '../support/serving.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const open = ({ onTestFinished }: TestContext, options = {}) => startTestComms(server.url, onTestFinished, options)
const KiB = 1024
const MiB = 1024 * KiB

async function* chunksOf(bytes: Uint8Array, chunkBytes = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

async function whole(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts)
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** A download of which the test sees each message and gives each credit. */
function listen(comms: TestComms, reference: string, credit: number) {
  const messages: Msg[] = []
  const inbox = `_INBOX.test.${randomBytes(4).toString('hex')}`
  const subscription = comms.connection.subscribe(inbox, { callback: (_error, message) => void messages.push(message) })
  comms.connection.publish(`${comms.domain}.qry.main.get`, reference, {
    reply: inbox,
    headers: headersFrom({ 'Stowage-Credit': String(credit) }),
  })
  const bytes = () =>
    messages.reduce((sum, { data, headers }) => sum + (headers?.has('Stowage-Part') ? data.length : 0), 0)
  return { messages, subscription, bytes, last: () => messages.at(-1) }
}

test('content of any size goes up and comes down in parts, and is the same', async (context) => {
  const comms = await open(context)
  for (const size of [0, 1, 512 * KiB, 512 * KiB + 1, 12 * MiB + 7]) {
    const bytes = randomBytes(size)
    const put = await comms.client.put(chunksOf(bytes), { Name: `n${size}`, 'Content-Type': 'image/x-noise' })
    expect(put).toMatchObject({ size, name: { name: `n${size}`, mediaType: 'image/x-noise' } })
    const got = await comms.client.get(`n${size}`)
    expect([got.cid, got.size]).toEqual([put.cid, size])
    expect(Buffer.compare(await whole(got.body), bytes)).toBe(0)
  }
  expect(comms.reads.map(({ bytes }) => bytes)).toEqual([0, 1, 512 * KiB, 512 * KiB + 1, 12 * MiB + 7])
})

test('a range above the inline bound streams too', async (context) => {
  const comms = await open(context)
  const bytes = randomBytes(3 * MiB)
  await comms.client.put(chunksOf(bytes), { Name: 'n' })
  const got = await comms.client.get('n', { Range: 'bytes=1000-2000000' })
  expect(Buffer.compare(await whole(got.body), bytes.subarray(1000, 2000001))).toBe(0)
})

test('large content without credit is an error that says how to come by it', async (context) => {
  const comms = await open(context)
  const { cid } = await comms.client.put(chunksOf(randomBytes(MiB)), { Name: 'n' })
  const reply = await comms.connection.request(`${comms.domain}.qry.main.get`, 'n')
  expect(reply.headers?.get('Nats-Service-Error-Code')).toBe('413')
  expect(reply.json()).toMatchObject({
    code: 'limit_exceeded',
    hint: expect.stringContaining('Range: bytes=0-524287'),
    cid,
    size: MiB,
    rangeBytesMax: 524288,
    url: `http://gateway.test/ipfs/${cid}`,
  })
})

test('no more is sent than there is credit, whatever the client offers, and the last message has size and digest', async (context) => {
  const comms = await open(context, { flags: { NATS_FLIGHT_BYTES: '1MiB' } })
  const bytes = randomBytes(3 * MiB)
  await comms.client.put(chunksOf(bytes), { Name: 'n' })
  const small = listen(comms, 'n', 1000)
  await expect.poll(small.bytes, waiting).toBe(1000)
  await comms.client.request('status', '')
  expect(small.bytes()).toBe(1000)
  small.last()?.respond('500')
  await expect.poll(small.bytes, waiting).toBe(1500)
  small.last()?.respond('', { headers: headersFrom({ 'Stowage-Credit': '24' }) })
  await expect.poll(small.bytes, waiting).toBe(1524)

  const greedy = listen(comms, 'n', 1e12)
  await expect.poll(greedy.bytes, waiting).toBe(MiB)
  await comms.client.request('status', '')
  expect(greedy.bytes()).toBe(MiB)
  while (greedy.bytes() < 3 * MiB) {
    const before = greedy.bytes()
    greedy.last()?.respond(String(MiB))
    await expect.poll(greedy.bytes, waiting).toBeGreaterThan(before)
  }
  await expect.poll(() => greedy.last()?.headers?.get('Stowage-Final'), waiting).toBe('1')
  const parts = greedy.messages.flatMap(({ headers }) =>
    headers?.has('Stowage-Part') ? [Number(headers.get('Stowage-Part'))] : [],
  )
  expect(parts).toEqual(parts.map((_, index) => index + 1))
  const final = greedy.last()?.headers
  expect(final?.get('Stowage-Sha256')).toBe(sha256(bytes))
  expect([final?.get('Stowage-Size'), final?.get('Stowage-Parts')]).toEqual([String(3 * MiB), String(parts.length)])
})

test('a download ends when the client stops listening, says so, or gives no more credit', async (context) => {
  const comms = await open(context, { flags: { SEND_IDLE_SECONDS: '1', NATS_TRANSFERS_MAX: '1' } })
  await comms.client.put(chunksOf(randomBytes(9 * MiB)), { Name: 'n' })
  const statuses = () => comms.reads.map(({ status }) => status)

  const gone = listen(comms, 'n', MiB)
  await expect.poll(gone.bytes, waiting).toBe(MiB)
  gone.subscription.unsubscribe()
  await comms.connection.flush()
  gone.last()?.respond(String(MiB))
  await expect.poll(statuses, waiting).toEqual([502])

  const leaving = listen(comms, 'n', MiB)
  await expect.poll(leaving.bytes, waiting).toBe(MiB)
  leaving.last()?.respond('0')
  await expect.poll(statuses, waiting).toEqual([502, 502])

  const silent = listen(comms, 'n', MiB)
  await expect.poll(statuses, waiting).toEqual([502, 502, 408])
  await expect.poll(() => silent.last()?.headers?.get('Nats-Service-Error-Code'), waiting).toBe('408')

  const { body } = await comms.client.get('n')
  for await (const part of body) {
    expect(part.byteLength).toBeGreaterThan(0)
    break
  }
  await expect.poll(statuses, waiting).toEqual([502, 502, 408, 502])
})

test('more transfers than allowed are refused, and their places come back', async (context) => {
  const comms = await open(context, { flags: { NATS_TRANSFERS_MAX: '1' } })
  await comms.client.put(chunksOf(randomBytes(2 * MiB)), { Name: 'n' })
  const held = listen(comms, 'n', 1)
  await expect.poll(held.bytes, waiting).toBe(1)
  await expect(comms.client.get('n')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(comms.client.put(chunksOf(randomBytes(10)))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  held.last()?.respond('0')
  await expect.poll(() => comms.reads.length, waiting).toBe(2)
  expect((await whole((await comms.client.get('n')).body)).byteLength).toBe(2 * MiB)
})

/** Begins an upload by hand. */
async function begin(comms: TestComms, headers: Record<string, string> = {}) {
  const reply = await comms.connection.request(`${comms.domain}.cmd.main.put`, '', {
    timeout: 5000,
    headers: headersFrom({ 'Stowage-Upload': 'begin', Name: 'up', ...headers }),
  })
  const { upload, credit, partBytesMax } = reply.json<{ upload: string; credit: number; partBytesMax: number }>()
  const send = async (data: Uint8Array | string, values: Record<string, string>) => {
    const answer = await comms.connection.request(upload, data, { timeout: 10_000, headers: headersFrom(values) })
    return {
      code: answer.headers?.get('Nats-Service-Error-Code') ?? '',
      credit: answer.headers?.get('Stowage-Credit') ?? '',
      final: answer.headers?.get('Stowage-Final') ?? '',
      message: answer.headers?.get('Nats-Service-Error') ?? '',
    }
  }
  return { upload, credit, partBytesMax, send }
}

const last = (bytes: Uint8Array | string, part: number, more = {}) => ({
  'Stowage-Part': String(part),
  'Stowage-Final': '1',
  'Stowage-Size': String(Buffer.byteLength(bytes)),
  'Stowage-Sha256': sha256(Buffer.from(bytes)),
  ...more,
})

test('an upload works with one plain request a part, and a repeated one changes nothing', async (context) => {
  const comms = await open(context)
  const { send, credit, partBytesMax } = await begin(comms)
  expect([credit, partBytesMax]).toEqual([4 * MiB, 256 * KiB])
  expect(await send('one ', { 'Stowage-Part': '1' })).toMatchObject({ code: '', credit: '4' })
  expect(await send('one ', { 'Stowage-Part': '1' })).toMatchObject({ code: '', credit: '0' })
  const done = await send('two', { ...last('one two', 2) })
  expect(done).toMatchObject({ code: '', final: '1' })
  expect(await send('two', { ...last('one two', 2) })).toEqual(done)
  expect(Buffer.from((await comms.client.request('get', 'up')).data).toString()).toBe('one two')
})

test.each<[string, (upload: Awaited<ReturnType<typeof begin>>) => Promise<{ readonly code: string }>, string]>([
  ['is ended by its client', ({ send }) => send('', { 'Stowage-Upload': 'abort' }), '400'],
  ['misses a part', ({ send }) => send('x', { 'Stowage-Part': '3' }), '400'],
  ['has a part without a number', ({ send }) => send('x', {}), '400'],
  ['is shorter than it says', ({ send }) => send('x', last('xy', 2)), '400'],
  ['has another digest', ({ send }) => send('x', last('ax', 2, { 'Stowage-Sha256': '00' })), '400'],
  ['ends without a digest', ({ send }) => send('x', { 'Stowage-Part': '2', 'Stowage-Final': '1' }), '400'],
  ['has a part above the limit', ({ send }) => send(randomBytes(256 * KiB + 1), { 'Stowage-Part': '2' }), '413'],
])('an upload that %s leaves nothing behind, and says why', async (_what, act, code) => {
  const comms = await startTestComms(server.url, onTestFinished)
  const upload = await begin(comms)
  expect((await upload.send('a', { 'Stowage-Part': '1' })).code).toBe('')
  expect((await act(upload)).code).toBe(code)
  expect((await upload.send('b', { 'Stowage-Part': '2' })).code).toBe(code)
  expect((await comms.events()).map(({ type }) => type.split('.').slice(1).join('.'))).toEqual(['object.failed.v1'])
  await expect(comms.client.request('get', 'up')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
})

test('an upload that sends nothing any more is ended', async (context) => {
  const comms = await open(context, { flags: { UPLOAD_IDLE_SECONDS: '1', NATS_TRANSFERS_MAX: '1' } })
  const { send } = await begin(comms)
  await send('a', { 'Stowage-Part': '1' })
  await expect.poll(async () => (await send('a', { 'Stowage-Part': '1' })).code, waiting).toBe('408')
  expect((await comms.events()).map(({ type }) => type.split('.').slice(1).join('.'))).toEqual(['object.failed.v1'])
  // Its place is free again.
  expect(await comms.client.put(chunksOf(Buffer.from('x')))).toMatchObject({ size: 1 })
})

test('a put that was carried out before is known by its content, and the same id with other content is refused', async (context) => {
  const comms = await open(context)
  const bytes = randomBytes(9 * MiB)
  const first = await comms.client.put(chunksOf(bytes), { 'Stowage-Command-Id': 'once' })
  expect(await comms.client.put(chunksOf(bytes), { 'Stowage-Command-Id': 'once' })).toEqual({
    ...first,
    repeated: true,
  })
  const other = comms.client.put(chunksOf(randomBytes(9 * MiB)), { 'Stowage-Command-Id': 'once' })
  await expect(other).rejects.toMatchObject({ code: 'COMMAND_ID_TAKEN' })
})

test('a node that closes ends its transfers', async (context) => {
  const comms = await open(context)
  await comms.client.put(chunksOf(randomBytes(2 * MiB)), { Name: 'n' })
  const held = listen(comms, 'n', 1)
  await expect.poll(held.bytes, waiting).toBe(1)
  const { send } = await begin(comms)
  await send('a', { 'Stowage-Part': '1' })
  await comms.close()
  await expect.poll(() => held.last()?.headers?.get('Nats-Service-Error-Code'), waiting).toBe('500')
})
