import type { EventSource } from '../events/envelope.ts'
import type { Expectation } from '../events/log.ts'
import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { type IpnsEffect, type IpnsEntry, ipnsBytes, ipnsKey } from './ipns-entry.ts'
import { readMessage } from './name-fold.ts'
import type { NameList } from './name-list.ts'
import { writeRevision } from './revisioned.ts'
import { alwaysWhole, type Wholeness } from './wholeness.ts'

/** How an IPNS name stands at the end of the log. */
export interface IpnsHead {
  readonly name: string
  /** Of its last event; undefined when it has none. */
  readonly last: IpnsEffect | undefined
  /** For the next event: nobody came between. */
  readonly expect: Expectation
}

/** IPNS records and DNSLinks: a projection of the event log, and the log's view of one name. */
export class IpnsIndex {
  readonly list: NameList
  readonly #bucket: KvBucket
  readonly #reader: LogReader
  readonly #source: EventSource

  readonly #during: Wholeness['during']

  /** @param during refuses while the index may not be asked */
  constructor(
    bucket: KvBucket,
    list: NameList,
    reader: LogReader,
    source: EventSource,
    during: Wholeness['during'] = alwaysWhole.during,
  ) {
    this.#during = during
    this.#bucket = bucket
    this.list = list
    this.#reader = reader
    this.#source = source
  }

  async get(name: string, signal: AbortSignal): Promise<IpnsEntry | undefined> {
    const key = this.#key(ipnsKey(name))
    const record = await this.#during('ipns', () => this.#bucket.get(key, signal))
    return record === undefined ? undefined : entryOf(record)
  }

  /** Those that exist, in the order of `names`; for showing them (see `KvBucket.getMany`). */
  async getMany(names: readonly string[], signal: AbortSignal): Promise<IpnsEntry[]> {
    return this.#entries(names, (keys) => this.#bucket.getMany(keys, signal))
  }

  /** As `getMany`, as they are now. */
  async getEach(names: readonly string[], signal: AbortSignal): Promise<IpnsEntry[]> {
    return this.#entries(names, (keys) => this.#bucket.getEach(keys, signal))
  }

  async #entries(
    names: readonly string[],
    read: (keys: readonly string[]) => Promise<Map<string, KvRecord>>,
  ): Promise<IpnsEntry[]> {
    const keys = names.map((name) => this.#key(ipnsKey(name)))
    const records = await this.#during('ipns', () => read(keys))
    return keys.flatMap((key) => {
      const record = records.get(key)
      return (record === undefined ? undefined : entryOf(record)) ?? []
    })
  }

  /** One token after the verb: failures (`<key>.!`) and other names do not match. */
  filter(name: string): string {
    return `${this.#source.domain}.evt.*.${this.#source.space}.ipns.*.${ipnsKey(name)}`
  }

  async head(name: string, signal: AbortSignal): Promise<IpnsHead> {
    const filter = this.filter(name)
    const messages = await this.#reader.last([filter], signal)
    const newest = messages.sort((a, b) => a.sequence - b.sequence).at(-1)
    const expect = { filter, lastSequence: newest?.sequence ?? 0 }
    if (newest === undefined) return { name, last: undefined, expect }
    const last = messages.every((message) => effectOf(message) !== undefined)
      ? effectOf(newest)
      : await this.#lastReadable(filter, signal)
    return { name, last, expect }
  }

  async apply({ key, name, revision, entry }: IpnsEffect): Promise<void> {
    const value = entry === null ? undefined : ipnsBytes(entry)
    const { seq } = await writeRevision(this.#bucket, this.#key(key), revision, value)
    if (seq !== undefined) this.list.wrote(name, entry !== null, seq)
  }

  /** What is no event of ours hides the one before it on its subject. */
  async #lastReadable(filter: string, signal: AbortSignal): Promise<IpnsEffect | undefined> {
    let last: IpnsEffect | undefined
    for await (const message of this.#reader.from(filter, 1, signal)) last = effectOf(message) ?? last
    return last
  }

  #key(key: string): string {
    return `${this.#source.space}.${key}`
  }
}

function effectOf(message: Parameters<typeof readMessage>[0]): IpnsEffect | undefined {
  const [effect] = readMessage(message)?.effects ?? []
  return effect?.kind === 'ipns' ? effect : undefined
}

/** Undefined for what was removed, and for what is no entry of ours. */
function entryOf({ value, removed }: KvRecord): IpnsEntry | undefined {
  if (removed) return undefined
  try {
    const entry = JSON.parse(value.toString('utf8')) as Partial<IpnsEntry> | null
    const whole =
      typeof entry?.name === 'string' && typeof entry.value === 'string' && typeof entry.revision === 'number'
    return whole ? (entry as IpnsEntry) : undefined
  } catch {
    return undefined
  }
}
