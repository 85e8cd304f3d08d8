import { createHash, randomUUID } from 'node:crypto'
import { AppError, type ErrorCode, statusOf } from '../errors.ts'
import { type Command, commandSubject, header, type Query, querySubject, type Subjects } from './protocol.ts'

/** What is needed of a nats.js connection (`connect` of @nats-io/transport-node or nats-core); any version with this shape. */
export interface ClientConnection {
  publish(subject: string, data?: Uint8Array | string, options?: { reply?: string; headers?: ClientHeaders }): void
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: ClientMessage) => void },
  ): { unsubscribe(): void }
}

/** A `headers()` of the same package. */
export interface ClientHeaders {
  set(name: string, value: string): void
  get(name: string): string
  readonly code: number
}

export interface ClientMessage {
  readonly data: Uint8Array
  readonly reply?: string | undefined
  readonly headers?: ClientHeaders | undefined
}

export interface NatsClientOptions extends Partial<Subjects> {
  readonly headers: () => ClientHeaders
  /** Prefix of reply subjects that this connection may listen to. */
  readonly inboxPrefix?: string
  /** The longest wait for the next message. */
  readonly timeoutMs?: number
  /** Bytes of a download that may be under way. */
  readonly creditBytes?: number
}

export interface Reply {
  readonly data: Uint8Array
  header(name: string): string | undefined
}

export interface NatsContent {
  readonly cid: string
  /** In bytes. */
  readonly size: number
  /** Throws unless all of it came, as it was sent. Leaving early ends the download. */
  readonly body: AsyncIterable<Uint8Array>
}

export interface NatsClient {
  /** One message there, one back. @throws AppError with the code that the node answered; NODE_UNREACHABLE without an answer */
  request(verb: Query | Command, body: Uint8Array | string, headers?: Readonly<Record<string, string>>): Promise<Reply>
  /** Content of any size; nothing is asked for ahead of what the reader takes but `creditBytes`. */
  get(reference: string, headers?: Readonly<Record<string, string>>): Promise<NatsContent>
  /** Content of any size, in parts. @returns what the node answered, see docs/nats.md */
  put(
    source: AsyncIterable<Uint8Array>,
    headers?: Readonly<Record<string, string>>,
    command?: 'put' | 'import',
  ): Promise<Readonly<Record<string, unknown>>>
}

const queryVerbs: readonly string[] = ['get', 'stat', 'list', 'resolve', 'names', 'links', 'status', 'has', 'why']

/** Queries and commands of a node, over any NATS connection. */
export function createNatsClient(connection: ClientConnection, options: NatsClientOptions): NatsClient {
  const subjects = { domain: options.domain ?? 'stowage', space: options.space ?? 'main' }
  const timeoutMs = options.timeoutMs ?? 30_000
  const creditBytes = options.creditBytes ?? 1024 * 1024
  const encode = (values: Readonly<Record<string, string>>): ClientHeaders => {
    const encoded = options.headers()
    for (const [name, value] of Object.entries(values)) encoded.set(name, value)
    return encoded
  }
  const inbox = () => new Inbox(connection, `${options.inboxPrefix ?? '_INBOX'}.${randomUUID()}`, timeoutMs)
  const ask = async (subject: string, data: Uint8Array | string, headers: Readonly<Record<string, string>>) => {
    const replies = inbox()
    try {
      connection.publish(subject, data, { reply: replies.subject, headers: encode(headers) })
      return checked(await replies.next())
    } finally {
      replies.close()
    }
  }
  const subjectOf = (verb: Query | Command): string =>
    queryVerbs.includes(verb) ? querySubject(subjects, verb as Query) : commandSubject(subjects, verb as Command)
  const send = (subject: string, data: Uint8Array | string, reply: string, headers: Readonly<Record<string, string>>) =>
    connection.publish(subject, data, { reply, headers: encode(headers) })
  return {
    request: async (verb, body, headers = {}) => replyOf(await ask(subjectOf(verb), body, headers)),
    get: async (reference, headers = {}) => {
      const replies = inbox()
      try {
        send(subjectOf('get'), reference, replies.subject, { ...headers, [header.credit]: String(creditBytes) })
        const first = replyOf(checked(await replies.next()))
        const content = { cid: first.header(header.cid) ?? '', size: Number(first.header(header.size)) }
        if (first.header(header.stream) === undefined) {
          replies.close()
          return { ...content, body: once(first.data) }
        }
        return { ...content, body: download(connection, replies, content.size) }
      } catch (error) {
        replies.close()
        throw error
      }
    },
    put: async (source, headers = {}, command = 'put') => {
      const begun = replyOf(await ask(subjectOf(command), '', { ...headers, [header.upload]: 'begin' }))
      const replies = inbox()
      try {
        return await upload(source, replies, begun, send)
      } finally {
        replies.close()
      }
    },
  }
}

async function* download(connection: ClientConnection, replies: Inbox, size: number): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let part = 0
  let bytes = 0
  let creditSubject: string | undefined
  let ended = false
  try {
    for (;;) {
      const message = checked(await replies.next())
      const reply = replyOf(message)
      if (reply.header(header.final) !== undefined) {
        ended = true
        const whole = reply.header(header.sha256) === hash.digest('hex') && bytes === size
        if (!whole) throw new AppError('CONNECTION_LOST', `the download has ${bytes} of ${size} bytes, or others`)
        return
      }
      if (reply.header(header.part) !== String(++part)) {
        throw new AppError('CONNECTION_LOST', `part ${part} of the download did not arrive`)
      }
      creditSubject = message.reply
      // Copied: the buffer is the connection's.
      const data = Uint8Array.from(message.data)
      hash.update(data)
      bytes += data.byteLength
      yield data
      if (creditSubject !== undefined) connection.publish(creditSubject, String(data.byteLength))
    }
  } finally {
    if (!ended && creditSubject !== undefined) connection.publish(creditSubject, '0')
    replies.close()
  }
}

type Send = (subject: string, data: Uint8Array, reply: string, headers: Readonly<Record<string, string>>) => void

async function upload(
  source: AsyncIterable<Uint8Array>,
  replies: Inbox,
  begun: Reply,
  send: Send,
): Promise<Readonly<Record<string, unknown>>> {
  const subject = begun.header(header.upload) ?? ''
  const partBytesMax = Number(begun.header(header.partBytesMax))
  const hash = createHash('sha256')
  let credit = Number(begun.header(header.credit))
  let part = 0
  let size = 0
  const settled = (reply: Reply): Readonly<Record<string, unknown>> | undefined => {
    credit += Number(reply.header(header.credit) ?? 0)
    return reply.header(header.final) === undefined ? undefined : parsed(reply.data)
  }
  try {
    for await (const chunk of source) {
      hash.update(chunk)
      for (let at = 0; at < chunk.byteLength; ) {
        while (credit <= 0 || replies.waiting > 0) {
          const outcome = settled(replyOf(checked(await replies.next())))
          // The command was carried out before, and needs no content.
          if (outcome !== undefined) return outcome
        }
        const data = chunk.subarray(at, at + Math.min(credit, partBytesMax))
        send(subject, data, replies.subject, { [header.part]: String(++part) })
        credit -= data.byteLength
        size += data.byteLength
        at += data.byteLength
      }
    }
  } catch (error) {
    send(subject, new Uint8Array(), replies.subject, { [header.upload]: 'abort' })
    throw error
  }
  send(subject, new Uint8Array(), replies.subject, {
    [header.part]: String(part + 1),
    [header.final]: '1',
    [header.size]: String(size),
    [header.sha256]: hash.digest('hex'),
  })
  for (;;) {
    const outcome = settled(replyOf(checked(await replies.next())))
    if (outcome !== undefined) return outcome
  }
}

/** Replies to one request, in their order. */
class Inbox {
  readonly subject: string
  readonly #subscription: { unsubscribe(): void }
  readonly #messages: ClientMessage[] = []
  readonly #timeoutMs: number
  #wake: (() => void) | undefined

  constructor(connection: ClientConnection, subject: string, timeoutMs: number) {
    this.subject = subject
    this.#timeoutMs = timeoutMs
    this.#subscription = connection.subscribe(subject, {
      callback: (_error, message) => {
        this.#messages.push(message)
        this.#wake?.()
      },
    })
  }

  get waiting(): number {
    return this.#messages.length
  }

  /** @throws AppError NODE_UNREACHABLE when none comes in time */
  async next(): Promise<ClientMessage> {
    const endMs = performance.now() + this.#timeoutMs
    for (;;) {
      const message = this.#messages.shift()
      if (message !== undefined) return message
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new AppError('NODE_UNREACHABLE', `no answer within ${this.#timeoutMs} ms`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, leftMs)
      })
      clearTimeout(timer)
    }
  }

  close(): void {
    this.#subscription.unsubscribe()
  }
}

/** @throws AppError with the code of an error reply; NODE_UNREACHABLE where nobody serves the subject */
function checked(message: ClientMessage): ClientMessage {
  if (message.headers?.code === 503 && message.data.byteLength === 0) {
    throw new AppError('NODE_UNREACHABLE', 'no node serves this subject')
  }
  if ((message.headers?.get(header.error) ?? '') === '') return message
  const { code, message: text, hint } = parsed(message.data)
  const known = String(code).toUpperCase()
  throw new AppError(known in statusOf ? (known as ErrorCode) : 'INTERNAL', String(text), {
    ...(typeof hint === 'string' ? { hint } : {}),
  })
}

const parsed = (data: Uint8Array) => JSON.parse(new TextDecoder().decode(data)) as Readonly<Record<string, unknown>>

const replyOf = ({ data, headers }: ClientMessage): Reply => ({
  data,
  header: (name) => {
    const value = headers?.get(name) ?? ''
    return value === '' ? undefined : value
  },
})

async function* once(data: Uint8Array): AsyncGenerator<Uint8Array> {
  if (data.byteLength > 0) yield Uint8Array.from(data)
}
