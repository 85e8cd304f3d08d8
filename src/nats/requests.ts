import type { Msg, MsgHdrs, NatsConnection, Subscription } from '@nats-io/transport-node'
import { createInbox } from '@nats-io/transport-node'

/** A request that got no answer, through no fault of its own: safe to send again when it is idempotent. */
export class TransientError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TransientError'
  }
}

/** What to do with a reply: wait for the next one of the same request, or be done. */
export type OnReply = (message: Msg) => 'more' | 'done'

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
 * nats.js keeps a timer per request and a subscription per multi-reply request; at 40,000 blocks a second both cost more
 * than the block. Here one sweep looks for requests whose last reply is older than their time limit, and a lost
 * connection fails all that are under way at once, so that whoever sent them can send them again after the reconnect.
 */
export class RequestMux {
  readonly #nats: NatsConnection
  readonly #prefix: string
  readonly #subscription: Subscription
  readonly #pending = new Map<string, Pending>()
  readonly #sweeper: NodeJS.Timeout
  #next = 0

  constructor(nats: NatsConnection) {
    this.#nats = nats
    this.#prefix = `${createInbox()}.`
    this.#subscription = nats.subscribe(`${this.#prefix}*`, { callback: (_error, message) => this.#dispatch(message) })
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs)
    this.#sweeper.unref()
  }

  get pending(): number {
    return this.#pending.size
  }

  /** The first reply. @throws TransientError without one in time */
  async one(subject: string, payload: Uint8Array, headers: MsgHdrs | undefined, timeoutMs: number): Promise<Msg> {
    let reply: Msg | undefined
    await this.many(subject, payload, headers, timeoutMs, (message) => {
      reply = message
      return 'done'
    })
    if (reply === undefined) throw new TransientError(`no reply from ${subject}`)
    return reply
  }

  /**
   * Replies until `onReply` says that it is done. `timeoutMs` is the longest wait for the next reply.
   * @throws TransientError when none comes, nobody listens, or the connection is lost; whatever `onReply` throws
   */
  many(
    subject: string,
    payload: Uint8Array,
    headers: MsgHdrs | undefined,
    timeoutMs: number,
    onReply: OnReply,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const token = (this.#next++).toString(36)
      const deadlineMs = performance.now() + timeoutMs
      this.#pending.set(token, { onReply, resolve, reject, subject, timeoutMs, deadlineMs })
      try {
        const reply = this.#prefix + token
        this.#nats.publish(subject, payload, headers === undefined ? { reply } : { reply, headers })
      } catch (error) {
        this.#pending.delete(token)
        reject(new TransientError('cannot publish to NATS', { cause: error }))
      }
    })
  }

  /** To be called when the connection is lost: what was under way will not be answered. */
  failAll(reason: string): void {
    const failed = [...this.#pending.values()]
    this.#pending.clear()
    for (const pending of failed) pending.reject(new TransientError(`${reason}: ${pending.subject}`))
  }

  close(): void {
    clearInterval(this.#sweeper)
    this.#subscription.unsubscribe()
    this.failAll('connection closed')
  }

  #dispatch(message: Msg): void {
    const token = message.subject.slice(this.#prefix.length)
    const pending = this.#pending.get(token)
    if (pending === undefined) return
    if (message.data.byteLength === 0 && message.headers?.code === 503) {
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
