import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { type Consumer, type ConsumerMessages, DeliverPolicy, JetStreamApiError } from '@nats-io/jetstream'
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
  /**
   * What was there at the beginning has been told.
   * @param unreadable so many messages of it the server counts and cannot read: they are damaged
   */
  onCaughtUp(unreadable: number): void
}

const retryMs = 500
/** How often it is looked whether the end was reached: the last message may be one that never comes. */
const endEveryMs = 250
/** A server that says twice, so long apart, that it has given nothing more has nothing more that it can read. */
const stillLooks = 6
const streamNotFound = 10059
/** After these the consumer goes on behind the last sequence that it saw, which says nothing in a stream that was made anew. */
const doubtful = new Set(['consumer_deleted', 'consumer_not_found', 'stream_not_found', 'ordered_consumer_recreated'])
/** What is queued is read without a turn of the event loop in between: some 2 ms of it at a time, so that requests are served. */
const changesAtOnce = 256

/**
 * Follows the keys (not the values) of a bucket until `close`, through outages, and from the beginning where the bucket was
 * deleted and made anew. One ordered consumer, deleted at the end.
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
        await this.#follow(consumer, await this.#streamMade())
      } catch {
        // Counted as a restart; the bucket may be gone or NATS away, and whoever asks us waits.
      }
      await this.#forget(consumer)
      await delay(retryMs, undefined, { signal }).catch(() => undefined)
    }
  }

  /** The server forgets it by itself after some minutes: nobody waits for that, least of all a stop while NATS is away. */
  async #forget(consumer: Consumer | undefined): Promise<void> {
    if (consumer === undefined || !this.#nats.connected) return
    const deleted = consumer.delete().catch(() => undefined)
    await Promise.race([deleted, delay(retryMs, undefined, { ref: false })])
  }

  /** When the bucket's stream was made; undefined while it is not there. @throws Error while NATS is away */
  async #streamMade(): Promise<string | undefined> {
    try {
      return (await this.#nats.jsm.streams.info(this.#bucket.stream)).created
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
      throw error
    }
  }

  /** Ends `messages` when it turns out that they come from another stream than the one that was made at `made`. */
  async #watchStream(messages: ConsumerMessages, made: string | undefined): Promise<void> {
    for await (const { type } of messages.status()) {
      // An outage is over with another such event.
      if (doubtful.has(type) && (await this.#streamMade().catch(() => made)) !== made) await messages.close()
    }
  }

  async #follow(consumer: Consumer, made: string | undefined): Promise<void> {
    // First: what is written from now on is told of again, or counted as still to come.
    this.#watcher.onBegin()
    const { num_pending: pending } = await consumer.info()
    const end = { told: 0, reached: false }
    const reach = (): void => {
      if (end.reached) return
      end.reached = true
      this.#watcher.onCaughtUp(Math.max(0, pending - end.told))
    }
    if (pending === 0) reach()
    const messages = await consumer.consume({ max_messages: 2_000 })
    this.#messages = messages
    this.#watchStream(messages, made).catch(() => undefined)
    // Not awaited: it closes when it is read.
    if (this.#stop.signal.aborted) messages.close().catch(() => undefined)
    const over = new AbortController()
    this.#awaitEnd(consumer, end, reach, over.signal).catch(() => undefined)
    try {
      const prefix = this.#bucket.subject('').length
      for await (const message of messages) {
        if (++end.told % changesAtOnce === 0) await nextTurn()
        const operation = message.headers?.get('KV-Operation') ?? ''
        const expired = (message.headers?.get('Nats-Marker-Reason') ?? '') !== ''
        const removed = operation === 'DEL' || operation === 'PURGE' || expired
        this.#watcher.onChange({ key: message.subject.slice(prefix), removed, seq: message.seq })
        if (message.info.pending === 0) reach()
      }
    } finally {
      over.abort()
    }
  }

  /** The end by the consumer's position: counts include messages that cannot be read, and never come. */
  async #awaitEnd(
    consumer: Consumer,
    end: { readonly told: number; readonly reached: boolean },
    reach: () => void,
    signal: AbortSignal,
  ): Promise<void> {
    for (let still = 0, before = -1; !end.reached; ) {
      await delay(endEveryMs, undefined, { signal })
      const { num_pending: pending, delivered } = await consumer.info()
      if (end.told < delivered.consumer_seq) continue
      still = end.told === before ? still + 1 : 0
      before = end.told
      if (pending === 0 || still >= stillLooks) reach()
    }
  }
}
