import { mapAhead } from '../lib/streams.ts'
import { publishBatch } from './batch.ts'
import type { Nats } from './connection.ts'
import { directGetFrom, directGetLast, directGetMany, type StoredMessage } from './direct-get.ts'
import { dropKvStream, lookAtStream, makeKvStream, type StreamLook } from './kv-stream.ts'
import { KvWriter } from './kv-writer.ts'
import { kvStream, multiGetSubjectsMax, removalKeptSeconds } from './layout.ts'
import { patiently } from './patience.ts'
import type { Publication } from './publish.ts'
import { TransientError } from './requests.ts'

export interface KvRecord {
  readonly key: string
  readonly value: Buffer
  /** In the bucket's stream: what a compare-and-set goes by. */
  readonly seq: number
  /** The key was there, and is not any more. */
  readonly removed: boolean
  readonly header: (name: string) => string
}

export interface KvOptions {
  readonly replicas: number
  readonly waitMs: number
  readonly description: string
  /** Undefined = for ever. */
  readonly keptSeconds?: number
}

const leaderGetsAhead = 15
const pageBytesMax = 4 * 1024 * 1024
const neverAborted = new AbortController().signal

/**
 * A KV bucket (ADR-8), as `nats kv` shows it, read by Direct Get and written by publishes of our own: no consumer and no
 * timer per request. Where there are replicas it is read at the leader, because a follower may lag behind.
 * Every method waits out an outage of `waitMs`, then throws AppError STORE_UNAVAILABLE.
 */
export class KvBucket {
  readonly stream: string
  /** It was not there when it was opened: whatever it held is gone. */
  #made = false
  readonly #prefix: string
  readonly #nats: Nats
  readonly #options: KvOptions
  readonly #writer: KvWriter

  private constructor(nats: Nats, bucket: string, options: KvOptions) {
    this.stream = kvStream(bucket)
    this.#prefix = `$KV.${bucket}.`
    this.#nats = nats
    this.#options = options
    this.#writer = new KvWriter(nats)
  }

  /** Made where it is missing. */
  static async open(nats: Nats, bucket: string, options: KvOptions): Promise<KvBucket> {
    const kv = new KvBucket(nats, bucket, options)
    kv.#made = await kv.make()
    return kv
  }

  /** Without a look whether it is there. */
  static handle(nats: Nats, bucket: string, options: KvOptions): KvBucket {
    return new KvBucket(nats, bucket, options)
  }

  /** @throws AppError STORE_UNAVAILABLE */
  async exists(): Promise<boolean> {
    return (await this.look()) !== undefined
  }

  /** Undefined when it is not there. @throws AppError STORE_UNAVAILABLE */
  look(): Promise<StreamLook | undefined> {
    return this.#patiently(neverAborted, () => lookAtStream(this.#nats, this.stream))
  }

  get made(): boolean {
    return this.#made
  }

  /** @returns whether it was missing @throws AppError STORE_UNAVAILABLE */
  make(): Promise<boolean> {
    return makeKvStream(this.#nats, this.stream, `${this.#prefix}>`, this.#options)
  }

  /** Drops all of it, of every space, and makes it anew, empty. Watches begin again by themselves. @throws as `make` */
  async remake(): Promise<void> {
    await dropKvStream(this.#nats, this.stream)
    await this.make()
  }

  /** The subject of a key, or of many where it has wildcards. */
  subject(key: string): string {
    return this.#prefix + key
  }

  /** Undefined when the key was never there. */
  get(key: string, signal: AbortSignal = neverAborted): Promise<KvRecord | undefined> {
    return this.#patiently(signal, async () => {
      const message =
        this.#options.replicas > 1
          ? await this.#atLeader({ last_by_subj: this.subject(key) })
          : await directGetLast(this.#nats.log.requests, this.stream, this.subject(key))
      return message === undefined ? undefined : this.#record(message)
    })
  }

  /**
   * What is there of `keys`, by key; also what was removed. In batches and for showing: a follower answers, so a value may be
   * some milliseconds old, but what it lacks is asked for at the leader. Whoever decides by it asks `getEach`.
   */
  async getMany(keys: readonly string[], signal: AbortSignal = neverAborted): Promise<Map<string, KvRecord>> {
    const found = await this.#lastOfAll(keys, signal)
    if (this.#options.replicas === 1) return found
    const lacking = keys.filter((key) => !found.has(key))
    for (const [key, record] of await this.getEach(lacking, signal)) found.set(key, record)
    return found
  }

  /** As `getMany`, each as it is now: with replicas the leader is asked for one after the other. */
  async getEach(keys: readonly string[], signal: AbortSignal = neverAborted): Promise<Map<string, KvRecord>> {
    if (this.#options.replicas === 1) return this.#lastOfAll(keys, signal)
    const found = new Map<string, KvRecord>()
    for await (const record of mapAhead(keys, leaderGetsAhead, (key) => this.get(key, signal))) {
      if (record !== undefined) found.set(record.key, record)
    }
    return found
  }

  async #lastOfAll(keys: readonly string[], signal: AbortSignal): Promise<Map<string, KvRecord>> {
    const slices: (readonly string[])[] = []
    for (let at = 0; at < keys.length; at += multiGetSubjectsMax) slices.push(keys.slice(at, at + multiGetSubjectsMax))
    const pages = await Promise.all(slices.map((slice) => this.#lastOfMany(slice, signal)))
    return new Map(pages.flat().map((record) => [record.key, record]))
  }

  /** All keys on a filter with wildcards, removed ones left out. */
  async getMatching(filter: string, signal: AbortSignal = neverAborted): Promise<KvRecord[]> {
    const records: KvRecord[] = []
    for await (const page of this.matching(filter, signal)) for (const record of page) records.push(record)
    return records
  }

  /** As `getMatching`, in pages: for whoever may stop after the first ones. */
  async *matching(
    filter: string,
    signal: AbortSignal,
    pageMax: number = multiGetSubjectsMax,
  ): AsyncGenerator<readonly KvRecord[]> {
    const strict = this.#options.replicas > 1
    const pages = strict ? this.#scanAtLeader(filter, signal) : this.#scan(filter, signal, pageMax)
    for await (const page of pages) yield page.filter(({ removed }) => !removed)
  }

  /**
   * `value` undefined = removes the key.
   * @returns the sequence; undefined when the key's last sequence is not `lastSequence` (0 = never there)
   */
  write(key: string, value: Buffer | undefined, lastSequence: number, headers: Record<string, string> = {}) {
    return this.#patiently(neverAborted, () => {
      const publication = { ...this.publication(key, value, headers), expectedLastSequence: lastSequence }
      return this.#writer.write(publication)
    })
  }

  /** Without looking at what is there: all of it or nothing, 500 at the most. @returns the sequence of the last one */
  writeAll(entries: readonly (readonly [key: string, value: Buffer])[]): Promise<number> {
    const publications = entries.map(([key, value]) => this.publication(key, value, {}))
    const { channel, requests } = this.#nats.log
    return this.#patiently(neverAborted, async () => (await publishBatch(channel, requests, publications)).seq)
  }

  /** Removes all messages on a filter, and leaves no trace of them. */
  purge(filter: string): Promise<void> {
    return this.#patiently(neverAborted, async () => {
      try {
        await this.#nats.jsm.streams.purge(this.stream, { filter: this.subject(filter) })
      } catch (cause) {
        throw new TransientError(`cannot purge ${this.stream}`, { cause })
      }
    })
  }

  publication(key: string, value: Buffer | undefined, headers: Record<string, string>): Publication {
    // No roll-up: there is one message a key anyway.
    const removal = { 'KV-Operation': 'DEL', 'Nats-TTL': `${removalKeptSeconds}s` }
    const all = value === undefined ? { ...removal, ...headers } : headers
    return { subject: this.subject(key), payload: value ?? Buffer.alloc(0), headers: all }
  }

  async #lastOfMany(keys: readonly string[], signal: AbortSignal): Promise<KvRecord[]> {
    const subjects = keys.map((key) => this.subject(key))
    return this.#patiently(signal, async () => {
      const records: KvRecord[] = []
      const { requests } = this.#nats.log
      let from: Awaited<ReturnType<typeof directGetMany>>['next']
      do {
        const { messages, next } = await directGetMany(requests, this.stream, subjects, pageBytesMax, from)
        for (const message of messages) records.push(this.#record(message))
        from = next
      } while (from !== undefined)
      return records
    })
  }

  /** All keys in the order of their last change, from this sequence of the bucket on; removed ones too. */
  scan(fromSeq: number, signal: AbortSignal): AsyncGenerator<readonly KvRecord[]> {
    return this.#scan('>', signal, multiGetSubjectsMax, fromSeq)
  }

  /** Not multi_last, which ends at 1,024 subjects: a key has one message, so all messages are the last ones. */
  async *#scan(filter: string, signal: AbortSignal, pageMax: number, fromSeq = 1): AsyncGenerator<KvRecord[]> {
    for (let from = fromSeq; ; ) {
      const at = from
      const { messages, next } = await this.#patiently(signal, () =>
        directGetFrom(this.#nats.log.requests, this.stream, this.subject(filter), at, pageMax),
      )
      yield messages.map((message) => this.#record(message))
      const last = messages.at(-1)
      if (last === undefined || (next === undefined && messages.length < pageMax)) return
      from = last.seq + 1
    }
  }

  async *#scanAtLeader(filter: string, signal: AbortSignal): AsyncGenerator<KvRecord[]> {
    for (let seq = 1; ; ) {
      const query = { seq, next_by_subj: this.subject(filter) }
      const message = await this.#patiently(signal, () => this.#atLeader(query))
      if (message === undefined) return
      yield [this.#record(message)]
      seq = message.seq + 1
    }
  }

  async #atLeader(query: { last_by_subj: string } | { seq: number; next_by_subj: string }) {
    try {
      const message = await this.#nats.jsm.streams.getMessage(this.stream, query)
      if (message === null) return undefined
      const { subject, seq, data, header } = message
      return { subject, seq, data: Buffer.from(data), header: (name: string) => header?.get(name) ?? '' }
    } catch (cause) {
      throw new TransientError(`the leader of ${this.stream} does not answer`, { cause })
    }
  }

  #record({ subject, seq, data, header }: StoredMessage): KvRecord {
    const operation = header('KV-Operation')
    const removed = operation === 'PURGE' || operation === 'DEL' || header('Nats-Marker-Reason') !== ''
    return { key: subject.slice(this.#prefix.length), value: data, seq, removed, header }
  }

  #patiently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return patiently(this.#options.waitMs, signal, work)
  }
}
