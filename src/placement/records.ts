import { setTimeout as delay } from 'node:timers/promises'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { KvWatch } from '../nats/kv-watch.ts'

const retryMs = 500

/**
 * The values of a few keys of a bucket in memory, kept up by a watch: for what is small and asked all the time. What another
 * node wrote is seen some milliseconds later.
 */
export class Records<T> {
  readonly #bucket: KvBucket
  readonly #records = new Map<string, { readonly seq: number; readonly value: T }>()
  readonly #watch: KvWatch
  readonly #onChange: () => void
  readonly #stop = new AbortController()
  #reading: Promise<unknown> = Promise.resolve()
  #isReady = false

  /** @param filter of the bucket's keys, with wildcards */
  constructor(nats: Nats, bucket: KvBucket, filter: string, onChange: () => void) {
    this.#bucket = bucket
    this.#onChange = onChange
    this.#watch = new KvWatch(nats, bucket, filter, {
      onBegin: () => undefined,
      onChange: ({ key }) => {
        this.#reading = this.#reading.then(() => this.#read(key))
      },
      onCaughtUp: () => {
        this.#reading = this.#reading.then(() => {
          this.#isReady = true
        })
      },
    })
  }

  /** What was there at the start is known: nobody may act on less. */
  get isReady(): boolean {
    return this.#isReady
  }

  /** In the order of their keys. */
  get all(): readonly T[] {
    return [...this.#records].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { value }]) => value)
  }

  get(key: string): T | undefined {
    return this.#records.get(key)?.value
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#watch.close()
    await this.#reading
  }

  /** The watch tells of each change once: it is read until it was read. */
  async #read(key: string): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        const record = await this.#bucket.get(key, signal)
        if (record === undefined || record.removed) this.#records.delete(key)
        else this.#records.set(key, { seq: record.seq, value: JSON.parse(record.value.toString('utf8')) as T })
        this.#onChange()
        return
      } catch (error) {
        // Not of ours: the log writes it again.
        if (error instanceof SyntaxError) return
        await delay(retryMs, undefined, { signal }).catch(() => undefined)
      }
    }
  }
}
