import type { Nats } from './connection.ts'
import { directGetFrom, directGetFromTime, directGetMany, wholeStream } from './direct-get.ts'
import { digestAt } from './log-identity.ts'
import { patiently } from './patience.ts'
import { TransientError } from './requests.ts'

export interface LoggedMessage {
  readonly subject: string
  readonly sequence: number
  readonly payload: Buffer
}

/**
 * `<d>.evt.>` and `<d>.evt.*.<space>.>` (its first group) leave little of most logs out, and to the server each page of them costs
 * as much as the log is long: all is read (`wholeStream`), and the rest left out here. A page of nothing but other spaces ends that.
 */
const nearlyAll = /^[^.*]+\.evt(?:\.\*\.([^.*>]+))?\.>$/

/**
 * Of the first page, for whoever soon has enough; each further one has twice as many. Whatever its size, to the server a page of a
 * filter costs a look over all the stream.
 */
const pageMessages = 256
const pageMessagesMax = 4_096
const lastBytesMax = 4 * 1024 * 1024

/**
 * Reads of the event log. `last` is what a compare-and-set is decided by: where there are replicas the leader answers.
 * All wait out an outage of `waitMs`, then throw AppError STORE_UNAVAILABLE.
 */
export class LogReader {
  readonly #nats: Nats
  readonly #stream: string
  readonly #replicas: number
  readonly #waitMs: number

  constructor(nats: Nats, stream: string, { replicas, waitMs }: { replicas: number; waitMs: number }) {
    this.#nats = nats
    this.#stream = stream
    this.#replicas = replicas
    this.#waitMs = waitMs
  }

  get stream(): string {
    return this.#stream
  }

  /** Whether `last` gives the last message of each subject; else of all subjects of a filter. */
  get tellsAllSubjects(): boolean {
    return this.#replicas === 1
  }

  /** The last message of each subject that a filter matches (of the leader: one a filter). 128 filters at the most. */
  last(filters: readonly string[], signal: AbortSignal): Promise<LoggedMessage[]> {
    return patiently(this.#waitMs, signal, async () => {
      if (this.#replicas > 1) return (await Promise.all(filters.map((filter) => this.#lastAtLeader(filter)))).flat()
      const { messages } = await directGetMany(this.#nats.log.requests, this.#stream, filters, lastBytesMax)
      return messages.map(({ subject, seq, data }) => ({ subject, sequence: seq, payload: data }))
    })
  }

  /** From this sequence on, oldest first, until there is nothing more. */
  async *from(filter: string, sequence: number, signal: AbortSignal): AsyncGenerator<LoggedMessage> {
    const wide = nearlyAll.exec(filter)
    const space = wide?.[1]
    let asked = wide === null ? filter : wholeStream
    let count = pageMessages
    for (let at = sequence; ; count = Math.min(2 * count, pageMessagesMax)) {
      const { messages } = await patiently(this.#waitMs, signal, () =>
        directGetFrom(this.#nats.log.requests, this.#stream, asked, at, count),
      )
      let given = 0
      for (const { subject, seq, data } of messages) {
        if (space !== undefined && subject.split('.', 4)[3] !== space) continue
        given++
        yield { subject, sequence: seq, payload: data }
      }
      const last = messages.at(-1)
      if (last === undefined) return
      if (given === 0) asked = filter
      at = last.seq + 1
    }
  }

  /**
   * All that the log holds, of every space.
   * @param onGap sequences that did not come: none is ever deleted, so they cannot be read, or not by the replica that answered
   */
  async *whole(
    sequence: number,
    signal: AbortSignal,
    onGap: (first: number, last: number) => void,
  ): AsyncGenerator<LoggedMessage> {
    for (let at = sequence; ; ) {
      const { messages } = await patiently(this.#waitMs, signal, () =>
        directGetFrom(this.#nats.log.requests, this.#stream, wholeStream, at, pageMessagesMax),
      )
      for (const { subject, seq, data } of messages) {
        if (seq > at) onGap(at, seq - 1)
        at = seq + 1
        yield { subject, sequence: seq, payload: data }
      }
      if (messages.length === 0) return
    }
  }

  /** That have a message, without those messages. */
  subjects(filter: string, signal: AbortSignal): Promise<string[]> {
    return patiently(this.#waitMs, signal, async () => {
      try {
        const { state } = await this.#nats.jsm.streams.info(this.#stream, { subjects_filter: filter })
        return Object.keys(state.subjects ?? {})
      } catch (cause) {
        throw new TransientError('the leader of the event log does not answer', { cause })
      }
    })
  }

  /** Whether the leader has the event with this sequence. */
  isReadable(sequence: number, signal: AbortSignal): Promise<boolean> {
    return patiently(this.#waitMs, signal, async () => {
      return (await digestAt(this.#nats, this.#stream, sequence)) !== undefined
    })
  }

  /** Since this time, oldest first. */
  async *since(filter: string, time: Date, signal: AbortSignal): AsyncGenerator<LoggedMessage> {
    const { messages } = await patiently(this.#waitMs, signal, () =>
      directGetFromTime(this.#nats.log.requests, this.#stream, filter, time, pageMessages),
    )
    for (const { subject, seq, data } of messages) yield { subject, sequence: seq, payload: data }
    const last = messages.at(-1)
    if (last !== undefined) yield* this.from(filter, last.seq + 1, signal)
  }

  async #lastAtLeader(filter: string): Promise<LoggedMessage[]> {
    try {
      const found = await this.#nats.jsm.streams.getMessage(this.#stream, { last_by_subj: filter })
      if (found === null) return []
      return [{ subject: found.subject, sequence: found.seq, payload: Buffer.from(found.data) }]
    } catch (cause) {
      throw new TransientError('the leader of the event log does not answer', { cause })
    }
  }
}
