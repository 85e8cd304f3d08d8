import { setTimeout as delay } from 'node:timers/promises'
import { AckPolicy, type ConsumerMessages, DeliverPolicy, JetStreamApiError, type JsMsg } from '@nats-io/jetstream'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'

export interface DurableMessage {
  readonly subject: string
  readonly sequence: number
  readonly payload: Uint8Array
}

export interface DurableOptions {
  readonly stream: string
  readonly name: string
  readonly filters: readonly string[]
  /** In the order of the stream; they are acknowledged when it resolves, and come again when it throws. */
  readonly work: (messages: readonly DurableMessage[]) => Promise<void>
}

const batchMax = 256
const retryMs = 500
// What a node took and died with comes to another one after this; a batch takes some milliseconds, and twice does no harm.
const ackWaitSeconds = 5

/**
 * A durable consumer that the nodes of a site share: what one leaves, another one does. Runs until `close`, through
 * failures and outages.
 */
export class DurableConsumer {
  readonly #nats: Nats
  readonly #options: DurableOptions
  readonly #stop = new AbortController()
  #messages: ConsumerMessages | undefined
  #running: Promise<void> = Promise.resolve()
  /** Times that it failed and began again. */
  restarts = 0
  lastFailure: unknown

  private constructor(nats: Nats, options: DurableOptions) {
    this.#nats = nats
    this.#options = options
  }

  /** @throws AppError STORE_UNAVAILABLE */
  static async start(nats: Nats, options: DurableOptions): Promise<DurableConsumer> {
    const consumer = new DurableConsumer(nats, options)
    await consumer.#open()
    consumer.#running = consumer.#run()
    return consumer
  }

  /** How many messages are not done yet. @throws AppError STORE_UNAVAILABLE */
  async pending(): Promise<number> {
    try {
      const info = await this.#nats.jsm.consumers.info(this.#options.stream, this.#options.name)
      return info.num_pending + info.num_ack_pending
    } catch (cause) {
      throw new AppError('STORE_UNAVAILABLE', `the consumer ${this.#options.name} does not answer`, { cause })
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#messages?.close()
    await this.#running
  }

  async #open(): Promise<void> {
    const { stream, name, filters } = this.#options
    const config = {
      durable_name: name,
      filter_subjects: [...filters],
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: ackWaitSeconds * 1e9,
      max_ack_pending: 4 * batchMax,
      max_deliver: -1,
    }
    try {
      await this.#nats.jsm.consumers.add(stream, config)
    } catch (cause) {
      // 10148: it is there with other parameters, of another version of ours.
      const differs = cause instanceof JetStreamApiError && cause.code === 10148
      if (differs && (await this.#update())) return
      throw new AppError('STORE_UNAVAILABLE', `cannot make the consumer ${name}: ${String(cause)}`, { cause })
    }
  }

  /** Brings its filters up to date; false when the server does not want that. */
  async #update(): Promise<boolean> {
    const { stream, name, filters } = this.#options
    return this.#nats.jsm.consumers.update(stream, name, { filter_subjects: [...filters] }).then(
      () => true,
      (error: unknown) => {
        this.lastFailure = error
        return false
      },
    )
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { stream, name } = this.#options
    while (!signal.aborted) {
      try {
        const consumer = await this.#nats.js.consumers.get(stream, name)
        await this.#consume(await consumer.consume({ max_messages: 2 * batchMax }))
      } catch (error) {
        this.lastFailure = error
      }
      if (signal.aborted) return
      this.restarts++
      await delay(retryMs, undefined, { signal }).catch(() => undefined)
      // Whoever deleted it: it begins at the beginning again, which does no harm.
      await this.#open().catch((error: unknown) => {
        this.lastFailure = error
      })
    }
  }

  async #consume(messages: ConsumerMessages): Promise<void> {
    this.#messages = messages
    // Not awaited: it closes when it is read.
    if (this.#stop.signal.aborted) messages.close().catch(() => undefined)
    const waiting: JsMsg[] = []
    let working: Promise<void> | undefined
    let failure: unknown
    const drain = async () => {
      try {
        while (waiting.length > 0) await this.#workOn(waiting.splice(0, batchMax))
        // In the turn of the last look: what comes from now on begins anew.
        working = undefined
      } catch (error) {
        failure = error
        await messages.close()
      }
    }
    for await (const message of messages) {
      waiting.push(message)
      // After this turn's I/O, so that messages which arrive together are done together.
      working ??= new Promise((next) => setImmediate(next)).then(drain)
    }
    await working
    if (failure !== undefined) throw failure
  }

  async #workOn(batch: readonly JsMsg[]): Promise<void> {
    try {
      await this.#options.work(batch.map(({ subject, seq, data }) => ({ subject, sequence: seq, payload: data })))
    } catch (error) {
      for (const message of batch) message.nak(retryMs)
      throw error
    }
    for (const message of batch) message.ack()
  }
}
