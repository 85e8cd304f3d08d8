import { storeKey } from '../blocks/store-ref.ts'
import { isAppError } from '../errors.ts'
import type { MoveQueue } from '../nats/move-queue.ts'
import { copyEvents } from './copy-events.ts'
import { CurrentCopies } from './current.ts'
import type { Facts } from './facts.ts'
import type { Copy, Inventory, RootContext, RootFacts } from './model.ts'
import { encodeMove, type MoveTask, moveKey } from './move.ts'
import type { Planner } from './plan.ts'
import type { Plan, PlanStep } from './plan-model.ts'
import type { Recorder } from './recorder.ts'

export interface ReconcilerParts {
  readonly site: string
  readonly facts: Facts
  readonly queue: MoveQueue
  readonly recorder: Recorder
  /** Over the inventory and the policy of now; the same object as long as they are the same. */
  readonly planner: () => { readonly planner: Planner; readonly inventory: Inventory }
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  readonly onTrouble: (error: unknown) => void
}

const rootsAtOnce = 16
const retryMs = 1_000

/**
 * Looks at one root after the other and does what the plan asks of this site: copies to be made here are queued, copies to
 * be dropped here are queued, and, where this site is the steward of the root, a surplus copy is asked to go and it is told
 * whether the policy holds. To be run under the lease of the site.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts
  readonly #waiting = new Set<string>()
  #wake: (() => void) | undefined
  #busy = 0

  constructor(parts: ReconcilerParts) {
    this.#parts = parts
  }

  /** Roots that are to be looked at. */
  get pending(): number {
    return this.#waiting.size + this.#busy
  }

  /** To be looked at soon; once, however often it is said before. */
  consider(rootKey: string): void {
    this.#waiting.add(rootKey)
    this.#wake?.()
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake?.(), { once: true })
    while (!signal.aborted) {
      const keys = [...this.#waiting].slice(0, rootsAtOnce)
      for (const key of keys) this.#waiting.delete(key)
      if (keys.length > 0) await Promise.all(keys.map((key) => this.#work(key, signal)))
      else await this.#woken()
    }
  }

  async #work(key: string, signal: AbortSignal): Promise<void> {
    this.#busy++
    try {
      await this.reconcile(key, signal)
    } catch (error) {
      // A lost compare-and-set means that there is news, which brings it here again.
      if (signal.aborted || isAppError(error, 'REVISION_CONFLICT')) return
      this.#parts.onTrouble(error)
      setTimeout(() => this.consider(key), retryMs).unref()
    } finally {
      this.#busy--
    }
  }

  /** What the plan for one root asks of this site. @returns the plan; undefined for a root that is not known */
  async reconcile(rootKey: string, signal: AbortSignal): Promise<Plan | undefined> {
    const { facts: store, planner: current, contextOf, site } = this.#parts
    const facts = await store.get(rootKey, signal)
    if (facts === undefined) return undefined
    const { planner, inventory } = current()
    const plan = planner.plan(facts, await contextOf(facts, signal))
    for (const step of plan.steps) {
      if (step.kind === 'add' && step.to.site === site)
        await this.#queue({
          ...taskOf(step, rootKey, facts, plan),
          notBefore: new CurrentCopies(inventory).since(step.to),
        })
    }
    for (const copy of facts.copies) {
      if (copy.state === 'removing' && copy.site === site) await this.#queue(removal(copy, rootKey, facts, plan))
    }
    if (stewardOf(facts, inventory) === site) await this.#steward(facts, plan)
    return plan
  }

  async #queue(task: MoveTask): Promise<void> {
    await this.#parts.queue.add(moveKey(task), encodeMove(task))
  }

  async #steward(facts: RootFacts, plan: Plan): Promise<void> {
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
    if (facts.deleted) return
    const state = plan.satisfied && !plan.degraded ? 'satisfied' : 'degraded'
    // A put that needed nothing more is told by its own event.
    const isNews = facts.told !== state && (state === 'degraded' || facts.copyRevision > 0)
    if (isNews) await recorder.record(copyEvents.told(facts.root, state, plan), cause, expect)
  }

  async #woken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = undefined
  }
}

/**
 * Who decides which surplus copy goes, and tells how the root fares: the site where it was put first, which the log has fixed
 * for all; if that one has left for good, the first by name with a verified copy.
 */
export function stewardOf(facts: RootFacts, { sites }: Inventory): string | undefined {
  const origin = sites.find(({ site }) => site === facts.originSite)
  if (origin?.state === 'active') return origin.site
  const isActive = ({ site }: Copy) => sites.some((one) => one.site === site && one.state === 'active' && one.up)
  return facts.copies.find((copy) => copy.state === 'verified' && isActive(copy))?.site
}

function taskOf(step: PlanStep, rootKey: string, facts: RootFacts, plan: Plan): MoveTask {
  const { root, to, from, why } = step
  return {
    ...{ action: 'add', root, rootKey, to, from, why, rule: plan.rule },
    ...{ correlation: facts.correlation, causation: facts.lastEventId },
  }
}

function removal(copy: Copy, rootKey: string, facts: RootFacts, plan: Plan): MoveTask {
  const { site, store } = copy
  return {
    ...{ action: 'remove', root: facts.root, rootKey, to: { site, store }, from: [], rule: plan.rule },
    ...{ why: `asked to go: ${storeKey(copy)}`, correlation: facts.correlation, causation: copy.eventId },
  }
}
