import { createConnection, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { TurnShare } from '../lib/turn-share.ts'
import type { Access } from './access.ts'
import { isSubject } from './subject.ts'
import { WireHandshake } from './wire-handshake.ts'
import { WireOutbox } from './wire-outbox.ts'
import type { WireMessage } from './wire-parser.ts'
import { WireParser } from './wire-parser.ts'

export interface WireOptions extends Access {
  readonly name: string
  /** Default 5 s: connection, TLS and handshake together. */
  readonly connectMs?: number
  /** Default 20 s; after two pings without answer the connection counts as lost. */
  readonly pingMs?: number
}

export interface WireEvents {
  /** Every delivery on the one subscription. */
  readonly onMessage: (message: WireMessage) => void
  /** The connection is lost: what was asked will not be answered. */
  readonly onLost: (reason: string) => void
  readonly onRestored: () => void
  /** The server forbids a subject to us; it says so once and gives what is asked there no answer. */
  readonly onForbidden: (reason: string) => void
}

const connectMsDefault = 5_000
const reconnectMs = 250
const pingMsDefault = 20_000
/** Node overwrites it with each read; the parser copies out of it. */
const readBufferBytes = 256 * 1024

/**
 * The connection that carries blocks: one subscription, publishes, nothing else. It reconnects for ever.
 *
 * It is ours, beside nats.js for all the rest, because nats.js 3.4.0 copies a 1 MiB payload once on the way out and some
 * three times on the way in, each time into fresh memory; measured here, that alone halved the rate of both.
 */
export class WireConnection {
  readonly inbox: string
  readonly #options: WireOptions
  readonly #events: WireEvents
  #socket: Socket | TLSSocket | undefined
  #outbox: WireOutbox | undefined
  #connecting: Socket | undefined
  #payloadBytesMax = 1_048_576
  #ready = false
  #closed = false
  #pingsOut = 0
  #attempt = 0
  readonly #pinger: NodeJS.Timeout

  private constructor(options: WireOptions, inbox: string, events: WireEvents) {
    this.#options = options
    this.#events = events
    this.inbox = inbox
    this.#pinger = setInterval(() => this.#ping(), options.pingMs ?? pingMsDefault)
    this.#pinger.unref()
  }

  /** Subscribes to `<inbox>.*`. @throws Error when no server can be reached or it refuses us */
  static async open(options: WireOptions, inbox: string, events: WireEvents): Promise<WireConnection> {
    const connection = new WireConnection(options, inbox, events)
    let failure: unknown
    for (let i = 0; i < options.servers.length; i++) {
      try {
        await connection.#connect()
        return connection
      } catch (error) {
        failure = error
      }
    }
    await connection.close()
    throw failure
  }

  get connected(): boolean {
    return this.#ready
  }

  get payloadBytesMax(): number {
    return this.#payloadBytesMax
  }

  /** The payload must not change until it is answered: a large one is sent from where it lies. @throws Error while disconnected */
  publish(subject: string, reply: string, headers: Buffer | undefined, payload: Uint8Array): void {
    const outbox = this.#outbox
    if (!this.#ready || outbox === undefined) throw new Error('not connected to NATS')
    if (!isSubject(subject) || (reply !== '' && !isSubject(reply))) {
      throw new RangeError('a subject with characters that no subject has')
    }
    const replyPart = reply === '' ? '' : `${reply} `
    const headerBytes = headers?.byteLength ?? 0
    const total = headerBytes + payload.byteLength
    if (total > this.#payloadBytesMax)
      throw new RangeError(`message of ${total} bytes; max_payload is ${this.#payloadBytesMax}`)
    const line =
      headers === undefined
        ? `PUB ${subject} ${replyPart}${total}\r\n`
        : `HPUB ${subject} ${replyPart}${headerBytes} ${total}\r\n`
    outbox.send(line, headers, payload)
  }

  /** What `Frames` holds. It must not change until a later message is answered. @throws Error while disconnected */
  publishFrames(frames: Buffer): void {
    const outbox = this.#outbox
    if (!this.#ready || outbox === undefined) throw new Error('not connected to NATS')
    outbox.sendFrames(frames)
  }

  /** Leaves the server, which may be alive; what was asked fails, and the connection is made again at that one of the list. */
  moveTo(server: string): void {
    const index = this.#options.servers.indexOf(server)
    if (index !== -1) this.#attempt = index
    this.#socket?.destroy()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#pinger)
    this.#connecting?.destroy()
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) return
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.destroySoon()
      // A peer that is stopped takes nothing: do not wait for it.
      setTimeout(() => socket.destroy(), 1_000).unref()
    })
  }

  async #connect(): Promise<void> {
    const { servers } = this.#options
    const server = new URL(servers[this.#attempt++ % servers.length] ?? 'nats://127.0.0.1:4222')
    const handshake = new WireHandshake(this.#options, server)
    let lines: (line: string) => void = (line) => handshake.onLine(line)
    const parser = new WireParser({
      onLine: (line) => (line === 'PING' ? socket.write('PONG\r\n') : lines(line)),
      onMessage: (message) => this.#events.onMessage(message),
    })
    const feed = (chunk: Buffer): void => {
      try {
        parser.feed(chunk)
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)))
      }
    }
    const plain = openSocket(server, feed)
    this.#connecting = plain
    let socket: Socket | TLSSocket = plain
    const lost = new Promise<never>((_, reject) => {
      const onEnd = (error?: Error) => reject(error ?? new Error('the server closed the connection'))
      plain.once('error', onEnd)
      plain.once('close', () => onEnd())
    })
    lost.catch(() => undefined)
    const connectMs = this.#options.connectMs ?? connectMsDefault
    const timer = setTimeout(() => plain.destroy(new Error(`no answer within ${connectMs} ms`)), connectMs)
    try {
      const info = await Promise.race([handshake.info, lost])
      if (handshake.wantsTls(info)) {
        const secure = connectTls({ socket: plain, ...serverIdentity(server), ...this.#options.tls })
        const share = new TurnShare()
        secure.on('data', (chunk) => {
          feed(chunk)
          if (!share.hasMore(() => secure.resume())) secure.pause()
        })
        socket = secure
        socket.on('error', (error) => plain.destroy(error))
      }
      socket.write(handshake.connectLines(info, this.inbox))
      await Promise.race([handshake.accepted, lost])
      // Cut right behind its answer: 'close' may be past, and nobody would ever make the connection again.
      if (plain.destroyed) throw new Error('the server closed the connection')
      this.#payloadBytesMax = info.max_payload
    } catch (error) {
      plain.destroy()
      throw error
    } finally {
      clearTimeout(timer)
      this.#connecting = undefined
    }
    lines = (line) => this.#onLine(line, socket)
    this.#attach(socket, plain)
    if (this.#closed) plain.destroy()
  }

  #attach(socket: Socket | TLSSocket, plain: Socket): void {
    this.#socket = socket
    this.#outbox = new WireOutbox(socket)
    this.#ready = true
    this.#pingsOut = 0
    plain.once('close', () => {
      this.#ready = false
      if (this.#closed) return
      this.#events.onLost('connection to NATS lost')
      this.#reconnect()
    })
  }

  #reconnect(): void {
    if (this.#closed) return
    this.#connect().then(
      () => {
        if (!this.#closed) this.#events.onRestored()
      },
      () => setTimeout(() => this.#reconnect(), reconnectMs),
    )
  }

  #onLine(line: string, socket: Socket | TLSSocket): void {
    if (line === 'PONG') this.#pingsOut = 0
    else if (/^-ERR 'Permissions Violation/i.test(line)) this.#events.onForbidden(line.slice('-ERR '.length))
    else if (line.startsWith('-ERR')) socket.destroy(new Error(line))
  }

  #ping(): void {
    if (!this.#ready) return
    if (this.#pingsOut++ >= 2) this.#socket?.destroy(new Error('the server does not answer pings'))
    else this.#socket?.write('PING\r\n')
  }
}

function openSocket(server: URL, feed: (chunk: Buffer) => void): Socket {
  const buffer = Buffer.allocUnsafeSlow(readBufferBytes)
  const share = new TurnShare()
  const socket = createConnection({
    host: hostOf(server),
    port: Number(server.port || 4222),
    noDelay: true,
    onread: {
      buffer,
      callback: (bytes) => {
        feed(buffer.subarray(0, bytes))
        // Without more it is not read from until `resume`.
        return share.hasMore(() => socket.resume())
      },
    },
  })
  // Errors reach everybody through 'close'; without a listener they would end the process.
  socket.on('error', () => undefined)
  return socket
}

const hostOf = (server: URL): string => server.hostname.replace(/^\[|\]$/g, '')

/** What the certificate must be for. TLS has no server name for an address (RFC 6066 §3). */
function serverIdentity(server: URL): ConnectionOptions {
  const host = hostOf(server)
  return isIP(host) === 0 ? { servername: host } : { host }
}
