import { CID } from 'multiformats/cid'
import type { HashedBlock } from '../blocks/block.ts'
import type { Route } from '../blocks/routed.ts'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle, Stores } from '../blocks/stores.ts'
import type { DagLimits } from '../dag/target.ts'
import { isAppError } from '../errors.ts'
import type { ByteRate } from '../lib/byte-rate.ts'
import type { Move, MoveQueue } from '../nats/move-queue.ts'
import { type CopyOptions, copyDag, verifyDag } from './copy-dag.ts'
import { copyEvents } from './copy-events.ts'
import type { Facts } from './facts.ts'
import { decodeMove, type MoveTask } from './move.ts'
import type { Cause, Recorder } from './recorder.ts'

export interface ReplicatorParts {
  readonly queue: MoveQueue
  readonly stores: Stores
  readonly facts: Facts
  readonly recorder: Recorder
  /** A store of this site, made where it is missing. */
  readonly makeStore: (store: string) => Promise<StoreHandle>
  /** JetStream domain of a site. */
  readonly domainOf: (site: string) => string
  readonly limits: DagLimits
  readonly rate: ByteRate
  readonly workers: number
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

const readAheadBytes = 8 * 1024 * 1024
const workingEveryMs = 5_000
/** Until what is known has caught up with the log. */
const conflictMs = 250
const retryMs = [1_000, 5_000, 30_000] as const

/**
 * Makes the copies that are to lie at this site, and drops those that are not to: what the queue of the site has, a few at a
 * time. Every step is an event: requested, made, verified or failed; removed. Doing a task twice does no harm.
 */
export class Replicator {
  readonly #parts: ReplicatorParts
  readonly #stop = new AbortController()
  #running: Promise<unknown> = Promise.resolve()
  #made = 0
  #removed = 0
  #failed = 0
  #bytes = 0
  #busy = 0

  constructor(parts: ReplicatorParts) {
    this.#parts = parts
  }

  start(): void {
    this.#running = Promise.all(Array.from({ length: this.#parts.workers }, () => this.#work()))
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

  async #work(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        const move = await this.#parts.queue.next()
        if (move !== undefined) await this.#carryOut(move, signal)
      } catch (error) {
        if (signal.aborted) return
        this.#parts.onTrouble(error)
        await new Promise((resolve) => setTimeout(resolve, retryMs[0]).unref())
      }
    }
  }

  async #carryOut(move: Move, signal: AbortSignal): Promise<void> {
    let task: MoveTask
    try {
      task = decodeMove(move.data)
    } catch (error) {
      // Nobody can do it, now or later.
      move.ack()
      this.#parts.onTrouble(error)
      return
    }
    this.#busy++
    const sign = setInterval(() => move.working(), workingEveryMs)
    try {
      if (task.action === 'add') await this.#add(task, signal)
      else await this.#remove(task, signal)
      move.ack()
    } catch (error) {
      if (signal.aborted) move.retryAfter(0)
      else if (isAppError(error, 'REVISION_CONFLICT')) move.retryAfter(conflictMs)
      else await this.#fail(task, move, error)
    } finally {
      clearInterval(sign)
      this.#busy--
    }
  }

  async #add(task: MoveTask, signal: AbortSignal): Promise<void> {
    const { facts, recorder, makeStore } = this.#parts
    const { root, to } = task
    const known = await facts.get(task.rootKey, signal)
    const present = known?.copies.find((copy) => storeKey(copy) === storeKey(to))
    // Somebody has done it, or the content is wanted no more, since this was queued.
    const isThere = present?.state === 'verified' && (present.verifiedAt ?? '') >= (task.notBefore ?? '')
    if (known?.deleted === true || isThere || present?.state === 'removing') return
    const cause: Cause = { correlation: task.correlation, causation: task.causation }
    const requested = await recorder.record(copyEvents.requested(root, 'add', to, task), cause)
    const step = { correlation: task.correlation, causation: requested.id }
    const dest = await makeStore(to.store)
    const startedMs = performance.now()
    const cid = CID.parse(root)
    const options = this.#options(signal)
    const rewrite = (block: HashedBlock) => dest.raw.rewrite(block, { signal })
    const made = await copyDag(cid, dest.blocks, await this.#routes(task.from), { ...options, rewrite })
    const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(3))
    await recorder.record(copyEvents.made(root, to, { ...made, seconds }), step)
    const verified = await verifyDag(cid, dest.blocks, options)
    await recorder.record(copyEvents.verified(root, to, verified), step)
    this.#made++
  }

  /** The copy counts no more; its blocks are freed by the sweep of the store, where it has one. */
  async #remove(task: MoveTask, signal: AbortSignal): Promise<void> {
    const { facts, recorder } = this.#parts
    const known = await facts.get(task.rootKey, signal)
    const present = known?.copies.find((copy) => storeKey(copy) === storeKey(task.to))
    if (present?.state !== 'removing') return
    const cause: Cause = { correlation: task.correlation, causation: task.causation }
    // What is known may be behind: an end that is in the log already is not told again.
    const expect = { filter: recorder.copyFilter(task.root), lastSequence: known?.copyRevision ?? 0 }
    await recorder.record(copyEvents.removed(task.root, task.to), cause, expect)
    this.#removed++
  }

  async #fail(task: MoveTask, move: Move, error: unknown): Promise<void> {
    this.#failed++
    const pauseMs = retryMs[move.deliveries - 1]
    const { code, message } = isAppError(error) ? error : { code: 'INTERNAL' as const, message: String(error) }
    const cause: Cause = { correlation: task.correlation, causation: task.causation }
    const failed = copyEvents.failed(task.root, task.to, { code: code.toLowerCase(), message })
    await this.#parts.recorder.record(failed, cause).catch((trouble: unknown) => this.#parts.onTrouble(trouble))
    // Given up for now: whoever plans next asks again.
    if (pauseMs === undefined) move.ack()
    else move.retryAfter(pauseMs)
  }

  #options(signal: AbortSignal): CopyOptions {
    let before = 0
    return {
      signal,
      limits: this.#parts.limits,
      rate: this.#parts.rate,
      readAheadBytes,
      onProgress: ({ bytes }) => {
        // A second pass begins at nothing again.
        this.#bytes += bytes < before ? bytes : bytes - before
        before = bytes
      },
    }
  }

  /** Those that can be reached now; the copy fails later if it needs one that cannot. */
  async #routes(from: readonly StoreRef[]): Promise<Route[]> {
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
    return found.flatMap((handle) =>
      handle === undefined
        ? []
        : [{ site: handle.site, store: handle.store, blocks: handle.blocks, isLocal: handle.site === stores.site }],
    )
  }
}
