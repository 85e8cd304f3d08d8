import type { StoreHandle, Stores } from '../blocks/stores.ts'
import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { StoreSettings } from './place-events.ts'
import type { SiteKeeper } from './site-keeper.ts'
import type { PlacementView } from './view.ts'

export interface StoreKeepingParts {
  readonly layout: Pick<LayoutConfig, 'site' | 'store'>
  readonly stores: Pick<Stores, 'make' | 'remove'>
  readonly keeper: SiteKeeper
  readonly view: Pick<PlacementView, 'inventory'>
  readonly onTrouble: (error: unknown) => void
}

/** Stores of this site as the log asks for them: made for commands, spoken of in heartbeats, deleted when they are removed. */
export class StoreKeeping {
  readonly #parts: StoreKeepingParts
  /** Whose buckets were deleted. */
  readonly #reaped = new Set<string>()
  #isRemovalTold = false
  #reaping: Promise<void> = Promise.resolve()

  constructor(parts: StoreKeepingParts) {
    this.#parts = parts
  }

  /** @param shards undefined = as many as the settings say @throws AppError STORE_MISMATCH | STORE_UNAVAILABLE */
  make(store: string, shards: number | undefined): Promise<StoreHandle> {
    return this.#parts.stores.make(store, shards)
  }

  settingsOf(handle: StoreHandle): StoreSettings {
    return this.#parts.keeper.settingsOf(handle)
  }

  /** The inventory is another one. */
  changed(): void {
    const { sites, stores } = this.#parts.view.inventory()
    this.#parts.keeper.follow(stores)
    const { site: here } = this.#parts.layout
    if (sites.some(({ site, state }) => site === here && state === 'removed')) this.#tellRemoval(here)
    this.#reaping = this.#reaping.then(() => this.reap()).catch(this.#parts.onTrouble)
  }

  /** Once: a site that was removed, and came back. */
  #tellRemoval(site: string): void {
    if (this.#isRemovalTold) return
    this.#isRemovalTold = true
    const what = `site ${site} was removed: no copies are placed here, and what it holds is copied away`
    const hint = 'to take part again, start it under another name of a site and with an empty folder'
    this.#parts.onTrouble(new AppError('PLACE_NOT_FOUND', what, { hint }))
  }

  /** Deletes the buckets of stores of this site that were removed. @throws AppError STORE_UNAVAILABLE */
  async reap(): Promise<void> {
    const { layout, stores, view } = this.#parts
    for (const { site, store, state } of view.inventory().stores) {
      if (site !== layout.site || state !== 'removed' || store === layout.store || this.#reaped.has(store)) continue
      await stores.remove(store)
      this.#reaped.add(store)
    }
  }

  async close(): Promise<void> {
    await this.#reaping
  }
}
