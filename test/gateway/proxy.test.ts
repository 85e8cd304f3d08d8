import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import type { HostConfig } from '../../src/config.ts'
import { CountingStore, importDag } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

async function openSite(hosts: Partial<HostConfig> = {}) {
  const gateway = await openGateway(onTestFinished, {}, new CountingStore(), { hosts })
  const root = await importDag(gateway.store, [{ path: 'site/a.txt', content: Buffer.from('hello') }])
  return { ...gateway, root: root.toString(), host: `${root}.ipfs.localhost` }
}

/** A raw connection, and all that came over it so far. */
class Wire {
  readonly socket: Socket
  text = ''

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.setEncoding('latin1')
    this.socket.on('data', (text: string) => {
      this.text += text
    })
    // What the other side cuts shows in `text` and `ended`.
    this.socket.on('error', () => this.socket.destroy())
    onTestFinished(() => void this.socket.destroy())
  }

  send(...lines: readonly string[]): void {
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  }

  /** Until the text is there. */
  async has(text: string): Promise<void> {
    while (!this.text.includes(text)) {
      if (this.socket.closed) throw new Error(`closed after: ${this.text}`)
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'close')])
    }
  }

  async ended(): Promise<string> {
    if (!this.socket.closed) await once(this.socket, 'close')
    return this.text
  }
}

/** A server that must never be reached. */
async function openStranger(): Promise<{ readonly port: number; readonly connections: () => number }> {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0, connections: () => connections }
}

test('an absolute-form target is answered for the host that it names', async () => {
  const { ask, host, root } = await openSite()
  expect((await ask(`http://${host}/a.txt`)).text).toBe('hello')
  expect((await ask(`http://localhost:8080/ipfs/${root}/`)).headers.location).toBe(
    `http://${root}.ipfs.localhost:8080/`,
  )
  expect((await ask(`http://${host}`)).text).toContain('Index of')
})

test('33: an absolute-form target of another host is the path gateway, and nobody is asked', async () => {
  const { ask, root } = await openSite()
  const stranger = await openStranger()
  expect((await ask(`http://127.0.0.1:${stranger.port}/ipfs/${root}/a.txt`)).text).toBe('hello')
  expect((await ask(`http://127.0.0.1:${stranger.port}/`)).text).toContain('stowage gateway')
  expect((await ask('http://evil.example/latest/meta-data')).status).toBe(404)
  expect(stranger.connections()).toBe(0)
})

test('a tunnel leads to the gateway itself, with many requests on it', async () => {
  const { port, host, root } = await openSite()
  const wire = new Wire(port)
  wire.send(`CONNECT ${host}:8080 HTTP/1.1`, `Host: ${host}:8080`)
  await wire.has('HTTP/1.1 200 ')
  wire.send('GET /a.txt HTTP/1.1', `Host: ${host}:8080`)
  await wire.has('hello')
  wire.send(`GET /ipfs/${root}/a.txt HTTP/1.1`, 'Host: localhost:8080')
  await wire.has(`Location: http://${root}.ipfs.localhost:8080/a.txt`)
})

test('no open proxy: whatever a tunnel is asked for, no other host or port is reached', async () => {
  const { port, root } = await openSite()
  const stranger = await openStranger()
  for (const target of [`127.0.0.1:${stranger.port}`, `localhost:${stranger.port}`, '169.254.169.254:80', '[::1]:22']) {
    const wire = new Wire(port)
    wire.send(`CONNECT ${target} HTTP/1.1`, `Host: ${target}`)
    await wire.has('HTTP/1.1 200 ')
    wire.send(`GET /ipfs/${root}/a.txt HTTP/1.1`, `Host: ${target === `localhost:${stranger.port}` ? 'x' : target}`)
    await wire.has('hello')
  }
  expect(stranger.connections()).toBe(0)
})

test('what is sent ahead of the answer is not lost, and comes first', async () => {
  const { port, host } = await openSite()
  const wire = new Wire(port)
  wire.socket.write(
    `CONNECT ${host}:80 HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /first HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  )
  await wire.has('hello')
  await wire.has('404 Not Found')
  wire.send('GET /a.txt HTTP/1.1', `Host: ${host}`, 'Connection: close')
  const text = await wire.ended()
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200'])
})

test('a tunnel in a tunnel is refused', async () => {
  const { port } = await openSite()
  const wire = new Wire(port)
  wire.send('CONNECT a.example:80 HTTP/1.1', 'Host: a.example')
  await wire.has('HTTP/1.1 200 ')
  wire.send('CONNECT b.example:80 HTTP/1.1', 'Host: b.example')
  expect(await wire.ended()).toContain('HTTP/1.1 405 ')
})

test.each(['a.example', '/', 'http://a.example:80', 'a.example:99999999', '@a.example:80'])(
  'CONNECT %s is malformed',
  async (target) => {
    const { port } = await openSite()
    const wire = new Wire(port)
    wire.send(`CONNECT ${target} HTTP/1.1`, 'Host: x')
    expect(await wire.ended()).toMatch(/^HTTP\/1\.1 400 /)
  },
)

test('what is no HTTP ends the tunnel', async () => {
  const { port, ask, root } = await openSite()
  const wire = new Wire(port)
  wire.send('CONNECT a.example:443 HTTP/1.1', 'Host: a.example')
  await wire.has('HTTP/1.1 200 ')
  // As a TLS client begins.
  wire.socket.write(Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]))
  expect(await wire.ended()).toContain('HTTP/1.1 400 ')
  expect((await ask(`/ipfs/${root}/a.txt`)).text).toBe('hello')
})

test('65: with the proxy switched off CONNECT is 405; an absolute-form target is a target all the same', async () => {
  const { port, ask, host } = await openSite({ proxy: false })
  const wire = new Wire(port)
  wire.send(`CONNECT ${host}:80 HTTP/1.1`, `Host: ${host}`)
  expect(await wire.ended()).toMatch(/^HTTP\/1\.1 405 .*Allow: GET, HEAD, OPTIONS/s)
  expect((await ask(`http://${host}/a.txt`)).text).toBe('hello')
})

test('65: TRACE is 405', async () => {
  const { ask } = await openSite()
  expect((await ask('/', { method: 'TRACE' })).status).toBe(405)
})

test('a client that leaves its tunnel, before or in it, takes nothing with it', async () => {
  const { port, ask, root, logged } = await openSite()
  for (const lines of [
    ['CONNECT a.example:80 HTTP/1.1', 'Host: a'],
    ['CONNECT a HTTP/1.1', 'Host: a'],
  ]) {
    const wire = new Wire(port)
    wire.send(...lines)
    wire.socket.resetAndDestroy()
    await wire.ended()
  }
  expect((await ask(`/ipfs/${root}/a.txt`)).text).toBe('hello')
  expect(logged).toEqual([])
})

test('a stop of the gateway ends open tunnels like other connections: at once when idle, unused ones with its grace', async () => {
  const { port, gateway, host } = await openSite()
  const [used, unused] = [new Wire(port), new Wire(port)]
  for (const wire of [used, unused]) {
    wire.send(`CONNECT ${host}:80 HTTP/1.1`, `Host: ${host}`)
    await wire.has('HTTP/1.1 200 ')
  }
  used.send('GET /a.txt HTTP/1.1', `Host: ${host}`)
  await used.has('hello')
  await Promise.all([gateway.close({ graceMs: 500 }), used.ended(), unused.ended()])
})
