import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Abortable } from '../../src/blocks/blockstore.ts'
import { codecs } from '../../src/dag/codecs.ts'
import { type Child, CountingStore, importDag, pattern, putFile, putRaw, settled, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const MiB = 1024 * 1024
const chunkBytes = 256 * 1024

/** A file of distinct blocks. */
function putLargeFile({ store }: OpenGateway, bytes: number) {
  return importDag(store, [{ path: 'a.bin', content: pattern(bytes) }], { chunkBytes })
}

/** Far more than any kernel keeps of a connection, so that a client that takes nothing always ends the sending. */
const endlessBytes = 4096 * MiB

/** A file of `endlessBytes` whose leaves are used again: no two within 48 MiB are the same, so none is fetched for two. */
async function putEndlessFile({ store }: OpenGateway): Promise<CID> {
  const content = pattern(48 * MiB)
  const leaves: Child[] = []
  for (let offset = 0; offset < content.byteLength; offset += chunkBytes) {
    const cid = await putRaw(store, content.subarray(offset, offset + chunkBytes))
    leaves.push({ cid, size: BigInt(chunkBytes) })
  }
  const part = await putFile(store, leaves)
  const parts = Math.ceil(endlessBytes / content.byteLength)
  return (await putFile(store, Array<Child>(parts).fill(part))).cid
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

/** The gateway's own ends of the connections that are made from now on. */
function serverSockets(port: number): readonly Socket[] {
  const sockets: Socket[] = []
  const onSocket = (message: unknown): void => {
    const { socket } = message as { readonly socket: Socket }
    if (socket.localPort === port) sockets.push(socket)
  }
  subscribe('net.server.socket', onSocket)
  onTestFinished(() => void unsubscribe('net.server.socket', onSocket))
  return sockets
}

/**
 * What the gateway holds for clients that take nothing: the leaves that it asked for, less what the kernel has taken. How
 * much that is differs from kernel to kernel and from one connection to the next.
 */
async function heldBytes({ store }: OpenGateway, sockets: readonly Socket[]): Promise<number> {
  // Until the kernel's buffers are full and nothing is asked for any more.
  for (let before = -1; before !== store.asked.length; ) {
    before = store.asked.length
    for (let turn = 0; turn < 20; turn++) await settled()
  }
  const asked = store.asked.filter((cid) => cid.code === codecs.raw).length * chunkBytes
  return sockets.reduce((held, socket) => held - (socket.bytesWritten - socket.writableLength), asked)
}

/** Reads `bytes` and stops. */
function take(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve) => {
    let received = 0
    const onData = (part: Buffer): void => {
      received += part.byteLength
      if (received < bytes) return
      socket.off('data', onData).pause()
      resolve()
    }
    socket.on('data', onData).resume()
  })
}

/** One chunk in the reply's hands, and what a socket has accepted and the kernel has not. */
const onTheWayBytes = 4 * chunkBytes

test('a client that takes nothing costs a fixed window, and the rest follows when it reads on', async () => {
  const readAheadBytes = 1 * MiB
  const gateway = await openGateway(onTestFinished, { readAheadBytes })
  const cid = await putEndlessFile(gateway)
  gateway.store.forget()
  const sockets = serverSockets(gateway.port)
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  await vi.waitFor(() => expect(gateway.store.asked.length).toBeGreaterThan(1))
  const held = await heldBytes(gateway, sockets)
  expect(held).toBeGreaterThan(0)
  expect(held).toBeLessThanOrEqual(readAheadBytes + onTheWayBytes)
  const asked = gateway.store.asked.length
  await take(socket, asked * chunkBytes + 16 * MiB)
  expect(gateway.store.asked.length).toBeGreaterThan(asked)
})

test('clients that take nothing share what is read ahead of them, and give it back when they leave', async () => {
  const clients = 24
  const limits = { readAheadBytes: 8 * MiB, readAheadTotalBytes: 16 * MiB }
  // However many there are, each gets half a MiB.
  const allowed = limits.readAheadTotalBytes + clients * (MiB / 2 + onTheWayBytes)
  expect(allowed).toBeLessThan((clients * limits.readAheadBytes) / 2)
  const gateway = await openGateway(onTestFinished, limits)
  const root = await putEndlessFile(gateway)
  const stalled = async (count: number) => {
    gateway.store.forget()
    const ends = serverSockets(gateway.port)
    const sockets = await Promise.all(
      Array.from({ length: count }, () => open(gateway, `/ipfs/${root}?filename=a.bin`)),
    )
    // Windows grow while their clients take something.
    await Promise.all(sockets.map((socket) => take(socket, 8 * MiB)))
    return { sockets, held: await heldBytes(gateway, ends) }
  }
  const many = await stalled(clients)
  expect(many.held).toBeLessThanOrEqual(allowed)
  for (const socket of many.sockets) socket.destroy()
  await Promise.all(many.sockets.map((socket) => once(socket, 'close')))
  // The next one has the whole window to itself again, as soon as the gateway has noticed.
  await vi.waitFor(
    async () => {
      const alone = await stalled(1)
      for (const socket of alone.sockets) socket.destroy()
      expect(alone.held).toBeGreaterThan(limits.readAheadBytes / 2)
      expect(alone.held).toBeLessThanOrEqual(limits.readAheadBytes + onTheWayBytes)
    },
    { timeout: 20_000 },
  )
})

test('a client that leaves stops the reading', async () => {
  const gateway = await openGateway(onTestFinished, { readAheadBytes: 1 * MiB })
  const cid = await putEndlessFile(gateway)
  gateway.store.forget()
  const socket = await open(gateway, `/ipfs/${cid}?filename=a.bin`)
  await vi.waitFor(() => expect(gateway.store.asked.length).toBeGreaterThan(1))
  socket.destroy()
  await once(socket, 'close')
  await gateway.gateway.close({ graceMs: 60_000 })
  expect(gateway.store.asked.length).toBeLessThan(endlessBytes / chunkBytes / 2)
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
  ['a stream', putEndlessFile, 1],
  // Together as much as a stream that no kernel takes.
  ['many files of one block', ({ store }: OpenGateway) => putRaw(store, pattern(MiB)), endlessBytes / MiB],
])('a client that takes nothing of %s for sendIdleMs is cut', async (_, putContent, requests) => {
  const store = new SignalStore()
  const gateway = await openGateway(onTestFinished, { sendIdleMs: 300, readAheadBytes: 1 * MiB }, store)
  const cid = await putContent(gateway)
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
