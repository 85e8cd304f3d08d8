import { setTimeout as delay } from 'node:timers/promises'
import { isAppError } from '../errors.ts'
import type { FoldMarks, Projection } from '../events/fold-mark.ts'
import type { LogGuard } from '../events/log-guard.ts'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { Nats } from '../nats/connection.ts'
import { digestOf } from '../nats/log-identity.ts'
import { BucketLooks } from './bucket-looks.ts'
import { LogCheck } from './log-check.ts'
import type { Names } from './names.ts'
import { type Difference, indexes, listAll, recordOutcomes, type Verification, verifyIndex } from './rebuild.ts'
import type { IndexName } from './wholeness.ts'

export interface IndexKeeperParts {
  readonly nats: Nats
  readonly names: Names
  readonly guard: Pick<LogGuard, 'fault' | 'stale' | 'last' | 'identity' | 'unreadable' | 'throwIfDamaged'>
  readonly marks: FoldMarks
  readonly waitMs: number
  /** Between two audits. 0 = none but the one at the start. */
  readonly auditEveryMs: number
  /** Told of what was mended. */
  readonly onMended: (mended: Mended) => void
  readonly onTrouble: (error: unknown) => void
  readonly lookEveryMs?: number
}

/** What was wrong with the indexes, and is not any more. */
export interface Mended {
  /** Made anew, and why. */
  readonly remade: readonly { readonly index: Kept; readonly reason: string }[]
  /** Keys that were not as the log says. */
  readonly differences: readonly Difference[]
}

export interface AuditOptions {
  readonly repair: boolean
  readonly signal: AbortSignal
  /** Whether it rests for three quarters of the time. */
  readonly slow?: boolean
}

export interface Audit extends Verification {
  readonly remade: Mended['remade']
}

const kept = [...indexes, 'outcomes'] as const
type Kept = (typeof kept)[number]

const lookEveryMsDefault = 5_000
/** Pause before another try at what could not be mended. */
const retryMs = 500
const restShare = 3

/**
 * Keeps the indexes what the log says: looks at all of them at the start and now and then, and makes those anew that are gone or
 * damaged. What would be answered wrongly meanwhile is not answered (`Wholeness`); what was deleted is known before anything is.
 */
export class IndexKeeper {
  readonly #parts: IndexKeeperParts
  readonly #stop = new AbortController()
  readonly #log: LogCheck
  readonly #looks: BucketLooks
  readonly #damaged = new Map<Kept, string>()
  /** Made anew by another node: not to be dropped, and not to be asked before they were compared with the log. */
  readonly #doubted = new Set<Kept>()
  #isDue = false
  #wake: (() => void) | undefined
  #running: Promise<void> = Promise.resolve()
  #auditing: Promise<unknown> = Promise.resolve()
  #counts = { audits: 0, differences: 0, remade: 0 }

  constructor(parts: IndexKeeperParts) {
    this.#parts = parts
    const { nats, names, marks, guard, waitMs } = parts
    this.#log = new LogCheck({ nats, guard, waitMs, reader: names.reader })
    this.#looks = new BucketLooks(nats, names.buckets, waitMs)
    names.whole.logFault = () => guard.fault
    names.whole.onLook = async (index) => {
      for (const one of index === 'ipns' ? [index] : (['names', 'refs'] as const)) await this.#look(one)
    }
    names.deleted.onDamage = () => {
      this.#isDue = true
      this.#wake?.()
    }
    names.list.onUnreadable = () => this.#suspect('names', 'some of it cannot be read')
    names.ipns.list.onUnreadable = () => this.#suspect('ipns', 'some of it cannot be read')
    marks.onLost((projection) => isKept(projection) && this.#suspect(projection, 'it lost what was written last'))
  }

  get counts() {
    return { ...this.#counts, mending: this.#parts.names.whole.mending }
  }

  /**
   * To be awaited before anything is answered: which content is deleted is known afterwards, whatever its bucket says, and no index
   * is asked that is known to be damaged.
   * @throws AppError STORE_UNAVAILABLE
   */
  async settle(signal: AbortSignal): Promise<void> {
    const { names, guard } = this.#parts
    const isNew = guard.fault === undefined && guard.last === 0
    for (const index of kept) if (names.buckets[index].made && !isNew) this.#damaged.set(index, 'it was gone')
    for (const index of guard.stale) {
      if (isKept(index) && !this.#damaged.has(index)) this.#damaged.set(index, 'it was not folded as far as the others')
    }
    if (names.deleted.damaged && !this.#damaged.has('deleted')) this.#damaged.set('deleted', unreadableReason)
    this.#close()
    // What the bucket lacks has to be in the log: all of it is read before it is believed.
    if (this.#damaged.has('deleted')) await this.#log.read(signal)
    else if (guard.fault !== undefined) await this.#lookAt('deleted', signal)
    if (guard.fault === undefined) {
      const { unreadable } = await names.deleted.compare({ write: false, signal })
      if (unreadable.length > 0) guard.unreadable(unreadable)
    } else names.deleted.doubt = this.#damaged.get('deleted')
  }

  start(): void {
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    this.#wake?.()
    await settledWithin(closeWaitMs, this.#running)
  }

  /** One at a time. @throws AppError STORE_UNAVAILABLE | LOG_DAMAGED (with `repair`); the signal's reason */
  audit(options: AuditOptions): Promise<Audit> {
    const next = this.#auditing.then(() => this.#audit(options))
    this.#auditing = next.catch(() => undefined)
    return next
  }

  /** Makes all of them anew, whatever they are. @throws as `audit` */
  async remakeAll(signal: AbortSignal): Promise<Audit> {
    for (const index of kept) this.#damaged.set(index, 'it was asked for')
    return this.audit({ repair: true, signal })
  }

  async #audit({ repair, signal, slow = false }: AuditOptions): Promise<Audit> {
    const { names, guard } = this.#parts
    if (repair) guard.throwIfDamaged()
    await this.#lookAtBuckets(signal)
    const remade = [...this.#damaged].map(([index, reason]) => ({ index, reason }))
    const doubted = [...this.#doubted]
    const pace = slow ? rests() : undefined
    // What a damaged index still holds may be all that is left of what the log lost: it is not dropped before the log was read.
    if (repair && remade.length > 0) {
      await this.#log.read(signal, pace)
      guard.throwIfDamaged()
      await this.#remake(remade.map(({ index }) => index))
    }
    const gaps: [number, number][] = []
    const { last } = guard
    const found = await verifyIndex(names, {
      ...{ repair, signal },
      onGap: (first, end) => void gaps.push([first, end]),
      // An event that cannot be read is no reason to take back what was folded from it.
      beforeRepair: async (newest) => {
        await this.#log.tell([...gaps.splice(0), [newest + 1, last]], signal)
        guard.throwIfDamaged()
      },
      ...(pace === undefined ? {} : { pace }),
    })
    await this.#log.tell(gaps, signal)
    this.#counts.audits++
    if (!repair) return { ...found, remade }
    await names.deleted.compare({ write: true, signal })
    names.deleted.damaged = false
    names.deleted.doubt = undefined
    if (remade.some(({ index }) => index === 'outcomes')) await recordOutcomes(names, signal)
    await this.#mark(
      remade.map(({ index }) => index),
      found,
    )
    for (const index of ['names', 'ipns'] as const) {
      if (doubted.includes(index) || remade.some((one) => one.index === index)) await listAll(names, index, signal)
    }
    for (const { index } of remade) this.#damaged.delete(index)
    for (const index of doubted) this.#doubted.delete(index)
    this.#close()
    // What is missing from one that was gone is no news.
    const gone = new Set<string>(remade.map(({ index }) => index))
    const differences = found.differences.filter(({ index }) => !gone.has(index))
    this.#counts.differences += differences.length
    this.#counts.remade += remade.length
    if (remade.length > 0 || differences.length > 0) this.#parts.onMended({ remade, differences })
    return { ...found, differences: repair ? differences : found.differences, remade }
  }

  async #lookAtBuckets(signal: AbortSignal): Promise<void> {
    for (const index of kept) if (!this.#damaged.has(index)) await this.#lookAt(index, signal)
  }

  /** Reads all of it. */
  async #lookAt(index: Kept, signal: AbortSignal): Promise<void> {
    const trouble = await this.#looks.within(index, signal)
    if (trouble !== undefined) this.#damaged.set(index, trouble)
  }

  async #remake(damaged: readonly Kept[]): Promise<void> {
    this.#close()
    for (const index of damaged) await this.#looks.remake(index)
  }

  /** The marks of what was made anew: it is as far as the log was read. */
  async #mark(made: readonly Kept[], { newest }: Verification): Promise<void> {
    const { marks, guard } = this.#parts
    if (newest === undefined || guard.fault !== undefined) return
    const { subject, sequence, payload } = newest
    const mark = { epoch: guard.identity.epoch, sequence, digest: digestOf(subject, payload) }
    for (const index of made) await marks.reset(index, mark)
    marks.folded(kept, newest)
  }

  #suspect(index: Kept, reason: string): void {
    if (this.#damaged.has(index)) return
    this.#damaged.set(index, reason)
    this.#close()
    this.#wake?.()
  }

  /** Which may not be asked now. Deletions are asked of memory, outcomes are a look that may find nothing. */
  #close(): void {
    const closed = [...this.#damaged.keys(), ...this.#doubted].filter(
      (index): index is IndexName => index !== 'outcomes' && index !== 'deleted',
    )
    // References lead to names; and an entry is written behind its reference, so that it may lack where that was refused.
    if (closed.includes('names') || closed.includes('refs')) closed.push('refs', 'names')
    this.#parts.names.whole.set(closed)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { guard, auditEveryMs, onTrouble, lookEveryMs = lookEveryMsDefault } = this.#parts
    let nextMs = 0
    while (!signal.aborted) {
      try {
        await this.#lookForGone()
        const isUrgent = this.#isDue || this.#damaged.size > 0
        if (guard.fault === undefined && (isUrgent || performance.now() >= nextMs)) {
          this.#isDue = false
          await this.audit({ repair: true, signal, slow: !isUrgent })
          nextMs = auditEveryMs > 0 ? performance.now() + auditEveryMs : Number.POSITIVE_INFINITY
        }
      } catch (error) {
        // A damaged log is told by its guard.
        if (!signal.aborted && !isAppError(error, 'LOG_DAMAGED')) onTrouble(error)
      }
      const isWaiting = (this.#isDue || this.#damaged.size > 0) && guard.fault === undefined
      await this.#rest(isWaiting ? retryMs : lookEveryMs)
    }
  }

  /** Until there is something to do. */
  async #rest(ms: number): Promise<void> {
    if (this.#stop.signal.aborted) return
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(end, ms)
      this.#wake = end
    })
    this.#wake = undefined
  }

  /** Somebody dropped or sealed a bucket while it was in use, or another node is making it anew: it is asked once it was compared. */
  async #lookForGone(): Promise<void> {
    for (const index of kept) await this.#look(index)
  }

  async #look(index: Kept): Promise<void> {
    if (this.#damaged.has(index)) return
    const { trouble, madeAnew } = await this.#looks.at(index)
    if (trouble !== undefined) this.#suspect(index, trouble)
    else if (madeAnew) {
      this.#doubted.add(index)
      this.#isDue = true
      this.#close()
      this.#wake?.()
    }
  }
}

const unreadableReason = 'some of its keys cannot be read'

const isKept = (projection: Projection): projection is Kept => (kept as readonly string[]).includes(projection)

function rests(): (signal: AbortSignal) => Promise<void> {
  let beganMs = performance.now()
  return async (signal) => {
    await delay(Math.min(1_000, restShare * (performance.now() - beganMs)), undefined, { signal })
    beganMs = performance.now()
  }
}
