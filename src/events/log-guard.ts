import { setTimeout as delay } from 'node:timers/promises'
import { isAppError } from '../errors.ts'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { Nats } from '../nats/connection.ts'
import {
  consumerFloor,
  digestAt,
  type LogIdentity,
  type LogState,
  logState,
  writeIdentity,
} from '../nats/log-identity.ts'
import { patiently } from '../nats/patience.ts'
import { isTransient } from '../nats/publish.ts'
import type { FoldMarks, Projection, Witness } from './fold-mark.ts'
import { type LogFault, logDamaged, missingIn } from './log-fault.ts'

export interface LogGuardParts {
  readonly nats: Nats
  readonly stream: string
  readonly waitMs: number
  /** The durable one that indexes follow the log with. */
  readonly consumer: string
  /** Told once of each fault, and once that it is over (undefined). */
  readonly onFault: (fault: LogFault | undefined) => void
  /** The log lost its identity, not its events, and got it back. */
  readonly onAdopted: (epoch: string) => void
  readonly checkEveryMs?: number
}

/** The newest event that this process knows to be in the log. */
interface Tip {
  readonly epoch: string
  readonly sequence: number
  readonly digest: string
}

/** What was known of the log before it was looked at. */
interface Evidence {
  readonly witnesses: readonly Witness[]
  /** Sequence up to which the indexes' consumer has acknowledged. */
  readonly floor: number
  readonly tip: Tip
}

const checkEveryMsDefault = 5_000
/** A leader that has just been elected may not have caught up: what looks like a loss is looked at again. */
const looksAgain = 3
const lookAgainMs = 500
const never = new AbortController().signal

/**
 * Watches that the log is the one that all projections were folded from, and still holds what they were folded from. While it
 * does not, nothing is written and nothing folded: sequences would be given out twice, and what is written now be taken for
 * older than what was lost. What was folded goes on being served.
 */
export class LogGuard {
  readonly #parts: LogGuardParts
  #marks: FoldMarks | undefined
  #identity: LogIdentity
  #tip: Tip = { epoch: '', sequence: 0, digest: '' }
  #fault: LogFault | undefined
  #last = 0
  #stale: readonly Projection[] = []
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #checking: Promise<void> = Promise.resolve()

  private constructor(parts: LogGuardParts, { identity, last }: LogState) {
    this.#parts = parts
    this.#identity = identity
    this.#last = last
  }

  /** Not yet checked: `check` does. @throws AppError STORE_UNAVAILABLE */
  static async open(parts: LogGuardParts): Promise<LogGuard> {
    return new LogGuard(parts, await patiently(parts.waitMs, never, () => logState(parts.nats, parts.stream)))
  }

  get identity(): LogIdentity {
    return this.#identity
  }

  get fault(): LogFault | undefined {
    return this.#fault
  }

  /** As it was looked at last. */
  get last(): number {
    return Math.max(this.#last, this.#tip.sequence)
  }

  /** Projections that were folded in an epoch that has ended, or not as far as the others: they are to be made anew. */
  get stale(): readonly Projection[] {
    return this.#stale
  }

  /** What projections say of the log; before the first `check`. */
  watch(marks: FoldMarks): void {
    this.#marks = marks
  }

  /** @throws AppError LOG_DAMAGED */
  throwIfDamaged(): void {
    if (this.#fault !== undefined) throw logDamaged(this.#fault)
  }

  /** The newest sequence that is known to have been given out: what is written now gets a greater one. */
  get tip(): number {
    return this.#tip.epoch === this.#identity.epoch ? this.#tip.sequence : 0
  }

  /**
   * Events were just given sequences, the first of them this one.
   * @param before the `tip` from before they were sent
   * @throws AppError LOG_DAMAGED when it had been given out before: the log lost its end while it was in use
   */
  taken(before: number, first: number, last: number, digest: () => string): void {
    if (first <= before) {
      this.#tell({ kind: 'shorter', last: first - 1, known: before, by: 'this node' })
      this.throwIfDamaged()
    }
    this.seen(last, digest)
  }

  /** An event of the log was seen. */
  seen(sequence: number, digest: () => string): void {
    const { epoch } = this.#identity
    if (this.#tip.epoch === epoch && sequence <= this.#tip.sequence) return
    this.#tip = { epoch, sequence, digest: digest() }
  }

  /** Somebody met events that cannot be read. */
  unreadable(missing: readonly number[]): void {
    const isNew = missing.filter((sequence) => !isAccepted(this.#identity, sequence))
    const [first] = isNew
    if (first !== undefined) this.#tell({ kind: 'unreadable', sequences: isNew.slice(0, 1_000), count: isNew.length })
  }

  start(): void {
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await settledWithin(closeWaitMs, this.#running)
  }

  /**
   * @param thorough reads all that projections have of their newest events: at the start, and while there is a fault
   * @throws AppError STORE_UNAVAILABLE
   */
  check({ thorough }: { readonly thorough: boolean }): Promise<void> {
    const next = this.#checking.then(() => this.#check(thorough))
    this.#checking = next.catch(() => undefined)
    return next
  }

  async #check(thorough: boolean): Promise<void> {
    const { nats, stream, waitMs } = this.#parts
    for (let looks = 0; ; looks++) {
      const isAllAsked = thorough || looks > 0 || this.#fault !== undefined
      const evidence = await this.#evidence(isAllAsked ? await this.#witnesses() : [])
      // After all that is known of it: it grows all the time, and what was known later would be missing in it.
      const state = await patiently(waitMs, never, () => logState(nats, stream))
      const fault = await this.#judge(state, evidence)
      if (fault !== undefined && fault.kind !== 'unreadable' && looks < looksAgain && this.#fault === undefined) {
        await delay(lookAgainMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
        continue
      }
      this.#identity = state.identity
      this.#last = state.last
      if (thorough) this.#stale = await this.#staleNow(state.identity, evidence.witnesses)
      this.#tell(fault)
      return
    }
  }

  async #witnesses(): Promise<readonly Witness[]> {
    return (await this.#marks?.read(true)) ?? []
  }

  /** Other nodes write the marks of a site's buckets one after the other: what is behind is looked at again. */
  async #staleNow(identity: LogIdentity, witnesses: readonly Witness[]): Promise<readonly Projection[]> {
    const behind = staleIn(witnesses, identity)
    if (behind.length === 0) return behind
    await delay(lookAgainMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    const still = new Set(staleIn(await this.#witnesses(), identity))
    return behind.filter((projection) => still.has(projection))
  }

  async #evidence(witnesses: readonly Witness[]): Promise<Evidence> {
    return { witnesses, floor: await this.#floor(), tip: this.#tip }
  }

  async #judge(state: LogState, { witnesses, floor: acked, tip }: Evidence): Promise<LogFault | undefined> {
    const { identity, last } = state
    // What a person has accepted ends what was known before it.
    if (identity.retired.includes(this.#tip.epoch)) this.#tip = { epoch: identity.epoch, sequence: 0, digest: '' }
    const marks = witnesses.flatMap(({ projection, mark }) => (mark === undefined ? [] : [{ by: projection, ...mark }]))
    const current = marks.filter(({ epoch }) => !identity.retired.includes(epoch))
    const isTipCurrent = tip.sequence > 0 && !identity.retired.includes(tip.epoch)
    const known = [...current, ...(isTipCurrent ? [{ by: 'this node' as const, ...tip }] : [])]
    const newest = witnesses
      .filter(({ mark }) => mark === undefined || !identity.retired.includes(mark.epoch))
      .map(({ projection, newest: sequence }) => ({ by: projection, sequence }))
    const floor = { by: 'names' as const, sequence: acked }
    const furthest = [...known, ...newest, floor].sort((a, b) => b.sequence - a.sequence)[0]
    if (furthest !== undefined && furthest.sequence > last) {
      return { kind: 'shorter', last, known: furthest.sequence, by: furthest.by }
    }
    const foreign = known.filter(({ epoch }) => epoch !== identity.epoch)
    for (const one of known) {
      const found = await this.#digestAt(one.sequence)
      if (found === one.digest) continue
      if (found === undefined) return { kind: 'unreadable', sequences: [one.sequence], count: 1 }
      return { kind: 'changed', sequence: one.sequence, by: one.by }
    }
    const missing = state.missing - missingIn(identity)
    if (missing > 0) return { kind: 'holes', missing, last }
    const [strange] = foreign
    if (strange !== undefined) await this.#adopt(state, strange.epoch)
    // What was met by reading is not found by counting.
    return this.#fault?.kind === 'unreadable' ? await this.#stillUnreadable(this.#fault, state) : undefined
  }

  /** All that was folded is there: only the name of the log was lost, with the metadata of its stream. */
  async #adopt({ identity }: LogState, epoch: string): Promise<void> {
    const { nats, stream, waitMs } = this.#parts
    const restored = { ...identity, epoch }
    await patiently(waitMs, never, () => writeIdentity(nats, stream, restored))
    this.#identity = restored
    this.#parts.onAdopted(epoch)
  }

  async #stillUnreadable(fault: Extract<LogFault, { kind: 'unreadable' }>, { identity }: LogState) {
    for (const sequence of fault.sequences) {
      if (!isAccepted(identity, sequence) && (await this.#digestAt(sequence)) === undefined) return fault
    }
    return undefined
  }

  /** What the consumer has acknowledged: behind the end of the log after the server cut it, or of another log. */
  async #floor(): Promise<number> {
    const { nats, stream, consumer, waitMs } = this.#parts
    return patiently(waitMs, never, () => consumerFloor(nats, stream, consumer))
  }

  #digestAt(sequence: number): Promise<string | undefined> {
    const { nats, stream, waitMs } = this.#parts
    return patiently(waitMs, never, () => digestAt(nats, stream, sequence))
  }

  #tell(fault: LogFault | undefined): void {
    const isSame = JSON.stringify(fault) === JSON.stringify(this.#fault)
    const isSameKind = fault !== undefined && fault.kind === this.#fault?.kind
    this.#fault = fault
    if (!isSame && !isSameKind) this.#parts.onFault(fault)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { checkEveryMs = checkEveryMsDefault } = this.#parts
    while (!signal.aborted) {
      await delay(checkEveryMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      try {
        await this.check({ thorough: false })
      } catch (error) {
        // An outage is told by those who need the log.
        if (!isTransient(error) && !isAppError(error, 'STORE_UNAVAILABLE')) throw error
      }
    }
  }
}

/** The projections that were folded in an earlier epoch, or lack the mark that their neighbours have. */
function staleIn(witnesses: readonly Witness[], identity: LogIdentity): Projection[] {
  const furthest = new Map<boolean, number>()
  const isOfFollower = (projection: Projection) => projection === 'placement' || projection === 'policy'
  for (const { projection, mark } of witnesses) {
    const group = isOfFollower(projection)
    if (mark !== undefined) furthest.set(group, Math.max(furthest.get(group) ?? 0, mark.sequence))
  }
  return witnesses.flatMap(({ projection, mark }) => {
    const of = furthest.get(isOfFollower(projection)) ?? 0
    const isBehind = (mark?.sequence ?? 0) < of
    return isBehind || (mark !== undefined && identity.retired.includes(mark.epoch)) ? [projection] : []
  })
}

const isAccepted = ({ holes }: LogIdentity, sequence: number): boolean =>
  holes.some(([first, last]) => first <= sequence && sequence <= last)
