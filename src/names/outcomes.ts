import type { EventSource } from '../events/envelope.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { keyToken } from './name.ts'
import { type CommandTrace, type LogMessage, readMessage } from './name-fold.ts'

/** Twice the server's duplicate window: how far back a command is looked for in the log itself. */
const recentMs = 4 * 60_000

/** Where in the log the events of a command are: by its id, for as long as the bucket keeps them. */
export class Outcomes {
  readonly #bucket: KvBucket
  readonly #reader: LogReader
  readonly #source: EventSource

  constructor(bucket: KvBucket, reader: LogReader, source: EventSource) {
    this.#bucket = bucket
    this.#reader = reader
    this.#source = source
  }

  /** The events of the command that had this id. */
  async find(id: string, signal: AbortSignal): Promise<LogMessage[] | undefined> {
    const record = await this.#bucket.get(this.#key(id), signal)
    if (record === undefined || record.removed) return undefined
    const trace = JSON.parse(record.value.toString('utf8')) as Omit<CommandTrace, 'id'>
    return this.#events(trace.sequence, trace.events, signal)
  }

  /**
   * For what the projector may not have seen yet: looks through the last minutes of these subjects.
   * @param filters of subjects that one of the command's events is on
   */
  async findRecent(id: string, filters: readonly string[], signal: AbortSignal): Promise<LogMessage[] | undefined> {
    const since = new Date(Date.now() - recentMs)
    for (const filter of filters) {
      for await (const message of this.#reader.since(filter, since, signal)) {
        const event = readMessage(message)?.event
        if (event === undefined) continue
        const { command, part } = event.data
        const isPart = command === id && typeof part === 'number'
        if (event.id !== id && !isPart) continue
        // Those of another site need not lie side by side here: the projector knows them by their first.
        if (isPart && siteOf(message) !== this.#source.site) continue
        const first = message.sequence - (isPart ? part : 0)
        return this.#events(first, undefined, signal)
      }
    }
    return undefined
  }

  /** 500 at the most. */
  async record(traces: readonly CommandTrace[]): Promise<void> {
    if (traces.length === 0) return
    const entries = traces.map(({ id, ...trace }) => [this.#key(id), Buffer.from(JSON.stringify(trace))] as const)
    await this.#bucket.writeAll(entries)
  }

  /**
   * The first event of a commit says how many they are. They lie side by side; where they came from another site, events of
   * others may lie between.
   */
  async #events(first: number, count: number | undefined, signal: AbortSignal): Promise<LogMessage[] | undefined> {
    const messages: LogMessage[] = []
    let expected = count
    for await (const message of this.#reader.from(`${this.#source.domain}.evt.>`, first, signal)) {
      const [begin] = messages
      if (begin === undefined ? message.sequence !== first : siteOf(message) !== siteOf(begin)) {
        if (begin === undefined) return undefined
        continue
      }
      messages.push(message)
      expected ??= readMessage(message)?.command?.events ?? 0
      if (messages.length >= expected) return messages
    }
    return undefined
  }

  #key(id: string): string {
    return `${this.#source.space}.${keyToken(id)}`
  }
}

const siteOf = ({ subject }: LogMessage): string => subject.split('.', 3)[2] ?? ''
