import { AppError } from '../errors.ts'
import type { EventSource } from '../events/envelope.ts'
import type { Expectation } from '../events/log.ts'
import { pause } from '../lib/pause.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { nameKey, type Version } from './name.ts'
import type { NameEntry, NameVersion } from './name-entry.ts'
import { type LogMessage, linked, readMessage } from './name-fold.ts'
import { areRooted, standingOf, versionsUntil } from './name-heads.ts'

/** How a name stands at the end of the log. */
export interface Head {
  readonly name: string
  /** How it stands after its last event; undefined when it has none. */
  readonly version: NameVersion | undefined
  /** For the next event of the name: nobody came between. */
  readonly expect: Expectation
}

/** What the index has, to begin with where the whole life of a name would have to be read. */
export type KnownEntry = (name: string, signal: AbortSignal) => Promise<NameEntry | undefined>

const versionsMax = 100_000
/** Of `<d>.evt.<site>.<space>.name.<verb>.<key>`. */
const siteAt = 2
const keyAt = 6
/** Each has a subject for set and one for removed at each site, and multi_last ends at 1,024. */
const headsAtOnce = 128
const looksMax = 100
const lookAgainMs = 50

/** The life of names, from the event log itself. A name's filter has as many tokens as its key: no other name matches. */
export class NameLog {
  readonly #reader: LogReader
  readonly #source: EventSource
  readonly #known: KnownEntry

  constructor(reader: LogReader, source: EventSource, known: KnownEntry) {
    this.#reader = reader
    this.#source = source
    this.#known = known
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
    if (newest === undefined) {
      return { name, version: undefined, expect: { filter: this.filter(name), lastSequence: 0 } }
    }
    // An event of our own site replaces all that stood in our log: the compare-and-set sees to it. And the events of one site
    // follow each other. Only what came from elsewhere may stand beside something else.
    const isAlone = this.#reader.tellsAllSubjects && messages.every((message) => siteOf(message) === siteOf(newest))
    const isPlain = siteOf(newest) === this.#source.site || isAlone
    // What is no event of ours hides the one before it on its subject.
    const isReadable = messages.every((message) => versionOf(message) !== undefined)
    const version = isPlain && isReadable ? versionOf(newest) : standingOf(await this.#life(name, newest, signal))
    const lastSequence = Math.max(newest.sequence, version?.revision ?? 0)
    return { name, version, expect: { filter: this.filter(name), lastSequence } }
  }

  /** As much of the name's events as tells how it stands, up to `newest` at least. */
  async #life(name: string, newest: LogMessage, signal: AbortSignal): Promise<readonly NameVersion[]> {
    for (let looks = 0; looks < looksMax; looks++) {
      const known = await this.#known(name, signal)
      const recent =
        known === undefined || known.heads !== undefined ? [] : await this.#from(name, known.revision, signal)
      const [first] = recent
      const isKnown = first?.revision === known?.revision && first?.cid === known?.cid && first?.time === known?.time
      const versions = first !== undefined && isKnown && areRooted(recent) ? recent : await this.history(name, signal)
      // A replica of the log that lags behind has less of it.
      if (versionOf(newest) === undefined || (versions.at(-1)?.revision ?? 0) >= newest.sequence) return versions
      await pause(lookAgainMs, signal)
    }
    throw new AppError('STORE_UNAVAILABLE', 'the event log is behind itself')
  }

  /** Oldest first; those of all sites, in the order of our log. @throws AppError LIMIT_EXCEEDED */
  history(name: string, signal: AbortSignal): Promise<NameVersion[]> {
    return this.#from(name, 1, signal)
  }

  /** Some of the history, oldest first: those after revision `after`. `next` is the last of them, where more may come. */
  async historyPage(
    name: string,
    { after, limit, signal }: { readonly after: number; readonly limit: number; readonly signal: AbortSignal },
  ): Promise<{ readonly versions: readonly NameVersion[]; readonly next?: number }> {
    const versions: NameVersion[] = []
    for await (const message of this.#reader.from(this.filter(name), after + 1, signal)) {
      const version = versionOf(message)
      if (version === undefined) continue
      const last = versions.at(-1)
      if (last !== undefined && versions.length === limit) return { versions, next: last.revision }
      versions.push(version)
    }
    return { versions }
  }

  async #from(name: string, sequence: number, signal: AbortSignal): Promise<NameVersion[]> {
    const versions: NameVersion[] = []
    for await (const message of this.#reader.from(this.filter(name), sequence, signal)) {
      const version = versionOf(message)
      if (version === undefined) continue
      versions.push(version)
      if (versions.length > versionsMax) throw new AppError('LIMIT_EXCEEDED', `more than ${versionsMax} versions`)
    }
    return versions
  }

  /**
   * As the name stood: after the event of this revision, or by all events whose time is not after `time`. Undefined when there
   * is none; a `removed` one where the name was removed.
   */
  async versionAt(name: string, version: Version, signal: AbortSignal): Promise<NameVersion | undefined> {
    if ('time' in version) return standingOf(versionsUntil(await this.history(name, signal), version.time))
    const { revision } = version
    for await (const message of this.#reader.from(this.filter(name), revision, signal)) {
      const found = message.sequence === revision ? versionOf(message) : undefined
      if (found === undefined || found.site === this.#source.site) return found
      break
    }
    const history = await this.history(name, signal)
    const until = history.filter((one) => one.revision <= revision)
    return until.at(-1)?.revision === revision ? standingOf(until) : undefined
  }
}

const siteOf = ({ subject }: LogMessage): string => subject.split('.', siteAt + 1)[siteAt] ?? ''

function versionOf(message: LogMessage): NameVersion | undefined {
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
    site: effect.site,
    parents: effect.parents,
  }
}
