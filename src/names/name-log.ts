import { AppError } from '../errors.ts'
import type { EventSource } from '../events/envelope.ts'
import type { Expectation } from '../events/log.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { nameKey, type Version } from './name.ts'
import type { NameVersion } from './name-entry.ts'
import { type LogMessage, linked, readMessage } from './name-fold.ts'

/** How a name stands at the end of the log. */
export interface Head {
  readonly name: string
  /** The last event of the name; undefined when it has none. */
  readonly version: NameVersion | undefined
  /** For the next event of the name: nobody came between. */
  readonly expect: Expectation
}

const versionsMax = 100_000
/** Of `<d>.evt.<site>.<space>.name.<verb>.<key>`. */
const keyAt = 6
/** Each has a subject for set and one for removed at each site, and multi_last ends at 1,024. */
const headsAtOnce = 128

/** The life of names, from the event log itself. A name's filter has as many tokens as its key: no other name matches. */
export class NameLog {
  readonly #reader: LogReader
  readonly #source: EventSource

  constructor(reader: LogReader, source: EventSource) {
    this.#reader = reader
    this.#source = source
  }

  filter(name: string): string {
    return `${this.#source.domain}.evt.*.${this.#source.space}.name.*.${nameKey(name)}`
  }

  async head(name: string, signal: AbortSignal): Promise<Head> {
    return this.#headOf(name, await this.#reader.last([this.filter(name)], signal), signal)
  }

  /** In the order of `names`, in few requests. */
  async heads(names: readonly string[], signal: AbortSignal): Promise<Head[]> {
    const heads: Promise<Head>[] = []
    for (let at = 0; at < names.length; at += headsAtOnce) {
      const slice = names.slice(at, at + headsAtOnce)
      const messages = await this.#reader.last(
        slice.map((name) => this.filter(name)),
        signal,
      )
      const byKey = new Map<string, LogMessage[]>()
      for (const message of messages) {
        const key = message.subject.split('.').slice(keyAt).join('.')
        byKey.set(key, [...(byKey.get(key) ?? []), message])
      }
      for (const name of slice) heads.push(this.#headOf(name, byKey.get(nameKey(name)) ?? [], signal))
    }
    return Promise.all(heads)
  }

  async #headOf(name: string, messages: LogMessage[], signal: AbortSignal): Promise<Head> {
    const newest = messages.sort((a, b) => a.sequence - b.sequence).at(-1)
    const lastSequence = newest?.sequence ?? 0
    // What is no event of ours hides the one before it on its subject.
    const readable = messages.every((message) => versionOf(message) !== undefined)
    const version =
      newest === undefined || readable ? newest && versionOf(newest) : (await this.history(name, signal)).at(-1)
    return { name, version, expect: { filter: this.filter(name), lastSequence } }
  }

  /** Oldest first. @throws AppError LIMIT_EXCEEDED */
  async history(name: string, signal: AbortSignal): Promise<NameVersion[]> {
    const versions: NameVersion[] = []
    for await (const message of this.#reader.from(this.filter(name), 1, signal)) {
      const version = versionOf(message)
      if (version === undefined) continue
      versions.push(version)
      if (versions.length > versionsMax) throw new AppError('LIMIT_EXCEEDED', `more than ${versionsMax} versions`)
    }
    return versions
  }

  /**
   * As the name stood: the revision of this number, or the last one whose time is not after `time`. Undefined when there is
   * none; a `removed` one where the name was removed.
   */
  async versionAt(name: string, version: Version, signal: AbortSignal): Promise<NameVersion | undefined> {
    if ('time' in version) {
      const history = await this.history(name, signal)
      return history.findLast(({ time }) => Date.parse(time) <= version.time.getTime())
    }
    for await (const message of this.#reader.from(this.filter(name), version.revision, signal)) {
      return message.sequence === version.revision ? versionOf(message) : undefined
    }
    return undefined
  }
}

function versionOf(message: Parameters<typeof readMessage>[0]): NameVersion | undefined {
  const reading = readMessage(message)
  const [effect] = reading?.effects ?? []
  if (reading === undefined || effect?.kind !== 'name') return undefined
  const { event } = reading
  const { cid, previous } = event.data
  return {
    revision: message.sequence,
    verb: effect.entry === null ? 'removed' : 'set',
    cid: effect.entry?.cid ?? (cid === undefined || cid === null ? null : linked(cid).toV1().toString()),
    size: effect.entry?.size ?? null,
    mediaType: effect.entry?.mediaType ?? null,
    owner: event.owner,
    time: event.time,
    eventId: event.id,
    previous: typeof previous === 'number' ? previous : 0,
  }
}
