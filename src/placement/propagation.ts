import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import type { CopyCount, Propagation, Settled, Wish } from '../content/propagation.ts'
import { AppError } from '../errors.ts'
import { BoundedMap } from '../lib/bounded-map.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { RootContext, RootFacts } from './model.ts'
import { type ObjectStatus, objectStatus } from './object-status.ts'
import { cidIn, type RootHistory, rootOfEvent } from './root-history.ts'
import type { PlacementView } from './view.ts'

export interface PropagationParts {
  readonly view: () => Pick<PlacementView, 'policy' | 'compiledPolicy' | 'planner'>
  readonly history: Pick<RootHistory, 'factsOf'>
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  /** Longest that a put waits for copies. */
  readonly waitMsMax: number
}

interface Known {
  readonly untilMs: number
  /** Undefined = nothing to tell. */
  readonly count: CopyCount | undefined
}

interface LookUp {
  count: Promise<CopyCount | undefined>
  /** An event came meanwhile: what was read may be old. */
  stale: boolean
}

const rootsKept = 20_000
/** An event that nobody heard (echoes come at most once) is made up for within this time. */
const keptMs = 60_000
/** Of a root asked for under another spelling than it was put with: its events do not name it. */
const otherSpellingKeptMs = 1_000
const lookUpMs = 2_000
const lookAgainMs = 2_000

/**
 * How far content has spread, for whoever asks at this node, whether or not it is the one that plans. Nothing is looked up
 * while no policy was set; after that each root once, until an event about it comes or the policy changes.
 */
export class PropagationWatch implements Propagation {
  readonly #parts: PropagationParts
  readonly #known = new BoundedMap<string, Known>(rootsKept)
  readonly #lookUps = new Map<string, LookUp>()
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #closing = new AbortController()

  constructor(parts: PropagationParts) {
    this.#parts = parts
  }

  tell(rootCid: string): CopyCount | undefined | Promise<CopyCount | undefined> {
    if (this.#parts.view().policy === undefined) return undefined
    const known = this.#known.get(rootCid)
    if (known !== undefined && performance.now() < known.untilMs) return known.count
    let lookUp = this.#lookUps.get(rootCid)
    if (lookUp === undefined || lookUp.stale) {
      lookUp = { count: Promise.resolve(undefined), stale: false }
      lookUp.count = this.#lookUp(rootCid, lookUp)
      this.#lookUps.set(rootCid, lookUp)
    }
    return lookUp.count
  }

  async settle(root: CID, wish: Wish, { signal }: { readonly signal: AbortSignal }): Promise<Settled> {
    const { view, waitMsMax } = this.#parts
    const { compiledPolicy, policy } = view()
    const isAsked = wish.level !== undefined && wish.level !== 'local'
    if (policy === undefined && !isAsked) return { level: 'local', met: true, count: undefined }
    const level = wish.level ?? (compiledPolicy.rules.some(({ ack }) => ack !== 'local') ? undefined : 'local')
    const endMs = performance.now() + (level === 'local' ? 0 : Math.min(wish.timeoutMs ?? waitMsMax, waitMsMax))
    let settled: Settled = { level: level ?? 'local', met: level === 'local', count: undefined }
    for (;;) {
      const woken = this.#nextNews(root.toV1().toString())
      try {
        const status = await this.#lookAt(root, signal)
        settled = judged(status, level)
        const leftMs = endMs - performance.now()
        if (settled.met || leftMs <= 0 || isHopeless(status, settled.level)) return settled
        await woken.within(Math.min(leftMs, lookAgainMs), signal)
      } catch (error) {
        // The put is done, whoever can say of its copies.
        if (signal.aborted) throw error
        return { ...settled, met: settled.level === 'local' }
      } finally {
        woken.stop()
      }
    }
  }

  /** Everything that is known of a root; undefined for what was never put in this space. @throws AppError STORE_UNAVAILABLE */
  async status(root: CID, signal: AbortSignal): Promise<ObjectStatus | undefined> {
    return (await this.#lookAt(root, signal))?.status
  }

  /** @throws AppError BLOCK_NOT_FOUND for what was never put in this space; STORE_UNAVAILABLE */
  async statusOf(root: CID, { signal }: { readonly signal: AbortSignal }): Promise<ObjectStatus> {
    const status = await this.status(root, signal)
    if (status !== undefined) return status
    throw new AppError('BLOCK_NOT_FOUND', `no object with the root ${root} was put here`, {
      hint: 'copies are watched over for what was put or imported as a whole, not for parts of it',
    })
  }

  /** An event is in the log of this site. */
  heard(subject: string): void {
    const root = rootOfEvent(subject)
    if (root === undefined) return
    this.#known.delete(root)
    const lookUp = this.#lookUps.get(root)
    if (lookUp !== undefined) lookUp.stale = true
    this.#wake(root)
  }

  /** The policy or the inventory is another one. */
  changed(): void {
    this.#known.clear()
    for (const lookUp of this.#lookUps.values()) lookUp.stale = true
    for (const root of [...this.#waiting.keys()]) this.#wake(root)
  }

  close(): void {
    this.#closing.abort(new Error('the node stops'))
  }

  async #lookUp(rootCid: string, lookUp: LookUp): Promise<CopyCount | undefined> {
    const root = cidIn(rootCid)
    if (root === undefined) return undefined
    try {
      const found = await withDeadline(lookUpMs, this.#closing.signal, (signal) => this.#lookAt(root, signal))
      const count = found === undefined || found.status.satisfied ? undefined : countOf(found.status)
      if (!lookUp.stale) {
        const isSpelledSo = found === undefined || found.status.cid === rootCid
        const untilMs = performance.now() + (isSpelledSo ? keptMs : otherSpellingKeptMs)
        this.#known.set(rootCid, { untilMs, count })
      }
      return count
    } catch {
      // A read goes on without it.
      return undefined
    } finally {
      if (this.#lookUps.get(rootCid) === lookUp) this.#lookUps.delete(rootCid)
    }
  }

  async #lookAt(root: CID, signal: AbortSignal) {
    const { history, contextOf, view } = this.#parts
    const facts = await history.factsOf(root, signal)
    if (facts === undefined) return undefined
    const context = await contextOf(facts, signal)
    const nowMs = Date.now()
    const { planner, inventory } = view().planner(nowMs)
    const rule = view().compiledPolicy.ruleFor(facts, context, nowMs)
    const plan = planner.plan(facts, context)
    return { rule, status: objectStatus({ facts, context, plan, rule, inventory, nowMs }) }
  }

  #wake(root: string): void {
    for (const wake of this.#waiting.get(root) ?? []) wake()
  }

  /** To be asked for before the look, so that nothing is missed in between. */
  #nextNews(root: string) {
    const stop = new AbortController()
    const waiters = this.#waiting.get(root) ?? new Set()
    this.#waiting.set(root, waiters)
    let wake: () => void = () => undefined
    const news = new Promise<void>((resolve) => {
      wake = resolve
    })
    waiters.add(wake)
    return {
      within: async (ms: number, signal: AbortSignal): Promise<void> => {
        const ended = AbortSignal.any([stop.signal, this.#closing.signal, signal])
        await Promise.race([news, delay(ms, undefined, { signal: ended }).catch(() => undefined)])
        signal.throwIfAborted()
        this.#closing.signal.throwIfAborted()
      },
      stop: () => {
        stop.abort()
        waiters.delete(wake)
        if (waiters.size === 0 && this.#waiting.get(root) === waiters) this.#waiting.delete(root)
      },
    }
  }
}

type Looked = Awaited<ReturnType<PropagationWatch['status']>>

const countOf = ({ verified, wanted, satisfied }: NonNullable<Looked>): CopyCount => ({
  verified,
  wanted: wanted.min,
  provisional: !satisfied,
})

interface Look {
  readonly rule: { readonly ack: Settled['level'] }
  readonly status: ObjectStatus
}

function judged(look: Look | undefined, asked: Settled['level'] | undefined): Settled {
  const level = asked ?? look?.rule.ack ?? 'local'
  if (look === undefined) return { level, met: level === 'local', count: undefined }
  const { status } = look
  const met = level === 'local' || (level === 'policy' ? status.satisfied : status.verified >= level)
  return { level, met, count: countOf(status) }
}

/** No rule makes so many copies, however long one waits. */
function isHopeless(look: Look | undefined, level: Settled['level']): boolean {
  return look !== undefined && typeof level === 'number' && level > look.status.wanted.max
}
