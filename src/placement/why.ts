import { CID } from 'multiformats/cid'
import { storeKey } from '../blocks/store-ref.ts'
import { AppError, isAppError } from '../errors.ts'
import { decodeEvent } from '../events/envelope.ts'
import type { NameEntry } from '../names/name-entry.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { RootContext, RootFacts } from './model.ts'
import { type CopyStatus, type ObjectStatus, objectStatus } from './object-status.ts'
import type { RuleVerdict } from './policy.ts'
import type { RootHistory } from './root-history.ts'
import type { PlacementView } from './view.ts'

export interface WhyParts {
  readonly view: () => Pick<PlacementView, 'policy' | 'compiledPolicy' | 'planner'>
  readonly history: Pick<RootHistory, 'factsOf'>
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  readonly reader: Pick<LogReader, 'from'>
  readonly domain: string
  readonly space: string
  readonly resolveName: (reference: string, options: { readonly signal: AbortSignal }) => Promise<NameEntry>
}

/** An event of the log of this site. */
export interface WhyEvent {
  readonly sequence: number
  readonly id: string
  /** As `copy.verified`. */
  readonly type: string
  readonly time: string
  /** That wrote it. */
  readonly site: string
  readonly correlation: string
}

export interface Why extends Omit<ObjectStatus, 'copies'> {
  /** As it was asked for. */
  readonly name: string | null
  /** Of the policy that counts; null while none was set. */
  readonly policyRevision: number | null
  /** Each rule up to the one that applies, which is the last. */
  readonly rules: readonly RuleVerdict[]
  readonly copies: readonly (CopyStatus & { readonly events: readonly WhyEvent[] })[]
  /** What is about the object, and not about one copy of it. */
  readonly events: readonly WhyEvent[]
  /** Older ones that are left out. */
  readonly eventsLeftOut: number
}

interface Found extends WhyEvent {
  /** See `storeKey`; undefined for what is not about one copy. */
  readonly copy: string | undefined
}

const eventsMax = 300

/** Why a root lies where it lies: the rule, the copies and what is still to be done, with the events behind each of them. */
export class Explainer {
  readonly #parts: WhyParts

  constructor(parts: WhyParts) {
    this.#parts = parts
  }

  /**
   * @param reference a CID in any spelling, `/ipfs/<cid>`, or a name, also `name@<revision>`
   * @throws AppError NAME_INVALID | NAME_NOT_FOUND | BLOCK_NOT_FOUND (never put here)
   */
  async why(reference: string, { signal }: { readonly signal: AbortSignal }): Promise<Why> {
    const { root, name } = await this.#rootOf(reference, signal)
    const { view, history, contextOf } = this.#parts
    const facts = await history.factsOf(root, signal)
    if (facts === undefined) {
      throw new AppError('BLOCK_NOT_FOUND', `${root} was never put here as an object of its own`, {
        hint: 'placement goes by whole objects: ask for the root, not for what lies below it',
      })
    }
    const now = view()
    const { policy, compiledPolicy } = now
    const nowMs = Date.now()
    const context = await contextOf(facts, signal)
    const { planner, inventory } = now.planner(nowMs)
    const rule = compiledPolicy.ruleFor(facts, context, nowMs)
    const plan = planner.plan(facts, context)
    const status = objectStatus({ facts, context, plan, rule, inventory, nowMs })
    const events = await this.#eventsOf(facts.root, signal)
    const kept = events.slice(-eventsMax)
    return {
      ...status,
      name,
      policyRevision: policy?.revision ?? null,
      rules: compiledPolicy.explain(facts, context, nowMs),
      copies: status.copies.map((copy) => ({ ...copy, events: told(kept, storeKey(copy)) })),
      events: told(kept, undefined),
      eventsLeftOut: events.length - kept.length,
    }
  }

  async #rootOf(reference: string, signal: AbortSignal): Promise<{ readonly root: CID; readonly name: string | null }> {
    const text = reference.replace(/^(\/ipfs\/|ipfs:\/\/|cid:)/, '')
    try {
      return { root: CID.parse(text), name: null }
    } catch (cause) {
      if (text !== reference)
        throw new AppError('CID_INVALID', `${JSON.stringify(text.slice(0, 100))} is no CID`, { cause })
    }
    try {
      const entry = await this.#parts.resolveName(reference.replace(/^name:/, ''), { signal })
      return { root: CID.parse(entry.cid), name: entry.name }
    } catch (error) {
      if (!isAppError(error, 'NAME_NOT_FOUND')) throw error
      throw new AppError('NAME_NOT_FOUND', `${JSON.stringify(reference)} is neither a CID nor a name`, { cause: error })
    }
  }

  async #eventsOf(root: string, signal: AbortSignal): Promise<readonly Found[]> {
    const { reader, domain, space } = this.#parts
    const events: Found[] = []
    for await (const { subject, sequence, payload } of reader.from(`${domain}.evt.*.${space}.*.*.${root}`, 1, signal)) {
      const event = decodeEvent(payload)
      if (event === undefined) continue
      const [, , writer = '', , entity = '', verb = ''] = subject.split('.')
      const { site, store } = event.data
      const at = entity === 'object' && verb !== 'deleted' ? writer : site
      const copy = typeof at === 'string' && typeof store === 'string' ? storeKey({ site: at, store }) : undefined
      const { id, time, correlationid: correlation } = event
      events.push({ sequence, id, type: `${entity}.${verb}`, time, site: writer, correlation, copy })
    }
    return events
  }
}

function told(events: readonly Found[], copy: string | undefined): WhyEvent[] {
  return events.filter((event) => event.copy === copy).map(({ copy: _copy, ...event }) => event)
}
