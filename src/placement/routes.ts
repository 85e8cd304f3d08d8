import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type OpenRoute, routeTo, type Stores } from '../blocks/stores.ts'
import { isAppError } from '../errors.ts'
import type { PlacementView } from './view.ts'

const retryMs = 1_000

const settledMs = 5_000

/**
 * The stores beside the primary one that can be read now: those of this site first, then those of sites that are up. They
 * are opened ahead, so that a read never waits for that.
 */
export class Routes {
  readonly #stores: Stores
  readonly #view: () => PlacementView
  #routes: readonly OpenRoute[] = []
  /** By store. */
  #openSinceMs: ReadonlyMap<string, number> = new Map()
  #opening: Promise<void> | undefined
  #again = false
  /** When one could last not be opened. */
  #missedMs: number | undefined

  constructor(stores: Stores, view: () => PlacementView) {
    this.#stores = stores
    this.#view = view
  }

  get current(): readonly OpenRoute[] {
    // A site that was cut off when it was tried and is back: who reads tries again.
    if (this.#missedMs !== undefined && performance.now() - this.#missedMs > retryMs) this.refresh()
    return this.#routes.length === 0 ? this.#routes : this.#routes.filter(({ site }) => this.#view().isUp(site))
  }

  /** Where the blocks of a store of this site can be read beside it, now. */
  beside(at: StoreRef): readonly OpenRoute[] {
    const { primary } = this.#stores
    if (storeKey(at) === storeKey(primary)) return this.current
    return [routeTo(primary), ...this.current.filter((route) => storeKey(route) !== storeKey(at))]
  }

  /** Whether reads go on to it, and have done so for a while: one that has failed just now may have begun before. */
  isOpen(at: StoreRef): boolean {
    const sinceMs = this.#openSinceMs.get(storeKey(at))
    return sinceMs !== undefined && performance.now() - sinceMs > settledMs
  }

  /** The inventory has changed. */
  refresh(): void {
    this.#again = true
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
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
      const routes = await Promise.all(
        readable.map(async (at): Promise<readonly OpenRoute[]> => {
          try {
            const handle = await this.#stores.find(at, view.domainOf(at.site))
            if (handle === undefined) return this.#missed()
            return [routeTo(handle)]
          } catch (error) {
            // Cut off just now.
            if (isAppError(error)) return this.#missed()
            throw error
          }
        }),
      )
      this.#routes = routes.flat().sort((a, b) => Number(b.isLocal) - Number(a.isLocal))
      const [before, nowMs] = [this.#openSinceMs, performance.now()]
      // Those of this site were there before anything could lie in them.
      const since = (route: OpenRoute) =>
        route.isLocal ? Number.NEGATIVE_INFINITY : (before.get(storeKey(route)) ?? nowMs)
      this.#openSinceMs = new Map(this.#routes.map((route) => [storeKey(route), since(route)]))
    }
  }

  #missed(): readonly OpenRoute[] {
    this.#missedMs = performance.now()
    return []
  }
}
