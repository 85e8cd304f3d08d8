import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import type { EventSource } from '../events/envelope.ts'
import { pause } from '../lib/pause.ts'
import { mapAhead } from '../lib/streams.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { type LogMessage, readMessage, rootKey } from './name-fold.ts'
import { type ObjectEffect, type ObjectLife, withEffect } from './object-life.ts'

const verbs = ['added', 'imported', 'deleted'] as const
type Reader = Pick<LogReader, 'last' | 'from' | 'tellsAllSubjects' | 'subjects' | 'isReadable'>

/** Of many roots, asked for at a time. */
const livesAhead = 8
/** Of `<d>.evt.<site>.<space>.object.deleted.<cid>`. */
const keyAt = 6
const looksMax = 100
const lookAgainMs = 50

/** What sites have said of a root, from the event log itself: what is in view leaves nothing in an index. */
export class ObjectLog {
  readonly #reader: Reader
  readonly #source: EventSource

  constructor(reader: Reader, source: EventSource) {
    this.#reader = reader
    this.#source = source
  }

  /**
   * @param heard of this root already: the log is at least as new as they are
   * @throws AppError STORE_UNAVAILABLE; the signal's reason
   */
  async lifeOf(cid: CID, heard: ObjectLife, signal: AbortSignal): Promise<ObjectLife> {
    const last = await this.#reader.last(
      verbs.map((verb) => this.#filter(cid, verb)),
      signal,
    )
    const recent = last.reduce((life, message) => withMessage(life, cid, message), heard)
    // What is no event of ours hides the one before it on its subject.
    const isReadable = last.every((message) => effectsOf(cid, message).length > 0)
    // The events of our own site follow each other: the last one tells. Of other sites the times of all count.
    const isOurs = recent.every(({ site }) => site === this.#source.site)
    if (this.#reader.tellsAllSubjects && isReadable && isOurs) return recent
    for (let looks = 0; looks < looksMax; looks++) {
      let life = heard
      let read = 0
      for await (const message of this.#reader.from(this.#filter(cid, '*'), 1, signal)) {
        life = withMessage(life, cid, message)
        read = message.sequence
      }
      // A replica of the log that lags behind has less of it.
      if (last.every(({ sequence }) => sequence <= read)) return life
      await pause(lookAgainMs, signal)
    }
    throw new AppError('STORE_UNAVAILABLE', 'the event log is behind itself')
  }

  /**
   * Whether all that is known of puts of this root is that a part of it was put (`partial=true`), by the last word of each site; what
   * came otherwise since is not looked at. @throws AppError STORE_UNAVAILABLE; the signal's reason
   */
  async isOnlyPart(cid: CID, signal: AbortSignal): Promise<boolean> {
    const filters = (['added', 'imported'] as const).map((verb) => this.#filter(cid, verb))
    const puts = (await this.#reader.last(filters, signal)).flatMap((message) => readMessage(message)?.event ?? [])
    return puts.length > 0 && puts.every(({ data }) => data.partial === true)
  }

  /**
   * When another site has last said something of these roots, as far as our log knows, RFC 3339: what is said of them now is to
   * be later. Undefined where only this site has.
   */
  async latestElsewhere(cids: readonly CID[], signal: AbortSignal): Promise<string | undefined> {
    const elsewhere: ObjectEffect[] = []
    for await (const life of mapAhead(cids, livesAhead, (cid) => this.lifeOf(cid, [], signal))) {
      elsewhere.push(...life.filter(({ site }) => site !== this.#source.site))
    }
    if (elsewhere.length === 0) return undefined
    return new Date(Math.max(...elsewhere.map(({ atMs }) => atMs))).toISOString()
  }

  /** Every root that was deleted at some time, whatever became of it since, by its `rootKey`. @throws AppError STORE_UNAVAILABLE */
  async everDeleted(signal: AbortSignal): Promise<Map<string, CID>> {
    const { domain, space } = this.#source
    const roots = new Map<string, CID>()
    for (const subject of await this.#reader.subjects(`${domain}.evt.*.${space}.object.deleted.>`, signal)) {
      const cid = cidIn(subject.split('.').slice(keyAt).join('.'))
      if (cid !== undefined) roots.set(rootKey(cid), cid)
    }
    return roots
  }

  /** Whether the log gives the event with this sequence. @throws AppError STORE_UNAVAILABLE */
  isReadable(sequence: number, signal: AbortSignal): Promise<boolean> {
    return this.#reader.isReadable(sequence, signal)
  }

  #filter(cid: CID, verb: string): string {
    const { domain, space } = this.#source
    return `${domain}.evt.*.${space}.object.${verb}.${cid.toV1().toString()}`
  }
}

/** Failures are told on the subject too, below `<key>.!`. */
function cidIn(text: string): CID | undefined {
  try {
    return CID.parse(text)
  } catch {
    return undefined
  }
}

const withMessage = (life: ObjectLife, cid: CID, message: LogMessage): ObjectLife =>
  effectsOf(cid, message).reduce(withEffect, life)

function effectsOf(cid: CID, message: LogMessage): ObjectEffect[] {
  const root = rootKey(cid)
  const effects = readMessage(message)?.effects ?? []
  return effects.flatMap((effect) => (effect.kind === 'object' && effect.root === root ? [effect] : []))
}
