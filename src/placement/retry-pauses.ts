import { isAppError } from '../errors.ts'

/** By the failures in a row at this node; then the last one. */
const failureMs = [1_000, 5_000, 15_000, 60_000, 600_000] as const
/** What only waits for somebody to come back is not to wait much longer than that, and says nothing of the work itself. */
const outageMs = [1_000, 5_000] as const
/** Remembered by their keys; of more than that the deliveries count. */
const failuresMax = 10_000

/**
 * How long work that has failed waits until it is tried again. Deliveries of a queue would count what was put off for other
 * reasons too: a lost compare-and-set, an outage, a node that was killed.
 */
export class RetryPauses {
  readonly #failures = new Map<string, number>()

  /** It has failed once more. @param tries in all */
  after(key: string, error: unknown, tries: number): number {
    if (isAppError(error, 'STORE_UNAVAILABLE')) return nth(outageMs, tries)
    const known = this.#failures.get(key)
    if (known === undefined && this.#failures.size >= failuresMax) return nth(failureMs, tries)
    const failures = (known ?? 0) + 1
    this.#failures.set(key, failures)
    return nth(failureMs, failures)
  }

  /** It is done, or nobody wants it any more. */
  forget(key: string): void {
    this.#failures.delete(key)
  }
}

/** The first is 1; beyond the last, the last. */
const nth = (all: readonly number[], count: number): number => all[Math.min(count, all.length) - 1] ?? 0
