import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Abortable } from '../../src/blocks/blockstore.ts'
import { CountingStore, importDag, pattern, settled, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const MiB = 1024 * 1024
const chunkBytes = 256 * 1024

/** A file of distinct blocks. */
function putLargeFile({ store }: OpenGateway, bytes: number) {
  return importDag(store, [{ path: 'a.bin', content: pattern(bytes) }], { chunkBytes })
}

/** Sends one request over a bare socket, which the test then reads or does not. */
async function open({ port }: OpenGateway, path: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.pause()
  await once(socket, 'connect')
  socket.on('error', () => undefined)
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
  return socket
}

test('a block that is missing at the start is a clean error', async () => {
  const gateway = await openGateway(onTestFinished)
  const cid = await putLargeFile(gateway, 4 * MiB)
  gateway.store.forget()
  await gateway.ask(`/ipfs/${cid}?filename=a.bin`, { headers: { range: 'bytes=0-0' } })
  const [, first] = gateway.store.asked
  if (first !== undefined) await gateway.store.delete(first, { signal })
  const answer = await gateway.ask(`/ipfs/${cid}?filename=a.bin`, { headers: { accept: 'application/json' } })
  expect([answer.status, JSON.parse(answer.text).code]).toEqual([404, 'block_not_found'])
  expect(answer.headers['content-length']).toBe(String(answer.bytes.byteLength))
  expect(gateway.logged).toEqual([])
})

test.each([
  ['a file', '?filename=a.bin'],
  ['a CAR', '?format=car'],
])(
  '%s of which a block is missing later is cut, so that the client sees a failure, and logged once',
  async (_, query) => {
    const gateway = await openGateway(onTestFinished)
    const cid = await putLargeFile(gateway, 8 * MiB)
    gateway.store.forget()
    await gateway.ask(`/ipfs/${cid}?filename=a.bin`, { headers: { range: `bytes=${7 * MiB}-${7 * MiB}` } })
    const late = gateway.store.asked[1]
    if (late !== undefined) await gateway.store.delete(late, { signal })
    const status = gateway.ask(`/ipfs/${cid}${query}`).then((answer) => answer.status)
    await expect(status).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(gateway.logged).toMatchObject([{ cut: true, err: { code: 'BLOCK_NOT_FOUND' } }])
  },
)

test('a client that takes nothing costs a fixed window, and the rest follows when it reads on', async () => {
  const readAheadBytes = 1 * MiB
  const gateway = await openGateway(onTestFinished, { readAheadBytes })
  const bytes = 64 * MiB
  const cid = await putLargeFile(gateway, bytes)
  gateway.store.forget()
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  await vi.waitFor(() => expect(gateway.store.asked.length).toBeGreaterThan(1))
  let before = -1
  // Until the kernel's buffers are full and nothing is asked for any more.
  while (before !== gateway.store.asked.length) {
    before = gateway.store.asked.length
    for (let turn = 0; turn < 20; turn++) await settled()
  }
  expect(gateway.store.asked.length * chunkBytes).toBeLessThan(bytes / 2)
  let received = 0
  socket.on('data', (part) => {
    received += part.length
  })
  socket.resume()
  await vi.waitFor(() => expect(received).toBeGreaterThan(bytes), { timeout: 20_000 })
})

test('clients that take nothing share what is read ahead of them, and give it back when they leave', async () => {
  const clients = 24
  const limits = { readAheadBytes: 8 * MiB, readAheadTotalBytes: 16 * MiB }
  const gateway = await openGateway(onTestFinished, limits)
  const root = await putLargeFile(gateway, 48 * MiB)
  const { asked } = gateway.store
  const stalled = async (count: number) => {
    gateway.store.forget()
    const sockets = await Promise.all(
      Array.from({ length: count }, () => open(gateway, `/ipfs/${root}?filename=a.bin`)),
    )
    await vi.waitFor(() => expect(asked.length).toBeGreaterThan(count))
    for (let before = -1; before !== asked.length; ) {
      before = asked.length
      for (let turn = 0; turn < 20; turn++) await settled()
    }
    return { sockets, bytes: asked.length * chunkBytes }
  }
  const one = await stalled(1)
  const many = await stalled(clients)
  // What the kernel holds of each comes on top, and is the same for one alone.
  const ownBytes = one.bytes - limits.readAheadBytes + 4 * chunkBytes
  expect(many.bytes).toBeLessThan(limits.readAheadTotalBytes + clients * ownBytes)
  for (const socket of [...one.sockets, ...many.sockets]) socket.destroy()
  await Promise.all([...one.sockets, ...many.sockets].map((socket) => once(socket, 'close')))
  await vi.waitFor(async () => {
    const again = await stalled(1)
    for (const socket of again.sockets) socket.destroy()
    expect(again.bytes).toBeGreaterThanOrEqual(limits.readAheadBytes)
  })
})

test('a client that leaves stops the reading', async () => {
  const gateway = await openGateway(onTestFinished, { readAheadBytes: 1 * MiB })
  const cid = await putLargeFile(gateway, 64 * MiB)
  gateway.store.forget()
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  await vi.waitFor(() => expect(gateway.store.asked.length).toBeGreaterThan(1))
  socket.destroy()
  await once(socket, 'close')
  await gateway.gateway.close({ graceMs: 60_000 })
  expect(gateway.store.asked.length).toBeLessThan(200)
  expect(gateway.logged).toEqual([])
})

/** Keeps the signal of the last read: it aborts when the gateway's side of the connection is closed. */
class SignalStore extends CountingStore {
  signal: AbortSignal | undefined

  override async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    this.signal = options.signal
    return super.get(cid, options)
  }
}

test('a client that leaves while the store is slow aborts the work that waits', async () => {
  const store = new SignalStore()
  const gateway = await openGateway(onTestFinished, {}, store)
  const cid = await putLargeFile(gateway, 1000)
  let release: () => void = () => undefined
  store.gate = new Promise((resolve) => {
    release = resolve
  })
  const socket = await open(gateway, `/ipfs/${cid}`)
  await vi.waitFor(() => expect(store.signal?.aborted).toBe(false))
  socket.destroy()
  await vi.waitFor(() => expect(store.signal?.reason).toMatchObject({ message: 'the client closed the connection' }))
  release()
  await settled()
  expect(gateway.logged).toEqual([])
})

test.each([
  ['a stream', 64 * MiB, 1],
  ['many files of one block', 200 * 1024, 300],
])('a client that takes nothing of %s for sendIdleMs is cut', async (_, bytes, requests) => {
  const store = new SignalStore()
  const gateway = await openGateway(onTestFinished, { sendIdleMs: 300, readAheadBytes: 1 * MiB }, store)
  const cid = await putLargeFile(gateway, bytes)
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  for (let index = 1; index < requests; index++) {
    socket.write(`GET /ipfs/${cid}?filename=a.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
  }
  await vi.waitFor(() => expect(store.signal?.aborted).toBe(true), { timeout: 20_000 })
  expect(gateway.logged).toEqual([])
})

test('a store that is slower than sendIdleMs is waited for', async () => {
  const gateway = await openGateway(onTestFinished, { sendIdleMs: 100 })
  const cid = await putLargeFile(gateway, 1000)
  let answered = false
  gateway.store.gate = new Promise((resolve) => setTimeout(resolve, 400))
  const answer = await gateway.ask(`/ipfs/${cid}?filename=a.bin`).finally(() => {
    answered = true
  })
  expect([answer.status, answered]).toEqual([200, true])
})

test('closing lets a download under way finish and does not wait for its connection to idle out', async () => {
  const gateway = await openGateway(onTestFinished, { readAheadBytes: 1 * MiB })
  const bytes = 64 * MiB
  const cid = await putLargeFile(gateway, bytes)
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  let received = 0
  socket.on('data', (part) => {
    received += part.length
    if (received > MiB) socket.pause()
  })
  socket.resume()
  await vi.waitFor(() => expect(received).toBeGreaterThan(MiB))
  const closed = gateway.gateway.close({ graceMs: 60_000 })
  socket.removeAllListeners('data')
  socket.on('data', (part) => {
    received += part.length
  })
  socket.resume()
  await Promise.all([once(socket, 'end'), closed])
  expect(received).toBeGreaterThan(bytes)
}, 10_000)

test('closing does not wait for a connection that never asked anything, and does for a request that is half here', async () => {
  const gateway = await openGateway(onTestFinished)
  const [unused, half] = [connect(gateway.port, '127.0.0.1'), connect(gateway.port, '127.0.0.1')]
  half.write('GET / HTTP/1.1\r\n')
  await Promise.all([once(unused, 'connect'), once(half, 'connect')])
  // Taken by the gateway too: it answers on a connection that was made after them.
  await gateway.ask('/')
  const closed = gateway.gateway.close({ graceMs: 60_000 })
  await once(unused.resume(), 'close')
  half.write('Host: 127.0.0.1\r\n\r\n')
  const [answer] = await once(half, 'data')
  expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /)
  await Promise.all([once(half.resume(), 'close'), closed])
}, 10_000)

test('content that is shorter than its root claims is refused, not padded', async () => {
  const { send } = await import('../../src/gateway/send.ts')
  const { createServer } = await import('node:http')
  const failures: unknown[] = []
  const server = createServer((_, response) => {
    const source = (async function* () {
      yield Buffer.alloc(10)
      yield Buffer.alloc(10)
    })()
    const reply = {
      status: 200,
      headers: ['Content-Length', '30'],
      body: { kind: 'stream', bytes: 30n, source },
    } as const
    send(response, { ...reply, headers: [...reply.headers] }, { head: false, signal, sent: { bytes: 0 } }).catch(
      (error) => failures.push(error),
    )
  })
  onTestFinished(() => void server.close())
  server.listen(0)
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  await expect(fetch(`http://127.0.0.1:${port}/`).then((response) => response.text())).rejects.toThrow()
  expect(failures).toMatchObject([{ code: 'DAG_INVALID' }])
})
