import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { type Consumer, type ConsumerMessages, DeliverPolicy } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import type { KvBucket } from './kv-bucket.ts'

export interface KvChange {
  readonly key: string
  readonly removed: boolean
  readonly seq: number
}

export interface KvWatcher {
  /** All that is there follows, from the beginning: at the start, and again after a failure. */
  onBegin(): void
  onChange(change: KvChange): void
  /** What was there at the beginning has been told. */
  onCaughtUp(): void
}

const retryMs = 500
/** What is queued is read without a turn of the event loop in between: some 2 ms of it at a time, so that requests are served. */
const changesAtOnce = 256

/**
 * Follows the keys (not the values) of a bucket until `close`, through outages. One ordered consumer, deleted at the end.
 */
export class KvWatch {
  readonly #nats: Nats
  readonly #bucket: KvBucket
  readonly #filter: string
  readonly #watcher: KvWatcher
  readonly #stop = new AbortController()
  #messages: ConsumerMessages | undefined
  #running: Promise<void>
  /** Times that it had to begin again. */
  restarts = -1

  constructor(nats: Nats, bucket: KvBucket, filter: string, watcher: KvWatcher) {
    this.#nats = nats
    this.#bucket = bucket
    this.#filter = bucket.subject(filter)
    this.#watcher = watcher
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#messages?.close()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.restarts++
      let consumer: Consumer | undefined
      try {
        consumer = await this.#nats.js.consumers.get(this.#bucket.stream, {
          filter_subjects: [this.#filter],
          deliver_policy: DeliverPolicy.LastPerSubject,
          headers_only: true,
        })
        await this.#follow(consumer)
      } catch {
        // Counted as a restart; the bucket may be gone or NATS away, and whoever asks us waits.
      }
      await consumer?.delete().catch(() => undefined)
      await delay(retryMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #follow(consumer: Consumer): Promise<void> {
    const { num_pending: pending } = await consumer.info(true)
    this.#watcher.onBegin()
    if (pending === 0) this.#watcher.onCaughtUp()
    let caughtUp = pending === 0
    const messages = await consumer.consume({ max_messages: 2_000 })
    this.#messages = messages
    // Not awaited: it closes when it is read.
    if (this.#stop.signal.aborted) messages.close().catch(() => undefined)
    const prefix = this.#bucket.subject('').length
    let changes = 0
    for await (const message of messages) {
      if (++changes % changesAtOnce === 0) await nextTurn()
      const operation = message.headers?.get('KV-Operation') ?? ''
      const expired = (message.headers?.get('Nats-Marker-Reason') ?? '') !== ''
      const removed = operation === 'DEL' || operation === 'PURGE' || expired
      this.#watcher.onChange({ key: message.subject.slice(prefix), removed, seq: message.seq })
      if (!caughtUp && message.info.pending === 0) {
        caughtUp = true
        this.#watcher.onCaughtUp()
      }
    }
  }
}
