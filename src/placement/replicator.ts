import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type BucketPlace, placeOf, type StoreHandle, type Stores } from '../blocks/stores.ts'
import { AppError, isAppError } from '../errors.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import type { Move, MoveQueue } from '../nats/move-queue.ts'
import type { Bulk, BulkOptions } from './bulk.ts'
import { copyEvents, lossEvents } from './copy-events.ts'
import type { Facts } from './facts.ts'
import type { Copy, RootFacts } from './model.ts'
import { decodeMove, type MoveTask, moveKey, sourcesOf } from './move.ts'
import { mayMiss } from './partial.ts'
import type { Recorder } from './recorder.ts'
import { RetryPauses } from './retry-pauses.ts'
import type { RootHistory } from './root-history.ts'

export interface ReplicatorParts {
  readonly queue: MoveQueue
  readonly stores: Stores
  readonly facts: Facts
  /** For what must not be decided by facts that are behind the log. */
  readonly history: Pick<RootHistory, 'factsOf'>
  readonly recorder: Recorder
  /** A store of this site, made where it is missing. */
  readonly makeStore: (store: string) => Promise<StoreHandle>
  /** JetStream domain of a site. */
  readonly domainOf: (site: string) => string
  readonly bulk: Pick<Bulk, 'copy' | 'verify'>
  /** Read for copies, made and verified, all together. */
  readonly bytesPerSecond: number
  /** Large copies at a time; of small ones as many as are as large together. */
  readonly workers: number
  /** Whether the policy still wants what has failed before. @throws AppError STORE_UNAVAILABLE */
  readonly isWanted: (facts: RootFacts, to: StoreRef, signal: AbortSignal) => Promise<boolean>
  /** Whether a store of this site takes copies: it is neither drained nor removed. */
  readonly takesCopies: (store: string) => boolean
  /** Until nothing is swept out of a store: to be asked once the log says that a copy is on its way there. */
  readonly swept: (store: string, signal: AbortSignal) => Promise<void>
  /** A failure that is not in the log: the log itself, or the queue. */
  readonly onTrouble: (error: unknown) => void
}

export interface ReplicatorCounts {
  readonly made: number
  readonly removed: number
  readonly failed: number
  /** Read to be copied and to be verified. */
  readonly bytes: number
}

const workingEveryMs = 5_000
/** Until what is known has caught up with the log; until the queue answers again. */
const [conflictMs, queueRetryMs] = [250, 1_000]
/** Tries before it is asked whether the copy is wanted still. */
const triesUnasked = 3
/** Tries of a task about content that nobody knows of, a quarter of a second apart. */
const triesUnknown = 40
/** What one of `workers` has in its hands; the share of a copy of unknown size. */
const laneBytes = 8 * 1024 * 1024
/** Tasks at a time for each of `workers`. */
const tasksPerLane = 8
const neverAborted = new AbortController().signal

/**
 * Makes the copies that are to lie at this site, and drops those that are not to: what the queue of the site has, a few at a
 * time. Every step is an event: requested, made, verified or failed; removed. Doing a task twice does no harm.
 */
export class Replicator {
  readonly #parts: ReplicatorParts
  readonly #stop = new AbortController()
  readonly #lanes: ByteBudget
  readonly #pauses = new RetryPauses()
  #running: Promise<unknown> = Promise.resolve()
  #made = 0
  #removed = 0
  #failed = 0
  #bytes = 0
  #busy = 0

  constructor(parts: ReplicatorParts) {
    this.#parts = parts
    this.#lanes = new ByteBudget(parts.workers * laneBytes)
    // Each task has some.
    setMaxListeners(0, this.#stop.signal)
  }

  start(): void {
    this.#running = this.#work()
  }

  get counts(): ReplicatorCounts {
    return { made: this.#made, removed: this.#removed, failed: this.#failed, bytes: this.#bytes }
  }

  /** Tasks under way at this node. */
  get busy(): number {
    return this.#busy
  }

  /** What is under way stops between two blocks, and is taken up by another node, or later. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    this.#parts.queue.stop()
    await this.#running
  }

  /** Takes tasks out of the queue one after the other, as long as there are hands for them. */
  async #work(): Promise<void> {
    const { signal } = this.#stop
    const atOnce = this.#parts.workers * tasksPerLane
    const underWay = new Set<Promise<void>>()
    while (!signal.aborted) {
      if (underWay.size >= atOnce) await Promise.race(underWay)
      try {
        const move = await this.#parts.queue.next()
        if (move === undefined) continue
        const task = this.#carryOut(move, signal).catch((error: unknown) => {
          if (!signal.aborted) this.#parts.onTrouble(error)
        })
        underWay.add(task)
        void task.finally(() => underWay.delete(task))
      } catch (error) {
        if (signal.aborted) break
        this.#parts.onTrouble(error)
        await delay(queueRetryMs, undefined, { signal }).catch(() => undefined)
      }
    }
    await Promise.all(underWay)
  }

  async #carryOut(move: Move, signal: AbortSignal): Promise<void> {
    let task: MoveTask
    try {
      task = decodeMove(move.data)
    } catch (error) {
      // Nobody can ever do it; whoever plans queues what is wanted again.
      move.ack()
      return this.#parts.onTrouble(error)
    }
    this.#busy++
    const sign = setInterval(() => move.working(), workingEveryMs)
    try {
      if (task.action === 'add') await this.#add(task, move, signal)
      else await this.#remove(task, signal)
      move.ack()
      this.#pauses.forget(moveKey(task))
    } catch (error) {
      if (signal.aborted) move.retryAfter(0)
      else if (isAppError(error, 'REVISION_CONFLICT')) move.retryAfter(conflictMs)
      else await this.#fail(task, move, error)
    } finally {
      clearInterval(sign)
      this.#busy--
    }
  }

  async #add(task: MoveTask, { deliveries }: Move, signal: AbortSignal): Promise<void> {
    const { facts, history, isWanted, takesCopies } = this.#parts
    // Perhaps it came back because the facts are behind the log.
    const isAgain = deliveries > 1
    const known = isAgain ? await history.factsOf(CID.parse(task.root), signal) : await facts.get(task.rootKey, signal)
    const present = known?.copies.find((copy) => storeKey(copy) === storeKey(task.to))
    if (known === undefined) {
      // Whoever queued it knows more than what can be read here now; or it is nothing that was ever put.
      if (deliveries > triesUnknown) return
      throw new AppError('REVISION_CONFLICT', `the root ${task.root} is not known yet`)
    }
    const isThere = present?.state === 'verified' && (present.verifiedAt ?? '') >= (task.notBefore ?? '')
    if (isThere || present?.state === 'removing') return
    // What has failed before and is taken up again may only be left over.
    const isLeft = present?.state === 'failed' && !isAgain
    const isAsked = isLeft || known.deleted || deliveries > triesUnasked
    const isUnwanted = !takesCopies(task.to.store) || (isAsked && !(await isWanted(known, task.to, signal)))
    if (isUnwanted) return this.#drop(task, signal)
    const bytes = Math.min(known.bytes ?? laneBytes, laneBytes)
    await this.#lanes.acquire(bytes, signal)
    try {
      await this.#copy(task, known, isAgain && present?.state !== 'verified' ? present : undefined, signal)
    } finally {
      this.#lanes.release(bytes)
    }
  }

  /** @param begun what an earlier try has told of it */
  async #copy(task: MoveTask, known: RootFacts, begun: Copy | undefined, signal: AbortSignal): Promise<void> {
    const { recorder, makeStore, swept, bulk } = this.#parts
    const { root, to, correlation, causation } = task
    // What is known may be behind the log, which may have this copy already: then it is not made once more.
    const expect = { filter: recorder.copyFilter(root), lastSequence: known.copyRevision }
    const requested =
      begun?.eventId ??
      (await recorder.record(copyEvents.requested(root, 'add', to, task), { correlation, causation }, expect)).id
    const step = { correlation, causation: requested }
    const dest = await makeStore(to.store)
    await swept(to.store, signal)
    const startedMs = performance.now()
    const pace = { lane: 'copies', bytesPerSecond: this.#parts.bytesPerSecond } as const
    const job = { root, at: placeOf(dest), pace, ...mayMiss(known) }
    const named = sourcesOf(task, known.copies)
    const from = await this.#places(named)
    const made = await bulk.copy({ ...job, from, isNew: true }, this.#options(signal)).catch((cause: unknown) => {
      if (from.length === named.length || !isAppError(cause, 'BLOCK_NOT_FOUND')) throw cause
      throw new AppError('STORE_UNAVAILABLE', 'a store with a copy cannot be reached now', { cause })
    })
    const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(3))
    await recorder.record(copyEvents.made(root, to, { ...made, seconds }), step)
    const verified = await bulk.verify(job, this.#options(signal))
    await recorder.record(copyEvents.verified(root, to, verified), step)
    if (known.lost) await recorder.record(lossEvents.restored(root, to), step)
    this.#made++
  }

  /** Nobody wants it any more: what was begun is told to have ended, or it would be waited for. */
  async #drop(task: MoveTask, signal: AbortSignal): Promise<void> {
    const { recorder, history } = this.#parts
    // Out of the log: facts that are behind do not know what was begun, and nobody would come back to it.
    const known = await history.factsOf(CID.parse(task.root), signal)
    const present = known?.copies.find((copy) => storeKey(copy) === storeKey(task.to))
    if (known === undefined || (present?.state !== 'requested' && present?.state !== 'failed')) return
    const expect = { filter: recorder.copyFilter(known.root), lastSequence: known.copyRevision }
    await recorder.record(copyEvents.removed(known.root, task.to), { ...task, causation: present.eventId }, expect)
  }

  /** The copy counts no more; its blocks are freed by the sweep of the store, where it has one. */
  async #remove(task: MoveTask, signal: AbortSignal): Promise<void> {
    const { facts, recorder } = this.#parts
    const known = await facts.get(task.rootKey, signal)
    const present = known?.copies.find((copy) => storeKey(copy) === storeKey(task.to))
    if (present?.state !== 'removing') return
    // What is known may be behind: an end that is in the log already is not told again.
    const expect = { filter: recorder.copyFilter(task.root), lastSequence: known?.copyRevision ?? 0 }
    await recorder.record(copyEvents.removed(task.root, task.to), task, expect)
    this.#removed++
  }

  /** It stays in the queue, which takes nothing else for this root and store: tried again for as long as it is wanted. */
  async #fail(task: MoveTask, move: Move, error: unknown): Promise<void> {
    const { facts, recorder, onTrouble } = this.#parts
    this.#failed++
    const { code, message } = isAppError(error) ? error : { code: 'INTERNAL' as const, message: String(error) }
    try {
      const known = await facts.get(task.rootKey, neverAborted)
      const present = known?.copies.find((copy) => storeKey(copy) === storeKey(task.to))
      // Told once: the log is no place for each try.
      if (move.deliveries === 1 || present?.state === 'requested') {
        const failed = copyEvents.failed(task.root, task.to, { code: code.toLowerCase(), message })
        if (task.action === 'add') await recorder.record(failed, task)
        else onTrouble(error)
      }
    } catch (trouble) {
      onTrouble(trouble)
    }
    move.retryAfter(this.#pauses.after(moveKey(task), error, move.deliveries))
  }

  #options(signal: AbortSignal): BulkOptions {
    let before = 0
    const onProgress: BulkOptions['onProgress'] = ({ bytes }) => {
      this.#bytes += bytes - before
      before = bytes
    }
    return { signal, onProgress }
  }

  /** Those that can be reached now; the copy fails later if it needs one that cannot. */
  async #places(from: readonly StoreRef[]): Promise<BucketPlace[]> {
    const { stores, domainOf } = this.#parts
    const found = await Promise.all(
      from.map(async (at): Promise<StoreHandle | undefined> => {
        try {
          return await stores.find(at, domainOf(at.site))
        } catch (error) {
          if (isAppError(error, 'STORE_UNAVAILABLE')) return undefined
          throw error
        }
      }),
    )
    return found.flatMap((handle) => (handle === undefined ? [] : placeOf(handle)))
  }
}
