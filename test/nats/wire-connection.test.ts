import { createServer, type Server, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { WireConnection, type WireOptions } from '../../src/nats/wire-connection.ts'
import { encodeHeaders } from '../../src/nats/wire-parser.ts'

const wait = { timeout: 10_000, interval: 5 }
const info = 'INFO {"max_payload":1000}\r\n'

/** One connection as the fake server sees it. */
interface Peer {
  readonly socket: Socket
  /** Everything the client has sent. */
  readonly said: () => string
  /** The server's side of a handshake that goes well; `more` comes in the same packet as its end. */
  accept(more?: string): Promise<void>
}

interface FakeServer {
  readonly url: string
  /** The connections so far, in order. */
  readonly peers: readonly Peer[]
  readonly server: Server
  peer(index: number): Promise<Peer>
}

/** A TCP server that says what the test tells it to. */
async function fakeServer(onConnect: (peer: Peer) => unknown = (peer) => peer.accept()): Promise<FakeServer> {
  const peers: Peer[] = []
  const server = createServer((socket) => {
    let said = ''
    socket.setEncoding('latin1').on('data', (text: string) => {
      said += text
    })
    socket.on('error', () => undefined)
    const accept = async (more = '') => {
      socket.write(info)
      await vi.waitFor(() => expect(said).toMatch(/^CONNECT .*\r\nSUB inbox\.\* 1\r\nPING\r\n/), wait)
      socket.write(`PONG\r\n${more}`)
    }
    const peer: Peer = { socket, said: () => said, accept }
    peers.push(peer)
    onConnect(peer)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const { socket } of peers) socket.destroy()
    await new Promise<void>((resolve) => void server.close(() => resolve()))
  })
  const { port } = server.address() as { port: number }
  const peer = (index: number) =>
    vi.waitFor(() => {
      const found = peers[index]
      if (found === undefined) throw new Error(`no connection ${index}`)
      return found
    }, wait)
  return { url: `nats://127.0.0.1:${port}`, peers, server, peer }
}

async function open(urls: string | readonly string[], options: Partial<WireOptions> = {}) {
  const events: string[] = []
  const connection = await WireConnection.open(
    {
      servers: [urls].flat(),
      authenticate: () => ({ user: 'me', pass: 'x' }),
      tls: undefined,
      name: 'test',
      ...options,
    },
    'inbox',
    {
      onMessage: ({ subject, data }) => events.push(`${subject} ${data}`),
      onLost: () => events.push('lost'),
      onRestored: () => events.push('restored'),
      onForbidden: (reason) => events.push(reason),
    },
  )
  onTestFinished(() => connection.close())
  const happened = (...expected: string[]) => vi.waitFor(() => expect(events).toEqual(expected), wait)
  return { connection, events, happened }
}

test('after the handshake messages come in and publishes go out, byte for byte', async () => {
  const server = await fakeServer()
  const { connection, happened } = await open(server.url)
  expect([connection.connected, connection.payloadBytesMax]).toEqual([true, 1000])
  const { socket, said } = await server.peer(0)
  socket.write('MSG inbox.1 1 5\r\nhello\r\n')
  await happened('inbox.1 hello')
  connection.publish('a', '', undefined, Buffer.from('x'))
  connection.publish('b', 'inbox.2', Buffer.from('NATS/1.0\r\n\r\n'), Buffer.from('yz'))
  connection.publish('c', 'inbox.3', undefined, new Uint8Array())
  const sent = 'PUB a 1\r\nx\r\nHPUB b inbox.2 12 14\r\nNATS/1.0\r\n\r\nyz\r\nPUB c inbox.3 0\r\n\r\n'
  await vi.waitFor(() => expect(said().split('PING\r\n')[1]).toBe(sent), wait)
  expect(() => connection.publish('d', '', undefined, new Uint8Array(1001))).toThrow(/max_payload is 1000/)
})

test('what comes with the last packet of the handshake is not lost', async () => {
  const server = await fakeServer((peer) => peer.accept('PING\r\nMSG inbox.1 1 2\r\nhi\r\n'))
  const { happened } = await open(server.url)
  await happened('inbox.1 hi')
  const { said } = await server.peer(0)
  await vi.waitFor(() => expect(said()).toMatch(/PONG\r\n$/), wait)
})

test('a server that goes away in the middle of a message: lost once, connected again, and nothing half is delivered', async () => {
  const server = await fakeServer()
  const { connection, happened } = await open(server.url)
  const first = await server.peer(0)
  first.socket.end('MSG inbox.1 1 500\r\nhalf of')
  await happened('lost', 'restored')
  expect(connection.connected).toBe(true)
  const second = await server.peer(1)
  second.socket.write('MSG inbox.2 1 5\r\nwhole\r\n')
  await happened('lost', 'restored', 'inbox.2 whole')
})

test.each([
  ['an error', "-ERR 'Stale Connection'\r\n"],
  ['what is not the protocol', 'MSG a b c d e f\r\n'],
  ['a body without end', 'MSG inbox.1 1 1\r\nxyz\r\n'],
])('%s from the server makes a new connection', async (_label, text) => {
  const server = await fakeServer()
  const { events } = await open(server.url)
  const { socket } = await server.peer(0)
  socket.write(text)
  await vi.waitFor(() => expect(events.slice(-2)).toEqual(['lost', 'restored']), wait)
  expect(server.peers).toHaveLength(2)
})

test('a forbidden subject is told and costs no connection', async () => {
  const server = await fakeServer()
  const { connection, happened } = await open(server.url)
  const { socket } = await server.peer(0)
  socket.write('-ERR \'Permissions Violation for Publish to "a.b"\'\r\n')
  await happened('\'Permissions Violation for Publish to "a.b"\'')
  expect([connection.connected, server.peers.length]).toEqual([true, 1])
})

test('a server that answers no pings is given up, and one that does is not', async () => {
  const silent = await fakeServer()
  const lost = await open(silent.url, { pingMs: 20 })
  const talking = await fakeServer(async (peer) => {
    await peer.accept()
    peer.socket.on('data', (text) => String(text).includes('PING') && peer.socket.write('PONG\r\n'))
  })
  const kept = await open(talking.url, { pingMs: 20 })
  await vi.waitFor(() => expect(lost.events.filter((event) => event === 'lost').length).toBeGreaterThan(2), wait)
  const { said } = await talking.peer(0)
  await vi.waitFor(() => expect(said().split('PING').length).toBeGreaterThan(6), wait)
  expect(kept.events).toEqual([])
})

test('while the server refuses, it is tried again until it takes us', async () => {
  let refusals = 3
  const server = await fakeServer((peer) => {
    if (peer === server.peers[0] || refusals-- <= 0) return peer.accept()
    return refusals === 1 ? peer.socket.end(`${info}-ERR 'Authorization Violation'\r\n`) : peer.socket.destroy()
  })
  const { connection, happened } = await open(server.url)
  const { socket } = await server.peer(0)
  socket.destroy()
  await vi.waitFor(() => expect(connection.connected).toBe(false), wait)
  expect(() => connection.publish('a', '', undefined, new Uint8Array())).toThrow(/not connected/)
  await happened('lost', 'restored')
  expect(server.peers).toHaveLength(5)
})

test.each([
  ['refuses the credentials', `${info}-ERR 'Authorization Violation'\r\n`, /Authorization Violation/],
  ['is full', "-ERR 'maximum connections exceeded'\r\n", /maximum connections exceeded/],
  ['speaks HTTP', 'HTTP/1.1 400 Bad Request\r\n\r\n', /no answer within 50 ms/],
  ['says INFO that is no JSON', 'INFO {\r\n', /JSON/],
  ['says nothing', '', /no answer within 50 ms/],
])('a server that %s fails the opening', async (_label, text, reason) => {
  const server = await fakeServer(({ socket }) => socket.write(text))
  await expect(open(server.url, { connectMs: 50 })).rejects.toThrow(reason)
  const { socket } = await server.peer(0)
  await vi.waitFor(() => expect(socket.destroyed).toBe(true), wait)
  expect(server.peers).toHaveLength(1)
})

test('TLS that was asked for and is not offered fails before any credential is sent', async () => {
  const server = await fakeServer(({ socket }) => socket.write(info))
  await expect(open(server.url.replace('nats:', 'tls:'))).rejects.toThrow(/does not support TLS/)
  await expect(open(server.url, { tls: {} })).rejects.toThrow(/does not support TLS/)
  for (const { said } of server.peers) expect(said()).toBe('')
})

test('of several servers the first that answers is taken', async () => {
  const dead = await fakeServer(({ socket }) => socket.destroy())
  const server = await fakeServer()
  const { connection } = await open([dead.url, server.url])
  expect([connection.connected, dead.peers.length, server.peers.length]).toEqual([true, 1, 1])
})

test('closing while connecting ends the attempt, and no other follows', async () => {
  const server = await fakeServer((peer) => (peer === server.peers[0] ? peer.accept() : undefined))
  const { connection, happened } = await open(server.url, { connectMs: 60_000 })
  const first = await server.peer(0)
  first.socket.destroy()
  const second = await server.peer(1)
  await connection.close()
  await vi.waitFor(() => expect(second.socket.destroyed).toBe(true), wait)
  await happened('lost')
  // A connection that others make afterwards is the next one: ours has not come back.
  await open(server.url, { connectMs: 600 }).catch(() => undefined)
  expect(server.peers).toHaveLength(3)
})

test('a connection that breaks in the packet of its answer is not taken for one, and the next one serves', async () => {
  let connections = 0
  const server = await fakeServer((peer) => peer.accept(++connections === 1 ? 'MSG no lengths\r\n' : ''))
  const { connection } = await open([server.url, server.url])
  connection.publish('a', '', undefined, Buffer.from('x'))
  const second = await server.peer(1)
  await vi.waitFor(() => expect(second.said()).toContain('PUB a 1\r\nx\r\n'), wait)
})

test('a closed connection is closed at the other side, and does not count as lost', async () => {
  const server = await fakeServer()
  const { connection, events } = await open(server.url)
  const { socket } = await server.peer(0)
  await connection.close()
  await vi.waitFor(() => expect(socket.destroyed).toBe(true), wait)
  expect([events, connection.connected]).toEqual([[], false])
})

test.each(['a b', 'a\r\nPUB b 0\r\n\r\n', 'ä', ''])('a subject that is none (%j) is not sent', async (subject) => {
  const server = await fakeServer()
  const { connection } = await open(server.url)
  expect(() => connection.publish(subject, '', undefined, Buffer.from('x'))).toThrow(RangeError)
  expect(() => connection.publish('a', subject === '' ? ' ' : subject, undefined, Buffer.from('x'))).toThrow(RangeError)
  connection.publish('good', '', undefined, Buffer.from('x'))
  const peer = await server.peer(0)
  await vi.waitFor(() => expect(peer.said()).toContain('PUB good 1\r\nx\r\n'), wait)
  expect(peer.said().split('PUB ')).toHaveLength(2)
})

test('a line break in a header is refused', () => {
  expect(() => encodeHeaders([['Stowage-Owner', 'ann\r\nNats-Rollup: all']])).toThrow(RangeError)
})
