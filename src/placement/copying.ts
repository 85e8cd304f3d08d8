import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle, Stores } from '../blocks/stores.ts'
import type { LayoutConfig, PlacementConfig } from '../config.ts'
import type { DagLimits } from '../dag/target.ts'
import { decodeEvent } from '../events/envelope.ts'
import { ByteRate } from '../lib/byte-rate.ts'
import type { LogMessage } from '../names/name-fold.ts'
import type { Nats } from '../nats/connection.ts'
import { nextAtLeader } from '../nats/event-stream.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { eventStream } from '../nats/layout.ts'
import type { MoveQueue } from '../nats/move-queue.ts'
import { patiently } from '../nats/patience.ts'
import type { Bulk } from './bulk.ts'
import type { Facts } from './facts.ts'
import { Fence } from './fence.ts'
import type { Follower } from './follower.ts'
import type { RootContext, RootFacts } from './model.ts'
import type { Recorder } from './recorder.ts'
import { Replicator } from './replicator.ts'
import type { RootHistory } from './root-history.ts'
import type { Routes } from './routes.ts'
import { Sweep } from './sweep.ts'
import { Sweeper } from './sweeper.ts'
import { tookPuts } from './took-puts.ts'
import type { PlacementView } from './view.ts'

export interface CopyingParts {
  readonly nats: Nats
  readonly layout: LayoutConfig
  readonly config: PlacementConfig
  readonly stores: Stores
  readonly facts: Facts
  readonly history: RootHistory
  readonly recorder: Recorder
  /** Holds the fences. */
  readonly bucket: KvBucket
  readonly queue: MoveQueue
  readonly view: PlacementView
  readonly routes: Pick<Routes, 'beside'>
  readonly makeStore: (store: string) => Promise<StoreHandle>
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  readonly bulk: Bulk
  readonly limits: DagLimits
  readonly waitMs: number
  readonly onTrouble: (error: unknown) => void
}

/** A block of a store for copies that nothing needs is left alone for so long. */
const graceMs = 10 * 60 * 1000

/** What comes into the stores of this site, and what is swept out of them. */
export class Copying {
  readonly replicator: Replicator
  readonly sweeper: Sweeper
  readonly #parts: CopyingParts
  readonly #sweep: Sweep

  /** @param follower that folds the log where the sweep runs */
  constructor(parts: CopyingParts, follower: () => Follower) {
    const { nats, layout, config, view, routes, stores, facts, recorder, queue, limits, waitMs, onTrouble } = parts
    this.#parts = parts
    const fence = new Fence(parts.bucket, layout)
    this.replicator = new Replicator({
      ...{ queue, stores, facts, recorder, bulk: parts.bulk, onTrouble },
      history: parts.history,
      domainOf: (at) => view.domainOf(at),
      makeStore: parts.makeStore,
      bytesPerSecond: config.copyBytesPerSecond,
      workers: config.copyWorkers,
      isWanted: (root, to, signal) => this.#isWanted(root, to, signal),
      takesCopies: (store) => ['active', undefined].includes(view.store(layout.site, store)?.state),
      swept: (store, signal) => fence.swept(store, signal),
    })
    this.#sweep = new Sweep({
      ...{ nats, facts, fence, limits, waitMs, graceMs },
      caughtUp: (signal) => this.#areCopiesKnown(follower(), signal),
      routesBeside: (at) => routes.beside(at),
      tookPuts: (at, signal) => this.#tookPuts(at, signal),
      rate: new ByteRate(config.copyBytesPerSecond),
    })
    this.sweeper = new Sweeper({ sweep: this.#sweep, stores: () => this.#sweptStores(), onTrouble })
  }

  /** The facts of a root have changed. */
  heardRoot(key: string, facts: RootFacts): void {
    this.#sweep.heard(key, facts)
  }

  /** Messages of the log, in its order. */
  heard(messages: readonly LogMessage[]): void {
    for (const { subject, payload } of messages) {
      const [, kind, site, , entity, verb] = subject.split('.', 6)
      if (kind !== 'evt' || entity !== 'copy' || verb !== 'removed' || site !== this.#parts.layout.site) continue
      const store = decodeEvent(payload)?.data?.store
      if (typeof store === 'string') this.sweeper.want(store)
    }
  }

  /** Whether a copy would be planned where one is on its way. */
  async #isWanted(facts: RootFacts, to: StoreRef, signal: AbortSignal): Promise<boolean> {
    const { view, contextOf } = this.#parts
    // Sites that were not heard yet look down, and nothing would be planned.
    if (!view.isKnown) return true
    const without = { ...facts, copies: facts.copies.filter((copy) => storeKey(copy) !== storeKey(to)) }
    const { steps } = view.planner().planner.plan(without, await contextOf(without, signal))
    return steps.some((step) => step.kind === 'add' && storeKey(step.to) === storeKey(to))
  }

  /** Until the fold knows of every copy that the log of this site was told to be on its way. */
  async #areCopiesKnown(follower: Follower, signal: AbortSignal): Promise<void> {
    const { nats, layout, waitMs } = this.#parts
    const filter = `${layout.domain}.evt.${layout.site}.${layout.space}.copy.requested.>`
    for (;;) {
      const from = follower.position + 1
      const next = await patiently(waitMs, signal, () => nextAtLeader(nats, eventStream(layout.domain), filter, from))
      if (next === undefined) return
      await follower.reached(next, signal)
    }
  }

  /**
   * The stores of this site that never took puts: what was put before there were events about copies lies in one that did, and
   * nothing tells.
   */
  async #sweptStores(): Promise<StoreHandle[]> {
    const { layout, view, stores } = this.#parts
    const { site } = layout
    const { signal } = new AbortController()
    const swept: StoreHandle[] = []
    for (const { store, state, ...at } of view.inventory().stores) {
      if (at.site !== site || store === layout.store || state === 'removed') continue
      const handle = (await this.#tookPuts({ site, store }, signal)) ? undefined : await stores.find({ site, store })
      if (handle !== undefined) swept.push(handle)
    }
    return swept
  }

  #tookPuts(at: StoreRef, signal: AbortSignal): Promise<boolean> {
    const { nats, layout, waitMs } = this.#parts
    return patiently(waitMs, signal, () => tookPuts(nats, layout, at))
  }
}
