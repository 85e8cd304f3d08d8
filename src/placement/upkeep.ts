import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { announcedFacts } from './announced.ts'
import type { IsNamed } from './contexts.ts'
import { CurrentCopies } from './current.ts'
import type { Facts } from './facts.ts'
import { createJudge, type Judge } from './judge.ts'
import { LostMarks } from './lost-marks.ts'
import type { PlacementParts } from './placement-parts.ts'
import type { Recorder } from './recorder.ts'
import { Repair, type RepairCounts } from './repair.ts'
import type { Routes } from './routes.ts'
import { type ScrubReport, scrubReport } from './scrub-status.ts'
import { Scrubber } from './scrubber.ts'
import type { PlacementView } from './view.ts'

export interface UpkeepParts extends PlacementParts {
  readonly facts: Facts
  readonly recorder: Recorder
  readonly view: PlacementView
  readonly routes: Routes
  readonly isNamed: IsNamed
  /** `<d>_placement`. */
  readonly bucket: KvBucket
}

/** What keeps copies whole, and says what it means when they are not. */
export class Upkeep {
  readonly repair: Repair
  readonly scrubber: Scrubber
  readonly judge: Judge
  readonly #parts: UpkeepParts
  readonly #marks: LostMarks

  constructor(parts: UpkeepParts) {
    this.#parts = parts
    const { nats, bucket, layout, config, stores, names, source, bulk, waitMs, onLoss, onTrouble } = parts
    const { facts, recorder, view, routes, isNamed } = parts
    const isUp = (site: string) => view.isUp(site)
    this.#marks = new LostMarks(stores.primary, onTrouble)
    this.repair = new Repair({
      marks: this.#marks,
      ...{ primary: stores.primary, facts, recorder, bulk, isNamed, isUp, onLoss, onTrouble },
      routesBeside: (at) => routes.beside(at),
      bytesPerSecond: config.copyBytesPerSecond,
      keepRemoteReads: config.keepRemoteReads,
      current: (known) => {
        const now = new CurrentCopies(view.inventory()).of(known)
        return { ...now, copies: now.copies.filter((copy) => !view.isGone(copy)) }
      },
    })
    this.scrubber = new Scrubber({
      ...{ nats, bulk, bucket, space: layout.space, site: layout.site, node: source.node, waitMs, onTrouble },
      ...{ facts, repair: this.repair, isNamed, stores: () => this.#storesHere() },
      bytesIn: async (store) => (await stores.usage(store)).bytes,
      config: { bytesPerSecond: config.scrubBytesPerSecond, everyMs: config.scrubEveryMs },
    })
    this.judge = createJudge({
      isUp,
      isNamed,
      isGone: (at) => view.isGone(at),
      isRead: (at) => storeKey(at) === storeKey(stores.primary) || routes.isOpen(at),
      factsOf: (root, signal) => announcedFacts(root, { facts, reader: names.reader, ...layout }, signal),
      sitesDown: () => view.inventory().sites.flatMap(({ site, up, state }) => (up || state === 'removed' ? [] : site)),
      onLost: this.#marks.onLost,
      ask: async (at, root, signal) => (await this.#find(at))?.blocks.has(root, { signal }) ?? false,
    })
  }

  async close(): Promise<void> {
    await this.scrubber.close()
    await this.repair.close()
    await this.#marks.close()
  }

  repairCounts(): RepairCounts {
    return this.repair.counts
  }

  /** @throws AppError STORE_UNAVAILABLE */
  async report(): Promise<ScrubReport> {
    return scrubReport(await this.scrubber.status(new AbortController().signal), this.repairCounts())
  }

  /** Stores of this site that hold something. */
  async #storesHere(): Promise<StoreHandle[]> {
    const { view, layout } = this.#parts
    const here = view.inventory().stores.filter(({ site, state }) => site === layout.site && state !== 'removed')
    const open = await Promise.all(here.map((at) => this.#find(at)))
    return open.flatMap((handle) => handle ?? [])
  }

  #find({ site, store }: StoreRef): Promise<StoreHandle | undefined> {
    const { stores, view } = this.#parts
    return stores.find({ site, store }, view.domainOf(site))
  }
}
