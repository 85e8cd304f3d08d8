import type { LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'

export type TimeLimits = Pick<LimitConfig, 'retrievalMs' | 'requestMs'>

/** A request on its way, as far as its time is concerned. */
export interface Timed {
  readonly beganMs: number
  /** So far; whatever it counts, more of it is progress. */
  sentBytes(): number
  /** Bytes that wait for the client to take them: then nobody waits for us. */
  waitingForClient(): boolean
  /** Ends it: with an answer as long as there is none, else by cutting the connection. */
  end(reason: AppError): void
}

interface Seen {
  bytes: number
  progressMs: number
}

/**
 * Ends requests for which the store gives nothing for too long, and those that take too long altogether. Looks at all of
 * them now and then, so that a request costs no timer; one may so last a tenth longer than its limit.
 */
export class TimeWatch {
  readonly #limits: TimeLimits
  readonly #seen = new Map<Timed, Seen>()
  readonly #lookMs: number
  #timer: NodeJS.Timeout | undefined

  constructor(limits: TimeLimits) {
    this.#limits = limits
    this.#lookMs = Math.max(10, Math.min(limits.retrievalMs, limits.requestMs, 10_000) / 10)
  }

  add(request: Timed): void {
    this.#seen.set(request, { bytes: request.sentBytes(), progressMs: request.beganMs })
    this.#timer ??= setInterval(() => this.#look(performance.now()), this.#lookMs).unref()
  }

  remove(request: Timed): void {
    this.#seen.delete(request)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look(nowMs: number): void {
    if (this.#seen.size === 0) {
      this.close()
      return
    }
    const { retrievalMs, requestMs } = this.#limits
    for (const [request, seen] of this.#seen) {
      const bytes = request.sentBytes()
      if (bytes !== seen.bytes || request.waitingForClient()) {
        seen.bytes = bytes
        seen.progressMs = nowMs
      }
      if (nowMs - request.beganMs > requestMs) this.#end(request, tookTooLong(requestMs))
      else if (nowMs - seen.progressMs > retrievalMs) this.#end(request, nothingCame(retrievalMs))
    }
  }

  #end(request: Timed, reason: AppError): void {
    this.#seen.delete(request)
    request.end(reason)
  }
}

function nothingCame(retrievalMs: number): AppError {
  return new AppError('RETRIEVAL_TIMEOUT', `the content did not arrive here within ${retrievalMs / 1000} s`, {
    limit: 'retrieval_time',
  })
}

function tookTooLong(requestMs: number): AppError {
  return new AppError('REQUEST_TIMEOUT', `the request took more than ${requestMs / 1000} s`, { limit: 'request_time' })
}
