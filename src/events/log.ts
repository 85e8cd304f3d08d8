import { setTimeout as delay } from 'node:timers/promises'
import { AppError, isAppError } from '../errors.ts'
import { publishBatch } from '../nats/batch.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetFrom } from '../nats/direct-get.ts'
import { eventsPerBatchMax } from '../nats/layout.ts'
import { messagesAtLeader } from '../nats/leader-get.ts'
import { digestOf } from '../nats/log-identity.ts'
import { isDuplicate, isTransient, isUnderWay, isWrongLastSequence, type Publication } from '../nats/publish.ts'
import { refusedWrite } from '../nats/refusal.ts'
import type { Encoded } from './envelope.ts'

/** What has to be true of the log for an event to be taken: the last event on `filter` (wildcards allowed) has this sequence. */
export interface Expectation {
  readonly filter: string
  /** 0 = there is none yet. */
  readonly lastSequence: number
}

export interface Append {
  readonly event: Encoded
  readonly expect?: Expectation
}

interface Commit {
  readonly appends: readonly Append[]
  readonly resolve: (sequences: number[]) => void
  readonly reject: (error: unknown) => void
}

/** Events on their way into the log. */
interface Attempt {
  readonly appends: readonly Append[]
  /** Then it is given up; for all commits of a group alike. */
  readonly endMs: number
  /** An earlier try was perhaps taken, and only its acknowledgement lost. */
  mayBeTaken: boolean
}

const longestPauseMs = 500

/** Subjects of events that people add with, of which there may be ever more. Copies and failures follow from them. */
const adds = /^[^.]+\.evt\.[^.]+\.[^.]+\.(?:object\.(?:added|imported|restored)|name\.set|ipns\.published)\./

/** What knows whether the log may be written, and hears what was. */
export interface AppendGuard {
  readonly tip: number
  throwIfDamaged(): void
  taken(before: number, first: number, last: number, digest: () => string): void
}

export interface EventLogOptions {
  /** Without one the log is written whatever is wrong with it. */
  readonly guard?: AppendGuard
  /** Why nothing may be added now, where it may not; what removes something is always taken. */
  readonly refusal?: () => AppError | undefined
}

/**
 * The event log of a site: append-only, and the truth that all indexes are folded from.
 *
 * Group commit: while one batch is with the server, commits gather for the next, so that concurrent requests share one fsync.
 * A batch that is refused for one of them goes again commit by commit, so a lost compare-and-set hurts only its own request.
 */
export class EventLog {
  readonly #nats: Nats
  readonly #stream: string
  readonly #waitMs: number
  readonly #guard: AppendGuard | undefined
  readonly #refusal: () => AppError | undefined
  readonly #queue: Commit[] = []
  #sending: Promise<void> | undefined

  constructor(nats: Nats, stream: string, waitMs: number, { guard, refusal = () => undefined }: EventLogOptions = {}) {
    this.#nats = nats
    this.#stream = stream
    this.#waitMs = waitMs
    this.#guard = guard
    this.#refusal = refusal
  }

  get stream(): string {
    return this.#stream
  }

  /**
   * Appends all of it or nothing; resolves once it is durable. None of it may expect something of a subject that an event before
   * it is on: the server takes that for under way, for ever.
   * @returns the stream sequence of each event, in their order
   * @throws AppError REVISION_CONFLICT (an expectation did not hold), COMMAND_REPEATED (an event of that id is in the log),
   * LOG_DAMAGED, STORE_FULL, STORE_UNAVAILABLE (unknown whether it was taken: ask again with the same ids)
   */
  append(appends: readonly Append[]): Promise<number[]> {
    if (appends.length === 0 || appends.length > eventsPerBatchMax) {
      return Promise.reject(new RangeError(`${appends.length} events in one commit`))
    }
    const refusal = appends.some(({ event }) => adds.test(event.natsSubject)) ? this.#refusal() : undefined
    if (refusal !== undefined) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      this.#queue.push({ appends, resolve, reject })
      // After this turn's I/O, so that requests which arrive together leave together.
      this.#sending ??= new Promise((next) => setImmediate(next)).then(() => this.#drain())
    })
  }

  /** Before work that ends in an append. @throws AppError LOG_DAMAGED */
  throwIfDamaged(): void {
    this.#guard?.throwIfDamaged()
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) await this.#sendGroup(this.#take(), performance.now() + this.#waitMs)
    this.#sending = undefined
  }

  /** As many as fit a batch; of those that expect something of one subject only the first, as the server asks. */
  #take(): Commit[] {
    const taken: Commit[] = []
    const filters = new Set<string>()
    let events = 0
    for (const commit of this.#queue) {
      if (events + commit.appends.length > eventsPerBatchMax) break
      const own = commit.appends.flatMap(({ expect }) => (expect === undefined ? [] : [expect.filter]))
      if (own.some((filter) => filters.has(filter))) break
      for (const filter of own) filters.add(filter)
      events += commit.appends.length
      taken.push(commit)
    }
    this.#queue.splice(0, taken.length)
    return taken
  }

  async #sendGroup(commits: readonly Commit[], endMs: number): Promise<void> {
    const attempt: Attempt = { appends: commits.flatMap(({ appends }) => appends), endMs, mayBeTaken: false }
    try {
      settle(commits, await this.#send(attempt, commits.length === 1))
    } catch (error) {
      if (commits.length === 1 || isAppError(error)) {
        for (const { reject } of commits) reject(failureOf(error))
        return
      }
      const { mayBeTaken } = attempt
      const each = commits.map((commit) => ({ commit, attempt: { appends: commit.appends, endMs, mayBeTaken } }))
      const later: typeof each = []
      for (const one of each) if (!(await this.#sendAlone(one.commit, one.attempt, false))) later.push(one)
      // What is under way for one of them must not hold up the others.
      for (const one of later) await this.#sendAlone(one.commit, one.attempt, true)
    }
  }

  /** Of a group that was refused. @returns false = not `patient`, and something is under way on its subjects */
  async #sendAlone(commit: Commit, attempt: Attempt, patient: boolean): Promise<boolean> {
    try {
      settle([commit], await this.#send(attempt, patient))
    } catch (error) {
      if (!patient && isUnderWay(error)) return false
      commit.reject(failureOf(error))
    }
    return true
  }

  /** @param patient what is under way on its subjects is waited for @throws JetStreamRefusal | AppError STORE_UNAVAILABLE */
  async #send(attempt: Attempt, patient: boolean): Promise<number[]> {
    const publications = attempt.appends.map(publicationOf)
    for (let pauseMs = 10; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        return await this.#sendOnce(attempt, publications)
      } catch (error) {
        if (!isTransient(error) || (isUnderWay(error) && !patient)) throw error
        if (performance.now() + pauseMs > attempt.endMs) {
          throw new AppError('STORE_UNAVAILABLE', 'the event log does not answer', { cause: error })
        }
        // What is under way is perhaps our own, of an earlier try; by itself it says nothing of this one, which was refused.
        if (!isUnderWay(error)) attempt.mayBeTaken = true
        await delay(pauseMs)
      }
    }
  }

  async #sendOnce({ appends, mayBeTaken }: Attempt, publications: readonly Publication[]): Promise<number[]> {
    try {
      const { channel, requests } = this.#nats.log
      this.#guard?.throwIfDamaged()
      const before = this.#guard?.tip ?? 0
      const { seq } = await publishBatch(channel, requests, publications)
      const newest = appends.at(-1)?.event
      if (newest !== undefined) {
        const digest = () => digestOf(newest.natsSubject, newest.payload)
        this.#guard?.taken(before, seq - appends.length + 1, seq, digest)
      }
      return appends.map((_, index) => seq - (appends.length - 1 - index))
    } catch (error) {
      const found =
        mayBeTaken && (isDuplicate(error) || isWrongLastSequence(error)) ? await this.#find(appends) : undefined
      if (found === undefined) throw error
      return found
    }
  }

  /** The sequences of these very events, if the log has them all. */
  async #find(appends: readonly Append[]): Promise<number[] | undefined> {
    const sequences: number[] = []
    for (const { event } of appends) {
      const seq = await this.sequenceOf(event.id, event.natsSubject)
      if (seq === undefined) return undefined
      sequences.push(seq)
    }
    return sequences
  }

  /**
   * The sequence of the event with this id on this subject; undefined when the log has none. A follower answers first, and
   * what it lacks is asked for at the leader.
   * @throws TransientError
   */
  async sequenceOf(id: string, natsSubject: string): Promise<number | undefined> {
    const needle = `"id":"${id}"`
    let from = 1
    for (;;) {
      const { messages } = await directGetFrom(this.#nats.log.requests, this.#stream, natsSubject, from, 256)
      for (const { data, seq } of messages) if (data.includes(needle)) return seq
      const last = messages.at(-1)
      if (last === undefined) break
      from = last.seq + 1
    }
    for await (const { data, seq } of messagesAtLeader(this.#nats, this.#stream, natsSubject, from)) {
      if (Buffer.from(data).includes(needle)) return seq
    }
    return undefined
  }
}

/** @param sequences of all their events, in their order */
function settle(commits: readonly Commit[], sequences: readonly number[]): void {
  let at = 0
  for (const { appends, resolve } of commits) {
    resolve(sequences.slice(at, at + appends.length))
    at += appends.length
  }
}

function publicationOf({ event, expect }: Append): Publication {
  return {
    subject: event.natsSubject,
    payload: event.payload,
    headers: {
      // With its site: other logs take up the event with this header, and a log drops what has an id of the last minutes, also
      // where two sites that did not hear each other have both carried out the same command.
      'Nats-Msg-Id': `${siteOf(event)}:${event.id}`,
      'Content-Type': 'application/cloudevents+json',
      ...(expect === undefined
        ? {}
        : {
            'Nats-Expected-Last-Subject-Sequence': String(expect.lastSequence),
            'Nats-Expected-Last-Subject-Sequence-Subject': expect.filter,
          }),
    },
  }
}

const siteOf = ({ natsSubject }: Encoded): string => natsSubject.split('.', 3)[2] ?? ''

function failureOf(error: unknown): unknown {
  if (isWrongLastSequence(error)) {
    return new AppError('REVISION_CONFLICT', 'somebody else changed it meanwhile', {
      cause: error,
      hint: 'read it again and decide anew',
    })
  }
  if (isDuplicate(error))
    return new AppError('COMMAND_REPEATED', 'this command was carried out before', { cause: error })
  return refusedWrite(error) ?? error
}
