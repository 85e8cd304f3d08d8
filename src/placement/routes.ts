import { anyReplica } from '../blocks/any-replica.ts'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type OpenRoute, routeTo, type StoreHandle, type Stores } from '../blocks/stores.ts'
import { isAppError } from '../errors.ts'
import type { PlacementView } from './view.ts'

const retryMs = 1_000

const settledMs = 5_000

/**
 * Where blocks can be read beside a store of this site now: its other replicas, the other stores of this site, those of sites
 * that are up. They are opened ahead, so that a read never waits for that.
 */
export class Routes {
  readonly #stores: Stores
  readonly #view: () => PlacementView
  readonly #onTrouble: (error: unknown) => void
  #routes: readonly OpenRoute[] = []
  /** Of the stores of this site that have replicas. */
  #replicas: readonly OpenRoute[]
  /** By store. */
  #openSinceMs: ReadonlyMap<string, number> = new Map()
  #opening: Promise<void> | undefined
  #again = false
  /** When one could last not be opened. */
  #missedMs: number | undefined

  /** @param onTrouble told of what a store could not be opened for, unless it is merely away */
  constructor(stores: Stores, view: () => PlacementView, onTrouble: (error: unknown) => void) {
    this.#stores = stores
    this.#view = view
    this.#onTrouble = onTrouble
    this.#replicas = replicasOf([stores.primary])
  }

  /** For reads: replicas last, since content of other sites would be asked of each of them first, in vain. */
  get current(): readonly OpenRoute[] {
    const all = this.#around(this.#stores.primary)
    return this.#replicas.length === 0
      ? all
      : [...all.filter(({ drawn }) => drawn !== true), ...all.filter(({ drawn }) => drawn === true)]
  }

  /** Where the blocks of a store of this site can be read beside it, now: for repairs. */
  beside(at: StoreRef): readonly OpenRoute[] {
    const { primary } = this.#stores
    return this.#around(at, storeKey(at) === storeKey(primary) ? [] : [routeTo(primary)])
  }

  /** The replicas of the store itself first: they cost the least. Those of others last, where their leaders have been asked. */
  #around(at: StoreRef, first: readonly OpenRoute[] = []): readonly OpenRoute[] {
    // A site that was cut off when it was tried and is back: who reads tries again.
    if (this.#missedMs !== undefined && performance.now() - this.#missedMs > retryMs) this.refresh()
    const isOther = (route: StoreRef) => storeKey(route) !== storeKey(at)
    const others = this.#routes.filter((route) => isOther(route) && this.#view().isUp(route.site))
    return [
      ...this.#replicas.filter((route) => !isOther(route)),
      ...first,
      ...others.filter(({ isLocal }) => isLocal),
      ...this.#replicas.filter(isOther),
      ...others.filter(({ isLocal }) => !isLocal),
    ]
  }

  /** Whether reads go on to it, and have done so for a while: one that has failed just now may have begun before. */
  isOpen(at: StoreRef): boolean {
    const sinceMs = this.#openSinceMs.get(storeKey(at))
    return sinceMs !== undefined && performance.now() - sinceMs > settledMs
  }

  /** The inventory has changed. */
  refresh(): void {
    this.#again = true
    this.#opening ??= this.#open()
      .catch(this.#onTrouble)
      .finally(() => {
        this.#opening = undefined
        // It has changed since the last look.
        if (this.#again) this.refresh()
      })
  }

  async #open(): Promise<void> {
    while (this.#again) {
      this.#again = false
      this.#missedMs = undefined
      const view = this.#view()
      const { stores } = view.inventory()
      const { primary } = this.#stores
      const readable = stores.filter(
        (at) =>
          at.state !== 'removed' && !(at.site === primary.site && at.store === primary.store) && view.isUp(at.site),
      )
      const found = await Promise.all(
        readable.map(async (at): Promise<readonly StoreHandle[]> => {
          try {
            const handle = await this.#stores.find(at, view.domainOf(at.site))
            return handle === undefined ? this.#missed() : [handle]
          } catch (error) {
            // Cut off just now; whatever else it is: reads go on by the other routes, and it is tried again.
            if (!isAppError(error)) this.#onTrouble(error)
            return this.#missed()
          }
        }),
      )
      const handles = found.flat()
      this.#routes = handles.map(routeTo)
      this.#replicas = replicasOf([primary, ...handles.filter(({ site }) => site === primary.site)])
      const [before, nowMs] = [this.#openSinceMs, performance.now()]
      // Those of this site were there before anything could lie in them.
      const since = (route: OpenRoute) =>
        route.isLocal ? Number.NEGATIVE_INFINITY : (before.get(storeKey(route)) ?? nowMs)
      this.#openSinceMs = new Map(this.#routes.map((route) => [storeKey(route), since(route)]))
    }
  }

  #missed(): readonly [] {
    this.#missedMs = performance.now()
    return []
  }
}

const replicasOf = (stores: readonly StoreHandle[]): readonly OpenRoute[] =>
  stores.flatMap((store) => anyReplica(store) ?? [])
