import { AppError } from '../errors.ts'
import type { IndexImage } from './name-fold.ts'

export type IndexName = keyof IndexImage

/** Which indexes may be asked: one that is being made anew knows too little, and would say "not here" of what is. */
export class Wholeness {
  #mending: ReadonlySet<IndexName> = new Set()

  get mending(): readonly IndexName[] {
    return [...this.#mending]
  }

  set(mending: Iterable<IndexName>): void {
    this.#mending = new Set(mending)
  }

  /** @throws AppError STORE_UNAVAILABLE */
  readonly require = (index: IndexName): void => {
    if (!this.#mending.has(index)) return
    throw new AppError('STORE_UNAVAILABLE', `the index of ${index} is being made anew from the event log`, {
      hint: 'try again in a moment',
    })
  }
}
