import { CID } from 'multiformats/cid'
import type { LayoutConfig, PlacementConfig } from '../config.ts'
import { CommandLog } from '../content/command-log.ts'
import type { ReadLog } from '../content/verbs.ts'
import type { EventSource } from '../events/envelope.ts'
import type { EventLog } from '../events/log.ts'
import { type LogMessage, rootKey } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'
import type { Nats } from '../nats/connection.ts'
import { createMessaging } from '../nats/messaging.ts'
import { Contexts, type IsNamed } from './contexts.ts'
import { Demand } from './demand.ts'
import type { RootContext, RootFacts } from './model.ts'
import { NameWatch } from './name-watch.ts'
import { ProjectionWatch } from './projection-watch.ts'
import { createProjectionVerbs, type ProjectionVerbs } from './projections.ts'
import type { PlacementView } from './view.ts'

export interface SurroundingsParts {
  readonly nats: Nats
  readonly layout: LayoutConfig
  readonly config: PlacementConfig
  readonly eventLog: EventLog
  readonly names: Names
  readonly source: EventSource
  /** Undefined until it is open. */
  readonly view: () => PlacementView | undefined
  /** A root that plans may see otherwise now. */
  readonly consider: (rootKey: string) => void
  readonly onTrouble: (error: unknown) => void
}

/**
 * What a plan goes by beside the copies of a root: its names, who shows it, who reads it. Roots are looked at again when any of
 * these changes for them.
 */
export class Surroundings {
  readonly projections: ProjectionVerbs
  readonly #contexts: Contexts
  readonly #demand: Demand
  readonly #nameWatch: NameWatch
  readonly #projectionWatch: ProjectionWatch
  readonly #commands: CommandLog
  readonly #view: SurroundingsParts['view']

  constructor(parts: SurroundingsParts) {
    const { nats, layout, config, eventLog, names, source, view, consider, onTrouble } = parts
    const { domain, space, site } = layout
    const known = () => view()?.projections ?? []
    this.#view = view
    this.#demand = new Demand({
      ...{ messaging: createMessaging(nats), domain, site, node: source.node },
      halfLifeMs: config.demandHalfLifeMs,
      rateMin: config.demandRateMin,
      onTurn: (root) => consider(rootKey(CID.parse(root))),
    })
    this.#contexts = new Contexts({ names, projections: known, demandOf: (root) => this.#demand.of(root) })
    this.#nameWatch = new NameWatch({ names, matters: () => this.#needsNames, onRoot: consider, onTrouble })
    this.#projectionWatch = new ProjectionWatch({
      ...{ contexts: this.#contexts, projections: known, onRoot: consider, onTrouble },
    })
    this.#commands = new CommandLog(eventLog, names)
    this.projections = createProjectionVerbs({
      ...{ domain, space, commands: this.#commands, known },
      sites: () => view()?.sites.flatMap((one) => (one.state === 'active' ? [one.site] : [])) ?? [],
    })
  }

  /** What the rules of a policy may ask about a root, as it is now. @throws AppError STORE_UNAVAILABLE */
  readonly contextNow = (facts: RootFacts, signal: AbortSignal): Promise<RootContext> =>
    this.#contexts.of(facts, signal)

  readonly isNamed: IsNamed = (facts, signal) => this.#contexts.isNamed(facts, signal)

  /** The same for each put: names are read only where plans hang on them. */
  readonly contextToPlan = async (facts: RootFacts, signal: AbortSignal): Promise<RootContext> =>
    this.#needsNames || facts.deleted ? this.#contexts.of(facts, signal) : this.#contexts.with(facts, [])

  /** What is recorded is counted too: where much is read there may have to be a copy. On the way of every request. */
  counting(log: ReadLog | undefined): ReadLog {
    return {
      read: (context, entry) => {
        this.#demand.read(entry)
        log?.read(context, entry)
      },
    }
  }

  /** Messages of the log, in its order. */
  heard(messages: readonly LogMessage[]): void {
    this.#nameWatch.heard(messages)
  }

  projectionsChanged(): void {
    this.#projectionWatch.changed()
  }

  async close(): Promise<void> {
    this.#demand.close()
    await this.#nameWatch.close()
    await this.#projectionWatch.close()
    await this.#commands.idle()
  }

  /** Where nobody has set anything, plans do not hang on names. */
  get #needsNames(): boolean {
    const view = this.#view()
    return view !== undefined && (view.policy !== undefined || view.projections.length > 0)
  }
}
