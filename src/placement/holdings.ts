import { setTimeout as delay } from 'node:timers/promises'
import type { StoreRef } from '../blocks/store-ref.ts'
import { AppError } from '../errors.ts'
import type { IsNamed } from './contexts.ts'
import type { Facts } from './facts.ts'
import type { RootFacts } from './model.ts'

export interface HoldingsParts {
  readonly facts: Pick<Facts, 'all'>
  /** Sequence of the last event in the log. */
  readonly last: (signal: AbortSignal) => Promise<number>
  /** Whether there is an event up to this sequence that the facts do not have yet. */
  readonly isBehind: (sequence: number, signal: AbortSignal) => Promise<boolean>
  /** A copy there counts: its store and its site have not been removed. */
  readonly counts: (at: StoreRef) => boolean
  /** Without copies that are gone with a store which was made anew. */
  readonly current: (facts: RootFacts) => RootFacts
  readonly isNamed: IsNamed
}

export interface OnlyThere {
  /** Whose verified copies all lie there. */
  readonly roots: number
  /** All that lie there, of roots that are not deleted. */
  readonly copies: number
}

const waitMs = 10_000
const pollMs = 50

/** What lies where, of all roots: for whoever is about to take a place away. */
export class Holdings {
  readonly #parts: HoldingsParts

  constructor(parts: HoldingsParts) {
    this.#parts = parts
  }

  /** @throws AppError STORE_UNAVAILABLE, also while the facts are behind the log */
  async onlyAt(isThere: (at: StoreRef) => boolean, signal: AbortSignal): Promise<OnlyThere> {
    await this.#caughtUp(signal)
    const { facts, counts, current, isNamed } = this.#parts
    let roots = 0
    let copies = 0
    for await (const page of facts.all(signal)) {
      for (const [, known] of page) {
        const root = current(known)
        if (root.deleted && !(await isNamed(root, signal))) continue
        const there = root.copies.filter((copy) => isThere(copy))
        copies += there.length
        const hasOne = there.some(({ state }) => state === 'verified')
        const hasOther = root.copies.some((copy) => copy.state === 'verified' && !isThere(copy) && counts(copy))
        if (hasOne && !hasOther) roots++
      }
    }
    return { roots, copies }
  }

  /** What was decided by old facts could take away what somebody counts on since. */
  async #caughtUp(signal: AbortSignal): Promise<void> {
    const { isBehind, last } = this.#parts
    const until = await last(signal)
    const endMs = performance.now() + waitMs
    while (await isBehind(until, signal)) {
      if (performance.now() > endMs) {
        throw new AppError('STORE_UNAVAILABLE', 'what is known of copies is behind the log', { hint: 'try again' })
      }
      await delay(pollMs, undefined, { signal })
    }
  }
}
