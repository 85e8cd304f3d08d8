import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { Facts } from './facts.ts'
import type { RootContext, RootFacts } from './model.ts'
import type { Planner } from './plan.ts'
import type { Plan, PlanStep } from './plan-model.ts'
import type { CompiledPolicy } from './policy.ts'

export interface DryRunParts {
  readonly facts: Pick<Facts, 'all'>
  readonly planner: Planner
  readonly policy: CompiledPolicy
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  /** At which a site reads for copies: what is copied is read twice, to be made and to be verified. In bytes a second. */
  readonly rate: { readonly setting: number; readonly measured: number | undefined }
}

export interface DryRunOptions {
  readonly signal: AbortSignal
  /** Steps that are told one by one. */
  readonly stepsMax: number
  /** Roots that are planned; the others are only counted. */
  readonly rootsMax?: number
}

export interface Move {
  readonly site: string
  readonly store: string
  readonly newStore: boolean
  readonly copies: number
  readonly bytes: number
}

/** What a policy would have done now. */
export interface DryRun {
  readonly roots: number
  /** More than are planned at a time: nothing below is about them. */
  readonly rootsSkipped: number
  readonly satisfied: number
  readonly degraded: number
  readonly adds: { readonly copies: number; readonly bytes: number }
  readonly removes: { readonly copies: number; readonly bytes: number }
  /** Roots that each rule applies to. */
  readonly rules: Readonly<Record<string, number>>
  readonly to: readonly Move[]
  /** Until all copies are made; sites work at the same time. Undefined = nothing to be done. */
  readonly estimatedSeconds: number | undefined
  readonly bytesPerSecond: { readonly setting: number; readonly measured: number | undefined }
  /** Why something cannot be met, and for how many roots. */
  readonly unmet: readonly { readonly why: string; readonly roots: number }[]
  /** The first of them. */
  readonly steps: readonly PlanStep[]
}

const rootsMaxDefault = 200_000
const contextsAtOnce = 32
const unmetMax = 50
const nowhere: RootContext = { names: [], demand: {}, projectedAt: [] }

/** The next steps of all roots under a policy, summed up. Nothing is done. */
export async function dryRun(parts: DryRunParts, options: DryRunOptions): Promise<DryRun> {
  const { facts, planner, policy, contextOf, rate } = parts
  const { signal, stepsMax, rootsMax = rootsMaxDefault } = options
  const sums = new Sums(stepsMax)
  const asks = policy.rules.some(({ when, near }) => when !== undefined || near !== undefined)
  for await (const page of facts.all(signal)) {
    const room = Math.max(0, rootsMax - sums.roots)
    const looked = page.slice(0, room)
    sums.skipped += page.length - looked.length
    for (let at = 0; at < looked.length; at += contextsAtOnce) {
      const slice = looked.slice(at, at + contextsAtOnce)
      // What was deleted is in view where a name holds it.
      const lookedUp = slice.map(([, one]) => (asks || one.deleted ? contextOf(one, signal) : nowhere))
      const contexts = await Promise.all(lookedUp)
      for (const [index, [, one]] of slice.entries()) sums.take(planner.plan(one, contexts[index] ?? nowhere))
    }
  }
  return sums.result(rate)
}

class Sums {
  roots = 0
  skipped = 0
  readonly #stepsMax: number
  readonly #steps: PlanStep[] = []
  readonly #moves = new Map<string, { at: StoreRef; newStore: boolean; copies: number; bytes: number }>()
  readonly #rules = new Map<string, number>()
  readonly #unmet = new Map<string, number>()
  readonly #adds = { copies: 0, bytes: 0 }
  readonly #removes = { copies: 0, bytes: 0 }
  #satisfied = 0
  #degraded = 0

  constructor(stepsMax: number) {
    this.#stepsMax = stepsMax
  }

  take({ rule, satisfied, degraded, steps, unmet }: Plan): void {
    this.roots++
    if (satisfied) this.#satisfied++
    if (degraded) this.#degraded++
    this.#rules.set(rule, (this.#rules.get(rule) ?? 0) + 1)
    for (const why of unmet) {
      if (this.#unmet.has(why) || this.#unmet.size < unmetMax) this.#unmet.set(why, (this.#unmet.get(why) ?? 0) + 1)
    }
    for (const step of steps) this.#step(step)
  }

  result(rate: DryRunParts['rate']): DryRun {
    const to = [...this.#moves.values()]
      .map(({ at: { site, store }, ...move }): Move => ({ site, store, ...move }))
      .sort((a, b) => (storeKey(a) < storeKey(b) ? -1 : 1))
    return {
      roots: this.roots,
      rootsSkipped: this.skipped,
      satisfied: this.#satisfied,
      degraded: this.#degraded,
      adds: this.#adds,
      removes: this.#removes,
      rules: Object.fromEntries(this.#rules),
      to,
      estimatedSeconds: secondsFor(to, rate),
      bytesPerSecond: rate,
      unmet: Array.from(this.#unmet, ([why, roots]) => ({ why, roots })).sort((a, b) => b.roots - a.roots),
      steps: this.#steps,
    }
  }

  #step(step: PlanStep): void {
    if (this.#steps.length < this.#stepsMax) this.#steps.push(step)
    const sum = step.kind === 'add' ? this.#adds : this.#removes
    sum.copies++
    sum.bytes += step.bytes
    if (step.kind === 'remove') return
    const key = storeKey(step.to)
    const move = this.#moves.get(key) ?? { at: step.to, newStore: step.newStore, copies: 0, bytes: 0 }
    this.#moves.set(key, { ...move, copies: move.copies + 1, bytes: move.bytes + step.bytes })
  }
}

/** The site that has most to do ends last. Each byte is read twice. */
function secondsFor(moves: readonly Move[], { setting, measured }: DryRunParts['rate']): number | undefined {
  const bySite = new Map<string, number>()
  for (const { site, bytes } of moves) bySite.set(site, (bySite.get(site) ?? 0) + bytes)
  if (bySite.size === 0) return undefined
  const bytesPerSecond = Math.min(setting, measured ?? setting)
  return Number(((2 * Math.max(...bySite.values())) / bytesPerSecond).toFixed(1))
}
