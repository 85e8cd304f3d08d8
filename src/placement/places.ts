import { storeKey } from '../blocks/store-ref.ts'
import type { SiteRecord, StoreRecord } from './model.ts'
import type { PlacementView } from './view.ts'

export interface SiteStatus extends Pick<SiteRecord, 'site' | 'jetstreamDomain' | 'labels' | 'state'> {
  readonly up: boolean
  /** Since it was heard last; undefined = never since this node runs. */
  readonly silenceMs: number | undefined
  /** The one that answers. */
  readonly here: boolean
  readonly stores: readonly string[]
}

export interface StoreStatus extends StoreRecord {
  readonly up: boolean
}

/** Sites and stores as people ask for them. */
export function sitesOf(view: PlacementView, here: string): readonly SiteStatus[] {
  const { sites, stores } = view.inventory()
  return sites.map(({ site, jetstreamDomain, labels, state, up }) => {
    const silenceMs = view.silenceMs(site)
    return {
      ...{ site, jetstreamDomain, labels, state, up },
      silenceMs: Number.isFinite(silenceMs) ? Math.round(silenceMs) : undefined,
      here: site === here,
      stores: stores.flatMap((store) => (store.site === site && store.state !== 'removed' ? [store.store] : [])),
    }
  })
}

export function storesOf(view: PlacementView): readonly StoreStatus[] {
  const { sites, stores } = view.inventory()
  const isUp = new Map(sites.map(({ site, state, up }) => [site, up && state === 'active']))
  return stores
    .map(({ site, store, shards, replicas, zones, state, primary, createdAt, freeBytes, usedBytes }) => ({
      ...{ site, store, shards, replicas, zones, state, primary, createdAt, freeBytes, usedBytes },
      up: isUp.get(site) ?? false,
    }))
    .sort((a, b) => (storeKey(a) < storeKey(b) ? -1 : 1))
}
