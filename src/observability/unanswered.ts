import type { Logger } from 'pino'

/** What became of NATS messages that nobody could be told of. */
export interface UnansweredCounts {
  /** Commands without a reply subject that were carried out. */
  readonly done: number
  /** Commands that failed or were refused. */
  readonly failed: number
  /** Questions without a place to answer to. */
  readonly queries: number
}

export interface UnansweredFailure {
  /** Of the command or query. */
  readonly verb: string
  /** The HTTP status that says the same. */
  readonly code: number
  readonly reason: string
}

const linesEveryMs = 1_000

/**
 * Messages on NATS without an answer: whoever sent them hears nothing, so whoever runs the node does. At most a line a second
 * is logged: anybody may send such messages, as fast as they like.
 */
export class Unanswered {
  readonly #log: Pick<Logger, 'warn'>
  readonly #counts = { done: 0, failed: 0, queries: 0 }
  #nextMs = Number.NEGATIVE_INFINITY
  #unlogged = 0

  constructor(log: Pick<Logger, 'warn'>) {
    this.#log = log
  }

  get counts(): UnansweredCounts {
    return { ...this.#counts }
  }

  done(): void {
    this.#counts.done++
  }

  query(failure: UnansweredFailure): void {
    this.#counts.queries++
    this.#tell(failure, 'a query on NATS could not be answered')
  }

  failed(failure: UnansweredFailure): void {
    this.#counts.failed++
    this.#tell(failure, 'a command on NATS was not carried out, and its sender wants no answer')
  }

  #tell(failure: UnansweredFailure, message: string): void {
    const nowMs = performance.now()
    if (nowMs < this.#nextMs) {
      this.#unlogged++
      return
    }
    this.#log.warn({ ...failure, notLogged: this.#unlogged }, message)
    this.#nextMs = nowMs + linesEveryMs
    this.#unlogged = 0
  }
}
