import { setTimeout as delay } from 'node:timers/promises'
import type { StoreHandle, Stores } from '../blocks/stores.ts'
import type { LayoutConfig, PlacementConfig } from '../config.ts'
import { AppError, isAppError } from '../errors.ts'
import { canonicalJson } from '../events/canonical.ts'
import { type CloudEvent, type Draft, decodeEvent } from '../events/envelope.ts'
import { uuidv7 } from '../lib/uuid.ts'
import type { Nats } from '../nats/connection.ts'
import { lastSequence } from '../nats/event-stream.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Beat } from './beats.ts'
import type { Fence } from './fence.ts'
import { placeEvents, type StoreSettings } from './place-events.ts'
import type { Recorder } from './recorder.ts'

export interface SiteKeeperParts {
  readonly nats: Nats
  readonly layout: LayoutConfig
  readonly config: PlacementConfig
  readonly stores: Stores
  readonly recorder: Recorder
  readonly reader: LogReader
  readonly fence: Pick<Fence, 'swept'>
  readonly freeBytes: () => number | undefined
  readonly onTrouble: (error: unknown) => void
}

/** What this node says of its own site, in the log and in its heartbeats. */
export class SiteKeeper {
  readonly #parts: SiteKeeperParts
  readonly #known = new Set<string>()

  constructor(parts: SiteKeeperParts) {
    this.#parts = parts
    this.#known.add(parts.layout.store)
  }

  /** The site and the store that takes puts, if the log does not know them so already. @throws AppError STORE_UNAVAILABLE */
  async register(): Promise<void> {
    const { layout, config } = this.#parts
    const jetstreamDomain = config.jetstreamDomain ?? layout.site
    const site = { site: layout.site, jetstreamDomain, labels: config.siteLabels, state: 'active' } as const
    await this.#record(placeEvents.site(site))
    await this.takePuts()
  }

  /**
   * Tells that the store takes puts. Nothing may be put before it resolves: it may be one that held copies only, and a sweep that
   * looked at the log before ends first.
   * @throws AppError STORE_UNAVAILABLE; STORE_MISMATCH for one that was removed: every node of the site deletes what lies there
   */
  async takePuts(): Promise<void> {
    const { config, stores, fence } = this.#parts
    const { site, store } = stores.primary
    if ((await this.#record(placeEvents.store(settingsOf(stores.primary, config, true)))) === 'removed') {
      throw new AppError('STORE_MISMATCH', `store ${store} of site ${site} was removed`, {
        hint: 'the name of a store is used once: choose another STOWAGE_STORE',
      })
    }
    await fence.swept(stores.primary.store, new AbortController().signal)
  }

  /** What the log will say of a store that was made for copies. */
  settingsOf(handle: StoreHandle): StoreSettings {
    return settingsOf(handle, this.#parts.config, false)
  }

  /** What the log says of the stores of all sites: those of this one are spoken of in heartbeats. */
  follow(stores: readonly Pick<StoreSettings, 'site' | 'store' | 'state'>[]): void {
    for (const { site, store, state } of stores) {
      if (site !== this.#parts.layout.site) continue
      if (state === 'removed') this.#known.delete(store)
      else this.#known.add(store)
    }
  }

  /** A further store of this site, for copies: made, and told in the log. @throws AppError STORE_UNAVAILABLE */
  async makeStore(store: string): Promise<StoreHandle> {
    const { stores, config } = this.#parts
    const handle = await stores.make(store)
    if (!this.#known.has(store)) {
      await this.#record(placeEvents.store(settingsOf(handle, config, false)))
      this.#known.add(store)
    }
    return handle
  }

  /** Made anew where somebody has deleted it: the log then tells that what lay there is gone. */
  async #present(store: string): Promise<StoreHandle> {
    const { stores, layout, config } = this.#parts
    const handle = await stores.find({ site: layout.site, store })
    if (handle !== undefined && (store === layout.store || (await stores.exists(handle)))) return handle
    stores.forget(store)
    const made = await stores.make(store)
    await this.#record(placeEvents.store(settingsOf(made, config, false)))
    return made
  }

  async describe(): Promise<Omit<Beat, 'site' | 'node'>> {
    const { nats, layout, config, stores, recorder, freeBytes, onTrouble } = this.#parts
    const described = await Promise.all(
      [...this.#known].map(async (store) => {
        try {
          const handle = await this.#present(store)
          const { bytes } = await stores.usage(handle)
          return [{ store, usedBytes: bytes, freeBytes: freeBytes() }]
        } catch (error) {
          // One store that cannot be looked at does not make the site fall silent.
          onTrouble(error)
          return []
        }
      }),
    )
    return {
      jetstreamDomain: config.jetstreamDomain ?? layout.site,
      labels: config.siteLabels,
      stores: described.flat(),
      lastSequence: await lastSequence(nats, `${recorder.source.domain}_events`),
    }
  }

  /** Nothing, when the last event about it says the same. @returns the state that an administrator has given it */
  async #record(draft: Draft): Promise<unknown> {
    const { recorder, reader } = this.#parts
    const { domain, space } = recorder.source
    const filter = `${domain}.evt.*.${space}.${draft.entity}.*.${draft.key}`
    const { signal } = new AbortController()
    for (;;) {
      const last = (await reader.last([filter], signal)).at(-1)
      const said = last === undefined ? undefined : decodeEvent(last.payload)?.data
      // An administrator has drained or removed it: a restart does not undo that.
      const state = said?.state !== undefined && said.state !== 'active' ? said.state : undefined
      // What was removed is not spoken of again.
      if (draft.entity === 'store' && state === 'removed') return state
      const kept = state === undefined ? draft.data : { ...draft.data, state }
      if (said !== undefined && saysSame(said, kept)) return state
      const id = uuidv7()
      try {
        const expect = { filter, lastSequence: last?.sequence ?? 0 }
        await recorder.record({ ...draft, data: kept }, { correlation: id, causation: id }, expect)
        return state
      } catch (error) {
        // Another node of the site says the same at this moment.
        if (!isAppError(error, 'REVISION_CONFLICT')) throw error
      }
    }
  }
}

const lookAgainMs = 1_000

/**
 * Does it now, or, while the log is damaged and takes nothing, as soon as it is whole again: until then nothing is put here.
 * @throws what it throws now, but for LOG_DAMAGED
 */
export async function whenLogIsWhole(
  register: () => Promise<void>,
  signal: AbortSignal,
  onTrouble: (error: unknown) => void,
): Promise<void> {
  const later = async () => {
    while (!signal.aborted) {
      await delay(lookAgainMs, undefined, { signal, ref: false }).catch(() => undefined)
      if (signal.aborted) return
      try {
        return await register()
      } catch (error) {
        if (!isAppError(error, 'LOG_DAMAGED')) onTrouble(error)
      }
    }
  }
  try {
    await register()
  } catch (error) {
    if (!isAppError(error, 'LOG_DAMAGED')) throw error
    later().catch(onTrouble)
  }
}

/** An event of a command says more: which one it was. */
function saysSame(said: CloudEvent['data'], wanted: CloudEvent['data']): boolean {
  return Object.entries(wanted).every(
    ([name, value]) => canonicalJson(said[name] ?? null) === canonicalJson(value ?? null),
  )
}

function settingsOf({ site, store, buckets }: StoreHandle, config: PlacementConfig, primary: boolean): StoreSettings {
  const replicas = buckets[0]?.replicas ?? 1
  // Failure domains that the replicas really lie in are known to whoever runs the cluster.
  const zones = replicas > 1 ? config.storeZones.slice(0, replicas) : []
  // One shard that was lost and made anew is enough: what was whole is so no more.
  const createdAt =
    buckets
      .map((bucket) => bucket.createdAt)
      .sort()
      .at(-1) ?? ''
  return { site, store, shards: buckets.length, replicas, zones, createdAt, state: 'active', primary }
}
