import type { CID } from 'multiformats/cid'
import type { RoutedParts } from '../blocks/routed.ts'
import type { PolicyClass } from '../content/put-command.ts'
import { rootKey } from '../names/name-fold.ts'
import { onEventStored } from '../nats/event-stream.ts'
import { KvBucket } from '../nats/kv-bucket.ts'
import { placementBucket, policyBucket } from '../nats/layout.ts'
import { Lease } from '../nats/lease.ts'
import { createMessaging } from '../nats/messaging.ts'
import { openMoveQueue } from '../nats/move-queue.ts'
import { type Beat, Beats } from './beats.ts'
import { Copying } from './copying.ts'
import { Facts } from './facts.ts'
import { FactsKeeper } from './facts-keeper.ts'
import { Fence } from './fence.ts'
import { FoldPosition } from './fold-position.ts'
import { Follower } from './follower.ts'
import { JoinedLogs } from './joined-logs.ts'
import type { Judge } from './judge.ts'
import type { RootFacts } from './model.ts'
import { Peers } from './peers.ts'
import { indexPlaces } from './place-index.ts'
import type { PlacementParts } from './placement-parts.ts'
import { policyClassOf } from './policy-class.ts'
import { PropagationWatch } from './propagation.ts'
import { Reconciler } from './reconciler.ts'
import { Recorder } from './recorder.ts'
import { RootHistory } from './root-history.ts'
import { Routes } from './routes.ts'
import { SiteKeeper, whenLogIsWhole } from './site-keeper.ts'
import { SiteWork } from './site-work.ts'
import { StoreKeeping } from './store-keeping.ts'
import { createSurface, type PlacementVerbs, type SurfaceParts } from './surface.ts'
import { Surroundings } from './surroundings.ts'
import { Upkeep } from './upkeep.ts'
import { PlacementView } from './view.ts'

/**
 * Placement at one node: what it knows (view, facts), what it does (reconciler, replicator) and how it finds others (beats).
 * One node of a site at a time folds the log and plans; all of them make copies.
 */
export class Placement {
  readonly facts: Facts
  readonly recorder: Recorder
  /** What entrances tell of copies, and how puts wait for them. */
  readonly propagation: PropagationWatch
  readonly around: Surroundings
  readonly #parts: PlacementParts
  readonly #history: RootHistory
  readonly #closers: (() => Promise<unknown>)[] = []
  #view: PlacementView | undefined
  #keeping: StoreKeeping | undefined
  #position: FoldPosition | undefined
  #routes: Routes | undefined
  #reconciler: Reconciler | undefined
  #copying: Copying | undefined
  #lease: Lease | undefined
  #upkeep: Upkeep | undefined
  #peers: Peers | undefined
  #factsKeeper: FactsKeeper | undefined
  #follower: Follower | undefined
  #changes = 0
  readonly #joined: JoinedLogs
  readonly #stop = new AbortController()

  private constructor(parts: PlacementParts, facts: Facts) {
    this.#parts = parts
    this.#closers.push(() => parts.bulk.close())
    this.facts = facts
    this.#joined = new JoinedLogs({ ...parts, site: parts.layout.site })
    this.recorder = new Recorder(parts.eventLog, parts.source)
    const { reader } = parts.names
    this.around = new Surroundings({
      ...parts,
      view: () => this.#view,
      consider: (key) => {
        // Whoever plans next looks at all roots.
        if (this.#lease?.held === true) this.#reconciler?.consider(key)
      },
    })
    this.#closers.push(() => this.around.close())
    this.#history = new RootHistory({ facts, reader, domain: parts.layout.domain, space: parts.layout.space })
    this.propagation = new PropagationWatch({
      view: () => this.view,
      history: this.#history,
      contextOf: this.around.contextNow,
      waitMsMax: parts.config.putWaitMsMax,
    })
    this.#closers.push(async () => this.propagation.close())
  }

  /** @throws AppError STORE_UNAVAILABLE */
  static async start(parts: PlacementParts): Promise<Placement> {
    const { nats, layout, waitMs } = parts
    const { domain, space, replicas } = layout
    const open = (bucket: string, description: string) => KvBucket.open(nats, bucket, { replicas, waitMs, description })
    const bucket = await open(placementBucket(domain), 'Stowage: sites, stores and copies')
    const policies = await open(policyBucket(domain), 'Stowage: what is to lie where')
    const placement = new Placement(parts, new Facts(bucket, space))
    try {
      await placement.#open(bucket, policies)
      return placement
    } catch (error) {
      await placement.close()
      throw error
    }
  }

  get view(): PlacementView {
    return opened(this.#view)
  }

  /** What this node has done since its start, and what waits. */
  get counts() {
    const { replicator, sweeper } = opened(this.#copying)
    const { pending, lost } = opened(this.#reconciler)
    const upkeep = this.upkeep.repairCounts()
    return {
      ...replicator.counts,
      busy: replicator.busy,
      swept: sweeper.status,
      waiting: pending,
      plans: opened(this.#lease).held,
      ...upkeep,
      lost: upkeep.lost + lost,
    }
  }

  /** The other stores to read from now, for `RoutedBlockstore`. */
  readonly others: RoutedParts['others'] = () => this.#routes?.current ?? []

  /** A block was read elsewhere that the primary store lost, holds damaged, or does not have. */
  readonly onFound: RoutedParts['onFound'] = (found, failure) => {
    this.#upkeep?.repair.onFound(found, failure)
  }

  /** What the failure to read a block means, for `createGet`. */
  readonly judge: Judge = async (root, failure, signal) => this.#upkeep?.judge(root, failure, signal) ?? failure

  /** For what a person does about a log that lost events. */
  get factsKeeper(): FactsKeeper {
    return opened(this.#factsKeeper)
  }

  get upkeep(): Upkeep {
    return opened(this.#upkeep)
  }

  /** Other sites: what one is missing, and where everything lies. */
  get peers(): Peers {
    return opened(this.#peers)
  }

  /** The rule that content falls under as it is put; undefined while no policy is set. */
  readonly policyClassOf: PolicyClass = (content) => policyClassOf(content, this.view, this.#parts.layout.site)

  /** What is known of a root; undefined for what was never put in this space. */
  factsOf(root: CID, signal: AbortSignal): Promise<RootFacts | undefined> {
    return this.facts.get(rootKey(root), signal)
  }

  /** What people and programs ask of placement, and tell it. */
  surface(resolveName: SurfaceParts['resolveName']): PlacementVerbs {
    const { view, facts, around } = this
    const { contextNow: contextOf, isNamed } = around
    const parts = { ...this.#parts, view, facts, contextOf, isNamed, resolveName }
    const surface = createSurface({ ...parts, keeping: opened(this.#keeping), position: opened(this.#position) })
    this.#closers.push(() => surface.idle())
    return surface
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    for (let close = this.#closers.pop(); close !== undefined; close = this.#closers.pop()) await close()
  }

  async #open(bucket: KvBucket, policies: KvBucket): Promise<void> {
    const { nats, layout, config, stores, bulk, names, source, limits, waitMs, onLoss, onTrouble } = this.#parts
    const { domain, space, site } = layout
    const kept = { ...this.#parts, ...this.#parts.folded, placement: bucket, policy: policies, facts: this.facts }
    const foldedFrom = { stream: names.reader.stream, space, site, follower: () => this.#follower }
    const factsKeeper = await FactsKeeper.settle({ ...kept, ...foldedFrom })
    this.#factsKeeper = factsKeeper
    const fence = new Fence(bucket, layout)
    const keeper = new SiteKeeper({ ...this.#parts, recorder: this.recorder, reader: names.reader, fence })
    const beats = new Beats({
      messaging: createMessaging(nats),
      ...{ domain, site, node: source.node },
      describe: () => keeper.describe(),
      onBeat: (beat) => this.#heard(beat),
    })
    this.#closers.push(() => beats.close())
    const view = new PlacementView({
      ...{ nats, placement: bucket, policy: policies, space, site, beats },
      downAfterMs: config.siteDownMs,
      planOptions: { demandRateMin: config.demandRateMin, storesPerSiteMax: config.storesPerSiteMax },
      onChange: () => this.#changed(),
      onProjections: () => {
        this.propagation.changed()
        this.around.projectionsChanged()
      },
    })
    this.#view = view
    this.#closers.push(() => view.close())
    const keeping = new StoreKeeping({ layout, stores, keeper, view, onTrouble })
    this.#keeping = keeping
    this.#closers.push(() => keeping.close())
    const routes = new Routes(stores, () => view, onTrouble)
    this.#routes = routes
    const { facts, recorder } = this
    const upkeep = new Upkeep({ ...this.#parts, facts, recorder, view, routes, bucket, isNamed: this.around.isNamed })
    this.#upkeep = upkeep
    this.#closers.push(() => upkeep.close())
    const queue = await openMoveQueue(nats, layout)
    const history = this.#history
    const made = { nats, layout, config, stores, facts, history, recorder, bucket, queue, view, routes }
    const copyingParts = {
      ...{ ...made, contextOf: this.around.contextToPlan, bulk, limits, waitMs, onTrouble },
      makeStore: (store: string) => keeper.makeStore(store),
    }
    const copying: Copying = new Copying(copyingParts, () => follower)
    this.#copying = copying
    this.#closers.push(() => copying.replicator.close())
    const reconciler = new Reconciler({
      ...{ site, facts: this.facts, queue, recorder: this.recorder, onLoss, onTrouble },
      planner: () => view.planner(),
      hasListened: () => view.hasListened,
      contextOf: this.around.contextToPlan,
    })
    this.#reconciler = reconciler
    const follower = new Follower({
      ...{ reader: names.reader, facts: this.facts, bucket, domain, space, ...this.#parts.folded },
      onRoot: (key, facts) => {
        copying.heardRoot(key, facts)
        reconciler.consider(key, facts)
      },
      onMessages: async (messages) => {
        await indexPlaces(messages, { placement: bucket, policy: policies })
        this.around.heard(messages)
        copying.heard(messages)
      },
    })
    this.#follower = follower
    factsKeeper.start()
    this.#closers.push(() => factsKeeper.close())
    const own = () => (this.#lease?.held === true ? follower.position : undefined)
    this.#position = new FoldPosition({ reader: names.reader, bucket, domain, space, own })
    const unlisten = onEventStored(nats, layout, (_sequence, subject) => {
      follower.wake()
      this.propagation.heard(subject)
    })
    this.#closers.push(async () => unlisten())
    const lease = new Lease(bucket, { key: `${space}.lease`, holder: source.node, onTrouble })
    this.#lease = lease
    this.#closers.push(() => lease.close())
    const peers = this.#openPeers(view, reconciler)
    await whenLogIsWhole(() => keeper.register(), this.#stop.signal, onTrouble)
    copying.replicator.start()
    upkeep.scrubber.start()
    const work = new SiteWork({
      ...{ site, follower, reconciler, facts: this.facts, view },
      beside: [(signal) => peers.catchUp.run(signal), (signal) => copying.sweeper.run(signal)],
      changes: () => this.#changes,
    })
    lease.start((signal) => work.run(signal))
  }

  #openPeers(view: PlacementView, reconciler: Reconciler): Peers {
    const { nats, layout, config, joinLog, onTrouble } = this.#parts
    const { contextNow, isNamed } = this.around
    const peers = new Peers({
      ...{ nats, layout, facts: this.facts, view, isNamed, silentMs: config.siteDownMs, onTrouble },
      plan: async (facts, signal) => view.planner().planner.plan(facts, await contextNow(facts, signal)),
      reconcile: (key, signal) => reconciler.reconcile(key, signal, undefined, true),
      consider: (key) => reconciler.consider(key),
      join: (site) => joinLog({ site, jetstreamDomain: view.domainOf(site) }),
    })
    this.#peers = peers
    this.#closers.push(async () => peers.close())
    return peers
  }

  #changed(): void {
    this.#changes++
    this.#routes?.refresh()
    this.propagation.changed()
    this.#keeping?.changed()
  }

  #heard(beat: Beat): void {
    if (beat.site !== this.#parts.layout.site) this.#peers?.catchUp.heard(beat.site)
    this.#joined.heard(beat)
  }
}

function opened<T>(part: T | undefined): T {
  if (part === undefined) throw new Error('placement is not open yet')
  return part
}
