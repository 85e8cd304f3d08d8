import { AppError } from '../errors.ts'
import { type LogFault, logDamaged } from '../events/log-fault.ts'
import type { IndexImage } from './name-fold.ts'

export type IndexName = keyof IndexImage

const indexNames: readonly IndexName[] = ['names', 'refs', 'ipns']

/** Reads of an index that is whole all the while. @throws AppError STORE_UNAVAILABLE | LOG_DAMAGED when it is not; as the work */
export type During = <T>(index: IndexName, work: () => Promise<T>) => Promise<T>

/** Where nobody makes it anew. */
export const alwaysWhole: Pick<Wholeness, 'require' | 'during' | 'looking'> = {
  require: () => undefined,
  during: (_index, work) => work(),
  looking: (_index, work) => work(),
}

/** Which indexes may be asked: one that is being made anew knows too little, and would say "not here" of what is. */
export class Wholeness {
  #mending: ReadonlySet<IndexName> = new Set()
  /** Times that others were being made anew than before. */
  #turns = 0
  /** Something was committed that an index did not take. */
  #isBehind = false
  /** Told of that, once until `caughtUp`. Without it nobody would say when it is over, and nothing is made of it. */
  onBehind: (() => void) | undefined
  /** What is wrong with the log that they are made anew from. */
  logFault: () => LogFault | undefined = () => undefined

  /** That may not be asked. */
  get mending(): readonly IndexName[] {
    return this.#isBehind ? indexNames : [...this.#mending]
  }

  set(mending: Iterable<IndexName>): void {
    const before = this.#mending
    this.#mending = new Set(mending)
    const isSame = before.size === this.#mending.size && [...before].every((index) => this.#mending.has(index))
    if (!isSame) this.#turns++
  }

  /** What is in the log could not be written to an index: no index is asked until it is. */
  fellBehind(): void {
    if (this.#isBehind || this.onBehind === undefined) return
    this.#isBehind = true
    this.onBehind()
  }

  caughtUp(): void {
    this.#isBehind = false
  }

  /**
   * Reads of an index that is whole from the beginning of the read to its end: what is dropped and made anew meanwhile would be
   * found in part. @throws as `require` and `work`
   */
  readonly during: During = async (index, work) => {
    this.require(index)
    const turn = this.#turns
    const found = await work()
    this.require(index)
    if (turn !== this.#turns) throw mendingNow(index)
    return found
  }

  /** Looks whether the bucket of an index is there, takes writes, and is the one that it was. */
  onLook: (index: IndexName) => Promise<void> = async () => undefined

  /**
   * As `during`, for lists: what another node could not write to the index leaves no trace here, so its bucket is looked at first.
   * @throws as `during`
   */
  readonly looking: During = async (index, work) => {
    await this.onLook(index)
    return this.during(index, work)
  }

  /** @throws AppError STORE_UNAVAILABLE; LOG_DAMAGED when it cannot be made anew */
  readonly require = (index: IndexName): void => {
    if (!this.#mending.has(index)) {
      if (this.#isBehind) throw behindNow(index)
      return
    }
    this.#requireLog()
    throw mendingNow(index)
  }

  /** @returns whether to ask the log in the place of an index @throws AppError LOG_DAMAGED when it does not know all either */
  readonly asksLog = (index: IndexName): boolean => {
    if (!this.mending.includes(index)) return false
    this.#requireLog()
    return true
  }

  #requireLog(): void {
    const fault = this.logFault()
    if (fault !== undefined) throw logDamaged(fault)
  }
}

const mendingNow = (index: IndexName): AppError =>
  new AppError('STORE_UNAVAILABLE', `the index of ${index} is being made anew from the event log`, {
    hint: 'try again in a moment',
  })

const behindNow = (index: IndexName): AppError =>
  new AppError('STORE_UNAVAILABLE', `the index of ${index} lacks something that the event log has`, {
    hint: 'try again in a moment; where it lasts, see stowage doctor',
  })
