import { AppError } from '../errors.ts'
import { type LogFault, logDamaged } from '../events/log-fault.ts'
import type { IndexImage } from './name-fold.ts'

export type IndexName = keyof IndexImage

/** Which indexes may be asked: one that is being made anew knows too little, and would say "not here" of what is. */
export class Wholeness {
  #mending: ReadonlySet<IndexName> = new Set()
  /** What is wrong with the log that they are made anew from. */
  logFault: () => LogFault | undefined = () => undefined

  get mending(): readonly IndexName[] {
    return [...this.#mending]
  }

  set(mending: Iterable<IndexName>): void {
    this.#mending = new Set(mending)
  }

  /** @throws AppError STORE_UNAVAILABLE; LOG_DAMAGED when it cannot be made anew */
  readonly require = (index: IndexName): void => {
    if (!this.#mending.has(index)) return
    this.#requireLog()
    throw new AppError('STORE_UNAVAILABLE', `the index of ${index} is being made anew from the event log`, {
      hint: 'try again in a moment',
    })
  }

  /** @returns whether to ask the log in the place of an index @throws AppError LOG_DAMAGED when it does not know all either */
  readonly asksLog = (index: IndexName): boolean => {
    if (!this.#mending.has(index)) return false
    this.#requireLog()
    return true
  }

  #requireLog(): void {
    const fault = this.logFault()
    if (fault !== undefined) throw logDamaged(fault)
  }
}
