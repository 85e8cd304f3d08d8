import type { LayoutConfig, PlacementConfig } from '../config.ts'
import { CommandLog } from '../content/command-log.ts'
import { AppError } from '../errors.ts'
import type { EventLog } from '../events/log.ts'
import type { NameEntry } from '../names/name-entry.ts'
import type { Names } from '../names/names.ts'
import type { Nats } from '../nats/connection.ts'
import { inDomain } from '../nats/domain.ts'
import { lastSequence } from '../nats/event-stream.ts'
import { readStream } from '../nats/layout.ts'
import { LogReader } from '../nats/log-reader.ts'
import type { IsNamed } from './contexts.ts'
import { measuredCopyRate } from './copy-rate.ts'
import { CurrentCopies } from './current.ts'
import { type DryRun, dryRun } from './dry-run.ts'
import type { Facts } from './facts.ts'
import type { FoldPosition } from './fold-position.ts'
import { Holdings } from './holdings.ts'
import type { RootContext, RootFacts } from './model.ts'
import type { StoreSettings } from './place-events.ts'
import { type SiteStatus, type StoreStatus, sitesOf, storesOf } from './places.ts'
import { Planner } from './plan.ts'
import { type CompiledPolicy, compilePolicy, parsePolicy } from './policy.ts'
import { PolicyLog } from './policy-log.ts'
import { createPolicyVerbs, type PolicyVerbs } from './policy-verbs.ts'
import { type Replay, type ReplayRange, replay } from './replay.ts'
import { RootHistory } from './root-history.ts'
import { shownWithin } from './shown.ts'
import type { StoreKeeping } from './store-keeping.ts'
import { createPlaceVerbs, type PlaceVerbs } from './store-verbs.ts'
import type { PlacementView } from './view.ts'
import { Explainer, type Why } from './why.ts'

interface Abortable {
  readonly signal: AbortSignal
}

/** What people and programs ask of placement, and tell it. */
export interface PlacementVerbs {
  readonly policy: PolicyVerbs
  readonly places: PlaceVerbs
  /** Why content lies where it lies. @throws AppError NAME_INVALID | NAME_NOT_FOUND | CID_INVALID | BLOCK_NOT_FOUND */
  why(reference: string, options: Abortable): Promise<Why>
  sites(): readonly SiteStatus[]
  stores(): readonly StoreStatus[]
  /**
   * What a policy would have done now; nothing is done. `document` undefined = the policy that holds.
   * @throws AppError POLICY_INVALID | RATE_LIMITED (one runs already)
   */
  plan(document: unknown, options: Abortable & { readonly stepsMax: number }): Promise<DryRun>
  /** @throws as `plan` */
  backtest(document: unknown, range: ReplayRange, options: Abortable): Promise<Replay>
  /** Resolves when no failure is left to be recorded. */
  idle(): Promise<void>
}

export interface SurfaceParts {
  readonly nats: Nats
  readonly layout: LayoutConfig
  readonly config: PlacementConfig
  readonly view: PlacementView
  readonly facts: Facts
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  readonly isNamed: IsNamed
  readonly keeping: StoreKeeping
  readonly position: FoldPosition
  readonly eventLog: EventLog
  readonly names: Names
  readonly waitMs: number
  readonly resolveName: (reference: string, options: Abortable) => Promise<NameEntry>
}

export function createSurface(parts: SurfaceParts): PlacementVerbs {
  const { nats, layout, config, view, facts, contextOf, isNamed, keeping, position, eventLog, names } = parts
  const { domain, space, site } = layout
  const { reader } = names
  const commands = new CommandLog(eventLog, names)
  const sites = () => new Set(view.sites.flatMap((one) => (one.state === 'active' ? [one.site] : [])))
  const policyOf = (document: unknown): CompiledPolicy =>
    document === undefined ? view.compiledPolicy : compilePolicy(parsePolicy(document, sites()))
  const policy = createPolicyVerbs({
    ...{ space, commands, log: new PolicyLog(reader, layout), sites, shown: shownPolicy },
    throwIfDamaged: () => eventLog.throwIfDamaged(),
  })
  const holdings = new Holdings({
    facts,
    last: () => lastSequence(nats, eventLog.stream),
    isBehind: (sequence, signal) => position.isBehind(sequence, signal),
    counts: (at) =>
      view.store(at.site, at.store)?.state !== 'removed' &&
      view.sites.some((one) => one.site === at.site && one.state === 'active'),
    current: (known) => new CurrentCopies(view.inventory()).of(known),
    isNamed,
  })
  const places = createPlaceVerbs({
    ...{ domain, space, site, commands, reader, holdings, primary: layout.store },
    isUp: (one) => view.isUp(one),
    hasListened: () => view.hasListened,
    shown: shownStores,
    make: (store, shards) => keeping.make(store, shards),
    settingsOf: (handle) => keeping.settingsOf(handle),
    reap: () => keeping.reap(),
  })
  const explainer = new Explainer({
    ...{ contextOf, reader, domain, space, view: () => view, resolveName: parts.resolveName },
    history: new RootHistory({ facts, reader, domain, space }),
  })
  const planOptions = { demandRateMin: config.demandRateMin, storesPerSiteMax: config.storesPerSiteMax }
  const alone = oneAtATime()

  return {
    policy,
    places,
    why: (reference, options) => explainer.why(reference, options),
    sites: () => sitesOf(view, site),
    stores: () => storesOf(view),
    plan: async (document, { signal, stepsMax }) => {
      const compiled = policyOf(document)
      return alone(async () => {
        const planner = new Planner(compiled, view.inventory(), { ...planOptions, nowMs: Date.now() })
        const measured = await measuredCopyRate(reader, layout, signal)
        const rate = { setting: config.copyBytesPerSecond, measured }
        return dryRun({ facts, planner, policy: compiled, contextOf, rate }, { signal, stepsMax })
      })
    },
    backtest: async (document, range, { signal }) => {
      const compiled = policyOf(document)
      const replayParts = { facts, contextOf, domain, space, inventory: view.inventory(), options: planOptions }
      return alone(() => replay(compiled, range, { ...replayParts, readsOf }, signal))
    },
    idle: () => commands.idle(),
  }

  /** Whoever asks after a change is told of it. */
  async function shownPolicy({ revision }: { readonly revision: number }): Promise<void> {
    await shownWithin(() => (view.policy?.revision ?? 0) >= revision)
  }

  async function shownStores(stores: readonly StoreSettings[]): Promise<void> {
    await shownWithin(() => stores.every((one) => view.store(one.site, one.store)?.state === one.state))
  }

  /** Each site has a read log of its own. */
  async function readsOf(at: string): Promise<LogReader | undefined> {
    const { replicas } = layout
    if (at === site) return new LogReader(nats, readStream(domain), { replicas, waitMs: parts.waitMs })
    if (!view.isUp(at)) return undefined
    try {
      const there = await inDomain(nats, view.domainOf(at))
      await there.jsm.streams.info(readStream(domain))
      return new LogReader(there, readStream(domain), { replicas: 1, waitMs: parts.waitMs })
    } catch {
      // Cut off just now, or it keeps no read log: the answer says that its reads are missing.
      return undefined
    }
  }
}

/** These read everything there is: a node does one of them at a time. @throws AppError RATE_LIMITED */
function oneAtATime() {
  let busy = false
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (busy) throw new AppError('RATE_LIMITED', 'another plan or backtest runs at this node', { hint: 'try again' })
    busy = true
    try {
      return await work()
    } finally {
      busy = false
    }
  }
}
