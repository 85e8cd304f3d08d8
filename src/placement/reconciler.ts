import { storeKey } from '../blocks/store-ref.ts'
import { AppError, isAppError } from '../errors.ts'
import { onAbort } from '../lib/on-abort.ts'
import type { MoveQueue } from '../nats/move-queue.ts'
import { copyEvents, lossEvents } from './copy-events.ts'
import type { Facts } from './facts.ts'
import { isPut } from './fold.ts'
import type { Copy, Inventory, RootContext, RootFacts } from './model.ts'
import { encodeMove, type MoveTask, moveKey } from './move.ts'
import type { Planner } from './plan.ts'
import type { Plan, PlanStep } from './plan-model.ts'
import type { Recorder } from './recorder.ts'
import { lostWith, stewardOf, tellerOf } from './steward.ts'

export interface ReconcilerParts {
  readonly site: string
  readonly facts: Pick<Facts, 'get'>
  readonly queue: Pick<MoveQueue, 'add'>
  readonly recorder: Pick<Recorder, 'record' | 'copyFilter'>
  /** Over the inventory and the policy of now; the same object as long as they are the same. */
  readonly planner: () => { readonly planner: Planner; readonly inventory: Inventory }
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  /** Whether a site that is not heard is silent. */
  readonly hasListened: () => boolean
  /** The last whole copy went with a site or a store that was removed. */
  readonly onLoss: (facts: RootFacts, failure: AppError) => void
  readonly onTrouble: (error: unknown) => void
}

interface Waiting {
  /** Undefined = to be read. */
  readonly facts: RootFacts | undefined
  /** One of all roots that are looked at: also for what was left lying. */
  readonly isReview: boolean
}

const rootsAtOnce = 16
/** More than that are not remembered one by one: see `overflowed`. Some 10 MB. */
const waitingMax = 10_000
const retryMsMin = 1_000
const retryMsMax = 300_000
/** What only waits for an answer has nothing wrong with it. */
const outageRetryMsMax = 5_000

/**
 * Looks at one root after the other and does what the plan asks of this site: copies to be made here are queued, copies to
 * be dropped here are queued, and, where this site is the steward of the root, a surplus copy is asked to go and it is told
 * whether the policy holds. To be run under the lease of the site.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts
  readonly #waiting = new Map<string, Waiting>()
  readonly #underWay = new Set<string>()
  /** How often a root has failed in a row. */
  readonly #failures = new Map<string, number>()
  #wakers: (() => void)[] = []
  #overflowed = false
  #lost = 0

  constructor(parts: ReconcilerParts) {
    this.#parts = parts
  }

  /** Roots of which this node has told that no whole copy is left. */
  get lost(): number {
    return this.#lost
  }

  /** Roots that are to be looked at. */
  get pending(): number {
    return this.#waiting.size + this.#underWay.size
  }

  /** Whether roots were left out because too many waited, since it was asked last: all have to be looked at then. */
  takeOverflowed(): boolean {
    const was = this.#overflowed
    this.#overflowed = false
    return was
  }

  /**
   * To be looked at soon; once, however often it is said before.
   * @param facts as they were read last: what is decided by them holds only if the log has nothing newer
   */
  consider(rootKey: string, facts?: RootFacts, isReview = false): void {
    const before = this.#waiting.get(rootKey)
    if (before === undefined && this.#waiting.size >= waitingMax) {
      this.#overflowed = true
      return
    }
    // What was read earlier must not take the place of what is newer.
    const newest = (before?.facts?.revision ?? 0) > (facts?.revision ?? 0) ? before?.facts : facts
    this.#waiting.set(rootKey, { facts: newest, isReview: isReview || before?.isReview === true })
    this.#wakers.pop()?.()
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const wakeAll = () => {
      for (const wake of this.#wakers.splice(0)) wake()
    }
    const release = onAbort(signal, wakeAll)
    await Promise.all(Array.from({ length: rootsAtOnce }, () => this.#worker(signal)))
    release()
    // Whoever plans next looks at all roots.
    this.#waiting.clear()
    this.#failures.clear()
  }

  async #worker(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const next = this.#take()
      if (next !== undefined) await this.#work(...next, signal)
      else await new Promise<void>((resolve) => this.#wakers.push(resolve))
    }
  }

  /** The next one that no worker has. */
  #take(): readonly [string, Waiting] | undefined {
    for (const entry of this.#waiting) {
      if (this.#underWay.has(entry[0])) continue
      this.#waiting.delete(entry[0])
      return entry
    }
    return undefined
  }

  async #work(key: string, { facts, isReview }: Waiting, signal: AbortSignal): Promise<void> {
    this.#underWay.add(key)
    try {
      await this.reconcile(key, signal, facts, isReview)
      this.#failures.delete(key)
    } catch (error) {
      // A lost compare-and-set means that there is news, which brings it here again.
      if (!signal.aborted && !isAppError(error, 'REVISION_CONFLICT')) this.#retry(key, error)
    } finally {
      this.#underWay.delete(key)
      if (this.#waiting.has(key)) this.#wakers.pop()?.()
    }
  }

  #retry(key: string, error: unknown): void {
    const failures = this.#failures.get(key) ?? 0
    if (failures === 0) this.#parts.onTrouble(error)
    if (this.#failures.size >= waitingMax) {
      this.#overflowed = true
      return
    }
    this.#failures.set(key, failures + 1)
    const longestMs = isAppError(error, 'STORE_UNAVAILABLE') ? outageRetryMsMax : retryMsMax
    const pauseMs = Math.min(retryMsMin * 2 ** failures, longestMs)
    setTimeout(() => this.consider(key), pauseMs).unref()
  }

  /** What the plan for one root asks of this site. @returns the plan; undefined for a root that is not known */
  async reconcile(
    rootKey: string,
    signal: AbortSignal,
    known?: RootFacts,
    isReview = false,
  ): Promise<Plan | undefined> {
    const { facts: store, planner: current, contextOf, site } = this.#parts
    const facts = known ?? (await store.get(rootKey, signal))
    if (facts === undefined || !isPut(facts)) return undefined
    const context = await contextOf(facts, signal)
    const { planner, inventory } = current()
    const plan = planner.plan(facts, context)
    for (const step of plan.steps) {
      if (step.kind === 'add' && step.to.site === site)
        await this.#queue({ ...taskOf(step, rootKey, facts, plan), notBefore: planner.since(step.to) })
    }
    for (const copy of facts.copies) {
      if (copy.site !== site) continue
      if (copy.state === 'removing') await this.#queue(removal(copy, rootKey, facts, plan))
      // The queue may have lost what the log has asked for, or has told to have failed; for that whole copies have to be left.
      const isOpen = copy.state === 'requested' || (copy.state === 'failed' && plan.have > 0)
      if (isOpen && isReview) await this.#queue(resumption(copy, rootKey, facts, plan))
    }
    if (stewardOf(facts, inventory) === site) await this.#steward(facts, plan, inventory)
    else if (tellerOf(facts, inventory) === site) await this.#tell(facts, plan, inventory)
    return plan
  }

  async #queue(task: MoveTask): Promise<void> {
    await this.#parts.queue.add(moveKey(task), encodeMove(task))
  }

  async #steward(facts: RootFacts, plan: Plan, inventory: Inventory): Promise<void> {
    const { recorder } = this.#parts
    const cause = { correlation: facts.correlation, causation: facts.lastEventId }
    const expect = { filter: recorder.copyFilter(facts.root), lastSequence: facts.copyRevision }
    const removal = plan.steps.find(({ kind }) => kind === 'remove')
    if (removal !== undefined) {
      // By compare-and-set: two who decide at a time must not both take one away.
      const { rule } = plan
      const asked = copyEvents.requested(facts.root, 'remove', removal.to, { rule, why: removal.why })
      await recorder.record(asked, cause, expect)
      return
    }
    await this.#tell(facts, plan, inventory)
  }

  /** Whether the policy holds, when that has changed, and whether there is a whole copy left at all. */
  async #tell(facts: RootFacts, plan: Plan, inventory: Inventory): Promise<void> {
    const { recorder, onLoss, hasListened } = this.#parts
    // It is out of view.
    if (plan.wanted.max === 0) return
    const cause = { correlation: facts.correlation, causation: facts.lastEventId }
    const expect = { filter: recorder.copyFilter(facts.root), lastSequence: facts.copyRevision }
    const state = plan.satisfied && !plan.degraded ? 'satisfied' : 'degraded'
    // A put that needed nothing more is told by its own event.
    const isNews = facts.told !== state && (state === 'degraded' || facts.copyRevision > 0)
    if (isNews) {
      // That it was told brings the root here again.
      await recorder.record(copyEvents.told(facts.root, state, plan), cause, expect)
      return
    }
    const places = facts.lost || !hasListened() ? undefined : lostWith(facts, inventory)
    if (places === undefined) return
    const message = `its last whole copies went with ${places.join(', ')}`
    // A copy that was verified meanwhile is no loss.
    await recorder.record(lossEvents.lost(facts.root, { code: 'block_lost', message }), cause, expect)
    this.#lost++
    onLoss(facts, new AppError('BLOCK_LOST', `${facts.root}: ${message}`))
  }
}

function taskOf(step: PlanStep, rootKey: string, facts: RootFacts, plan: Plan): MoveTask {
  const { root, to, from, why } = step
  return {
    ...{ action: 'add', root, rootKey, to, from, why, rule: plan.rule },
    ...{ correlation: facts.correlation, causation: facts.lastEventId },
  }
}

function resumption(copy: Copy, rootKey: string, facts: RootFacts, plan: Plan): MoveTask {
  const to = { site: copy.site, store: copy.store }
  const from = facts.copies.flatMap(({ site, store, state }) => (state === 'verified' ? [{ site, store }] : []))
  const step = { kind: 'add', root: facts.root, to, newStore: false, from, bytes: facts.bytes ?? 0 } as const
  return taskOf({ ...step, why: 'asked for before, and not ended yet' }, rootKey, facts, plan)
}

function removal(copy: Copy, rootKey: string, facts: RootFacts, plan: Plan): MoveTask {
  const { site, store } = copy
  return {
    ...{ action: 'remove', root: facts.root, rootKey, to: { site, store }, from: [], rule: plan.rule },
    ...{ why: `asked to go: ${storeKey(copy)}`, correlation: facts.correlation, causation: copy.eventId },
  }
}
