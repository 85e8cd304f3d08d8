import type { LogGuard } from '../events/log-guard.ts'
import type { Nats } from '../nats/connection.ts'
import { digestAt } from '../nats/log-identity.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { patiently } from '../nats/patience.ts'

export interface LogCheckParts {
  readonly nats: Nats
  readonly reader: Pick<LogReader, 'stream' | 'whole'>
  readonly guard: Pick<LogGuard, 'fault' | 'last' | 'unreadable'>
  readonly waitMs: number
}

type Gap = readonly [first: number, last: number]

/** Called now and then: a low rate waits here. */
export type Pace = (signal: AbortSignal) => Promise<void>

const paceEvery = 1_024
/** Of the sequences that cannot be read. */
const gapsMax = 10_000

/** Finds the events that the log counts and does not give: only reading all of it tells. */
export class LogCheck {
  readonly #parts: LogCheckParts

  constructor(parts: LogCheckParts) {
    this.#parts = parts
  }

  /** Reads all of the log, and tells its guard of what cannot be read. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async read(signal: AbortSignal, pace?: Pace): Promise<void> {
    const { reader, guard } = this.#parts
    if (guard.fault !== undefined) return
    const { last } = guard
    const gaps: Gap[] = []
    let read = 0
    for await (const { sequence } of reader.whole(1, signal, (first, end) => void gaps.push([first, end]))) {
      if (sequence % paceEvery === 0) await pace?.(signal)
      read = sequence
    }
    await this.tell([...gaps, [read + 1, last]], signal)
  }

  /**
   * Of sequences that did not come. A replica may be behind: what the leader cannot read either is damaged.
   * @throws AppError STORE_UNAVAILABLE; the signal's reason
   */
  async tell(gaps: readonly Gap[], signal: AbortSignal): Promise<void> {
    const { nats, reader, guard, waitMs } = this.#parts
    const missing: number[] = []
    for (const [first, last] of gaps) {
      for (let sequence = first; sequence <= last && missing.length < gapsMax; sequence++) {
        const digest = await patiently(waitMs, signal, () => digestAt(nats, reader.stream, sequence))
        if (digest === undefined) missing.push(sequence)
      }
    }
    if (missing.length > 0) guard.unreadable(missing)
  }
}
