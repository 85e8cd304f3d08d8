import { AppError } from '../errors.ts'
import type { WireMessage } from './wire-parser.ts'
import { wireStatus } from './wire-parser.ts'

/** A request that got no answer, through no fault of its own: safe to send again when it is idempotent. */
export class TransientError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TransientError'
  }
}

/** What to do with a reply: wait for the next one of the same request, or be done. */
export type OnReply = (message: WireMessage) => 'more' | 'done'

/** What the mux needs of a connection. Replies arrive on `<inbox>.<token>`. */
export interface Channel {
  readonly inbox: string
  /** @throws Error when it cannot be sent now */
  publish(subject: string, reply: string, headers: Buffer | undefined, payload: Uint8Array): void
}

/** What there is to ask with: a connection's own requests, or those that go to another site. */
export type Requests = Pick<RequestMux, 'one' | 'many'>

interface Pending {
  readonly onReply: OnReply
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  readonly subject: string
  readonly timeoutMs: number
  deadlineMs: number
}

const sweepMs = 250

/**
 * Requests with one or many replies over one subscription.
 *
 * A timer per request and a subscription per multi-reply request, as nats.js has them, cost more than the block does at
 * 40,000 blocks a second. Here one sweep looks for requests whose last reply is older than their time limit, and a lost
 * connection fails all that are under way at once, so that whoever sent them can send them again after the reconnect.
 */
export class RequestMux {
  readonly #channel: Channel
  readonly #pending = new Map<string, Pending>()
  readonly #sweeper: NodeJS.Timeout
  #next = 0
  #isClosed = false

  constructor(channel: Channel) {
    this.#channel = channel
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs)
    this.#sweeper.unref()
  }

  get pending(): number {
    return this.#pending.size
  }

  /** The first reply. @throws TransientError without one in time */
  async one(
    subject: string,
    payload: Uint8Array,
    headers: Buffer | undefined,
    timeoutMs: number,
  ): Promise<WireMessage> {
    let reply: WireMessage | undefined
    await this.many(subject, payload, headers, timeoutMs, (message) => {
      reply = message
      return 'done'
    })
    if (reply === undefined) throw new TransientError(`no reply from ${subject}`)
    return reply
  }

  /**
   * Replies until `onReply` says that it is done. `timeoutMs` is the longest wait for the next reply.
   * @throws TransientError when none comes, nobody listens, or the connection is lost; AppError STORE_UNAVAILABLE once it is closed;
   * whatever `onReply` throws
   */
  many(
    subject: string,
    payload: Uint8Array,
    headers: Buffer | undefined,
    timeoutMs: number,
    onReply: OnReply,
  ): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed(subject))
    return new Promise((resolve, reject) => {
      const token = (this.#next++).toString(36)
      const deadlineMs = performance.now() + timeoutMs
      this.#pending.set(token, { onReply, resolve, reject, subject, timeoutMs, deadlineMs })
      try {
        this.#channel.publish(subject, `${this.#channel.inbox}.${token}`, headers, payload)
      } catch (error) {
        this.#pending.delete(token)
        // What can never be sent is not worth another try.
        reject(error instanceof RangeError ? error : new TransientError('cannot publish to NATS', { cause: error }))
      }
    })
  }

  /** To be called when the connection is lost: what was under way will not be answered. */
  failAll(reason: string): void {
    const failed = [...this.#pending.values()]
    this.#pending.clear()
    for (const pending of failed) pending.reject(new TransientError(`${reason}: ${pending.subject}`))
  }

  /** To be called when the server forbids us a subject: it says so once, and no request there gets an answer. */
  forbid(subject: string): void {
    for (const [token, pending] of this.#pending) {
      if (pending.subject !== subject) continue
      this.#pending.delete(token)
      pending.reject(
        new AppError('STORE_UNAVAILABLE', `NATS forbids us to publish to ${subject}`, {
          hint: 'give the user of STOWAGE_NATS_URL the right to $O.>, $KV.> and $JS.API.>',
        }),
      )
    }
  }

  /** What waits for an answer gets none, and nothing is asked any more: no other try helps. */
  close(): void {
    clearInterval(this.#sweeper)
    this.#isClosed = true
    const failed = [...this.#pending.values()]
    this.#pending.clear()
    for (const { reject, subject } of failed) reject(closed(subject))
  }

  /** To be called with every message on the inbox. */
  dispatch(message: WireMessage): void {
    const token = message.subject.slice(this.#channel.inbox.length + 1)
    const pending = this.#pending.get(token)
    if (pending === undefined) return
    if (message.data.byteLength === 0 && wireStatus(message.headers) === 503) {
      this.#pending.delete(token)
      pending.reject(new TransientError(`nobody answers ${pending.subject}`))
      return
    }
    try {
      if (pending.onReply(message) === 'more') {
        pending.deadlineMs = performance.now() + pending.timeoutMs
        return
      }
    } catch (error) {
      this.#pending.delete(token)
      pending.reject(error instanceof Error ? error : new Error(String(error)))
      return
    }
    this.#pending.delete(token)
    pending.resolve()
  }

  #sweep(): void {
    const nowMs = performance.now()
    for (const [token, pending] of this.#pending) {
      if (pending.deadlineMs > nowMs) continue
      this.#pending.delete(token)
      pending.reject(new TransientError(`no reply within ${pending.timeoutMs} ms: ${pending.subject}`))
    }
  }
}

const closed = (subject: string): AppError =>
  new AppError('STORE_UNAVAILABLE', `the connection to NATS was closed: ${subject} gets no answer`, {
    hint: 'the node stops; try again when it is back',
  })
