import type { CloudEvent, Context, Draft, EventSource } from '../events/envelope.ts'
import { encodeEvent } from '../events/envelope.ts'
import type { EventLog, Expectation } from '../events/log.ts'
import { uuidv7 } from '../lib/uuid.ts'

/** The undertaking that an event belongs to. */
export interface Cause {
  readonly correlation: string
  readonly causation: string
}

/** Writes what placement does to the log, in the name of the node. */
export class Recorder {
  readonly #log: EventLog
  readonly #source: EventSource

  constructor(log: EventLog, source: EventSource) {
    this.#log = log
    this.#source = source
  }

  get source(): EventSource {
    return this.#source
  }

  /** Of copy events of a root, at any site. */
  copyFilter(root: string): string {
    const { domain, space } = this.#source
    return `${domain}.evt.*.${space}.copy.*.${root}`
  }

  /** @throws AppError REVISION_CONFLICT (the expectation), STORE_FULL, STORE_UNAVAILABLE */
  async record(draft: Draft, cause: Cause, expect?: Expectation): Promise<CloudEvent> {
    const id = uuidv7()
    const principal = `node:${this.#source.site}`
    const context: Context = {
      id,
      correlation: cause.correlation,
      causation: cause.causation,
      owner: principal,
      principal,
      via: 'node',
      traceparent: undefined,
    }
    const event = encodeEvent(draft, context, this.#source, id)
    await this.#log.append([expect === undefined ? { event } : { event, expect }])
    return event.event
  }
}
