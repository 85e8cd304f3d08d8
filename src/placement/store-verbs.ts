import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { idTaken } from '../content/command-id.ts'
import { type CommandLog, failureKey, type Step } from '../content/command-log.ts'
import { AppError, isAppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import { type Context, type Draft, decodeEvent } from '../events/envelope.ts'
import type { Expectation } from '../events/log.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Holdings } from './holdings.ts'
import type { SiteRecord } from './model.ts'
import { placeEvents, type StoreSettings } from './place-events.ts'

interface Abortable {
  readonly signal: AbortSignal
}

export interface PlaceOutcome {
  /** As they are now, in the order of what was done. */
  readonly stores: readonly StoreSettings[]
  readonly sequence: number
  readonly repeated: boolean
}

export interface SiteOutcome {
  readonly site: string
  /** Roots whose only verified copies lay there. */
  readonly rootsOnlyThere: number
  readonly sequence: number
  readonly repeated: boolean
}

/** Changes of sites and stores by people. Each is an event, by compare-and-set on the last one about the same place. */
export interface PlaceVerbs {
  /** A further store at this site, for copies. @throws AppError REQUEST_INVALID | PLACE_IN_USE (the name is taken, or was) */
  addStore(context: Context, store: string, shards: number | undefined, options: Abortable): Promise<PlaceOutcome>
  /** It takes nothing new and is emptied. @throws AppError PLACE_NOT_FOUND | PLACE_IN_USE (it takes puts) */
  drainStore(context: Context, at: StoreRef, options: Abortable): Promise<PlaceOutcome>
  /**
   * Its buckets are deleted. @throws AppError PLACE_NOT_FOUND | PLACE_IN_USE (it takes puts, is not drained, or holds what
   * lies nowhere else)
   */
  removeStore(context: Context, store: string, options: Abortable): Promise<PlaceOutcome>
  /** A new store with other shards, and the old one drained, in one commit. @throws as `addStore` and `drainStore` */
  reshardStore(
    context: Context,
    change: { readonly store: string; readonly to: string | undefined; readonly shards: number },
    options: Abortable,
  ): Promise<PlaceOutcome>
  /**
   * It left for good: what it held counts no more.
   * @throws AppError PLACE_NOT_FOUND | PLACE_IN_USE (it is heard; or, unless `force`, it holds what lies nowhere else) |
   * STORE_UNAVAILABLE (this node runs for too short a time to know)
   */
  removeSite(context: Context, site: string, options: Abortable & { readonly force: boolean }): Promise<SiteOutcome>
}

export interface PlaceVerbParts {
  readonly domain: string
  readonly space: string
  readonly site: string
  /** That takes puts at this node. */
  readonly primary: string
  readonly commands: CommandLog
  readonly reader: Pick<LogReader, 'last'>
  readonly holdings: Holdings
  readonly isUp: (site: string) => boolean
  /** See `PlacementView`. */
  readonly hasListened: () => boolean
  /** Makes the buckets of a store of this site. */
  readonly make: (store: string, shards: number | undefined) => Promise<StoreHandle>
  /** What the log will say of a store that was made. */
  readonly settingsOf: (handle: StoreHandle) => StoreSettings
  /** Resolves when this node goes by what the log says of them. */
  readonly shown: (stores: readonly StoreSettings[]) => Promise<void>
  /** Deletes the buckets of stores of this site that the log calls removed. */
  readonly reap: () => Promise<void>
}

const shardsMax = 256
const storesMax = 26

interface Known<T> {
  readonly record: T | undefined
  readonly expect: Expectation
}

export function createPlaceVerbs(parts: PlaceVerbParts): PlaceVerbs {
  const { commands, domain, space, site: here, primary, holdings } = parts
  const filterOf = (entity: 'store' | 'site', key: string) => `${domain}.evt.*.${space}.${entity}.set.${key}`

  async function lastOf<T>(entity: 'store' | 'site', key: string, signal: AbortSignal): Promise<Known<T>> {
    const filter = filterOf(entity, key)
    const messages = await parts.reader.last([filter], signal)
    const last = messages.reduce<(typeof messages)[number] | undefined>(
      (newest, one) => (newest === undefined || one.sequence > newest.sequence ? one : newest),
      undefined,
    )
    const record = last === undefined ? undefined : (decodeEvent(last.payload)?.data as T | undefined)
    return { record, expect: { filter, lastSequence: last?.sequence ?? 0 } }
  }

  const storeAt = ({ site, store }: StoreRef, signal: AbortSignal) =>
    lastOf<StoreSettings>('store', `${site}.${store}`, signal)

  async function carryOut(
    context: Context,
    verb: string,
    about: Pick<Draft, 'key' | 'subject'> & { readonly entity: 'store' | 'site' },
    asked: Json,
    signal: AbortSignal,
    plan: () => Promise<readonly Step[]>,
  ) {
    const { events, repeated } = await commands.carryOut(context, {
      failure: { ...about, key: failureKey(about.key), verb },
      filters: () => [filterOf(about.entity, about.key)],
      signal,
      asked: () => ({ verb: `${about.entity} ${verb}`, key: about.key, asked }),
      work: async (commit) => commit(await plan(), () => undefined),
    })
    const [first] = events
    if (first === undefined || !first.event.type.includes(`.${about.entity}.`)) {
      throw idTaken()
    }
    return { events, sequence: first.sequence, repeated }
  }

  async function changeStores(
    context: Context,
    verb: string,
    at: StoreRef,
    asked: Json,
    { signal }: Abortable,
    plan: () => Promise<readonly Step[]>,
  ): Promise<PlaceOutcome> {
    const about = { entity: 'store', key: `${at.site}.${at.store}`, subject: storeKey(at) } as const
    const { events, sequence, repeated } = await carryOut(context, verb, about, asked, signal, plan)
    const stores = events.map(({ event }) => settings(event.data as unknown as StoreSettings))
    if (!repeated) await parts.shown(stores)
    return { stores, sequence, repeated }
  }

  async function additionOf(store: string, shards: number | undefined, signal: AbortSignal): Promise<Step> {
    checkStore(store, shards)
    const known = await storeAt({ site: here, store }, signal)
    if (known.record !== undefined || store === primary) {
      const was = known.record?.state === 'removed' ? 'was removed, and its name is not used again' : 'is there already'
      throw new AppError('PLACE_IN_USE', `store ${here}/${store} ${was}`, { hint: 'see `stowage store ls`' })
    }
    const handle = await parts.make(store, shards)
    return { draft: placeEvents.store(parts.settingsOf(handle)), expect: known.expect }
  }

  async function drainageOf(at: StoreRef, signal: AbortSignal): Promise<Step> {
    const { record, expect } = await storeAt(at, signal)
    if (record === undefined || record.state === 'removed') throw notFound(`store ${storeKey(at)}`)
    // At another site nobody here knows which store its nodes were started with.
    const takesPuts = at.site === here ? at.store === primary : record.primary
    if (takesPuts) {
      throw new AppError('PLACE_IN_USE', `store ${storeKey(at)} takes the puts of its site`, {
        hint: 'start all nodes of the site with another STOWAGE_STORE (and STOWAGE_SHARDS), then drain this one',
      })
    }
    return { draft: placeEvents.store({ ...settings(record), state: 'draining', primary: false }), expect }
  }

  return {
    addStore: (context, store, shards, options) =>
      changeStores(context, 'add', { site: here, store }, shards ?? null, options, async () => [
        await additionOf(store, shards, options.signal),
      ]),
    drainStore: (context, at, options) =>
      changeStores(context, 'drain', at, null, options, async () => [await drainageOf(at, options.signal)]),
    reshardStore: (context, { store, to, shards }, options) =>
      changeStores(context, 'reshard', { site: here, store: to ?? store }, { store, shards }, options, async () => {
        const at = { site: here, store }
        const drainage = await drainageOf(at, options.signal)
        const name = to ?? (await freeName(at, (one) => storeAt(one, options.signal)))
        return [await additionOf(name, shards, options.signal), drainage]
      }),
    removeStore: async (context, store, options) => {
      const at = { site: here, store }
      const outcome = await changeStores(context, 'remove', at, null, options, async () => {
        const { record, expect } = await storeAt(at, options.signal)
        if (record === undefined || record.state === 'removed') throw notFound(`store ${storeKey(at)}`)
        await checkRemovable(at, record, options.signal)
        return [{ draft: placeEvents.store({ ...settings(record), state: 'removed', primary: false }), expect }]
      })
      // What fails here, or ends before, is done by whoever sees the event.
      await parts.reap().catch((error: unknown) => {
        if (!isAppError(error)) throw error
      })
      return outcome
    },
    removeSite: async (context, site, { force, signal }) => {
      let rootsOnlyThere = 0
      const about = { entity: 'site', key: site, subject: site } as const
      const { sequence, repeated } = await carryOut(context, 'remove', about, force, signal, async () => {
        const { record, expect } = await lastOf<SiteRecord>('site', site, signal)
        if (record === undefined || record.state === 'removed') throw notFound(`site ${site}`)
        if (parts.isUp(site)) {
          throw new AppError('PLACE_IN_USE', `site ${site} is heard`, {
            hint: 'stop its nodes first: a site is removed when it has left for good',
          })
        }
        if (!parts.hasListened()) {
          throw new AppError(
            'STORE_UNAVAILABLE',
            `this node has not listened long enough to know that ${site} is silent`,
            {
              hint: 'try again in a moment',
            },
          )
        }
        rootsOnlyThere = (await holdings.onlyAt((copy) => copy.site === site, signal)).roots
        if (rootsOnlyThere > 0 && !force) {
          throw new AppError('PLACE_IN_USE', `${rootsOnlyThere} objects have verified copies at ${site} alone`, {
            hint: 'they are lost with it; force=true removes it all the same',
          })
        }
        const { jetstreamDomain, labels } = record
        return [{ draft: placeEvents.site({ site, jetstreamDomain, labels, state: 'removed' }), expect }]
      })
      return { site, rootsOnlyThere, sequence, repeated }
    },
  }

  async function checkRemovable(at: StoreRef, record: StoreSettings, signal: AbortSignal): Promise<void> {
    if (at.store === primary) {
      throw new AppError('PLACE_IN_USE', `store ${storeKey(at)} takes the puts of its site`, {
        hint: 'start all nodes of the site with another STOWAGE_STORE, then drain this one',
      })
    }
    const isThere = (copy: StoreRef) => copy.site === at.site && copy.store === at.store
    const { roots, copies } = await holdings.onlyAt(isThere, signal)
    if (roots > 0) {
      throw new AppError('PLACE_IN_USE', `${roots} objects have verified copies in ${storeKey(at)} alone`, {
        hint: record.state === 'draining' ? 'they are being copied away: try again' : 'drain it first',
      })
    }
    // Others may count on what lies in a store that is not drained, and drop their own.
    if (copies > 0 && record.state !== 'draining') {
      throw new AppError('PLACE_IN_USE', `store ${storeKey(at)} holds ${copies} copies and is not drained`, {
        hint: `stowage store drain ${at.store}`,
      })
    }
  }
}

const notFound = (what: string) =>
  new AppError('PLACE_NOT_FOUND', `there is no ${what}`, { hint: 'see `stowage site ls` and `stowage store ls`' })

/** Without what a command adds to the data of its event. */
function settings(data: StoreSettings): StoreSettings {
  const { commit: _commit, command: _command, part: _part, ...record } = data as StoreSettings & Added
  return record
}

type Added = { readonly [field in 'commit' | 'command' | 'part']?: unknown }

/** @throws AppError REQUEST_INVALID */
function checkStore(store: string, shards: number | undefined): void {
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(store)) {
    throw new AppError('REQUEST_INVALID', 'the name of a store is 1 to 32 letters, digits, _ or -')
  }
  const isPower = shards === undefined || (Number.isInteger(shards) && shards >= 1 && (shards & (shards - 1)) === 0)
  if (!isPower || (shards ?? 1) > shardsMax) {
    throw new AppError('REQUEST_INVALID', `shards is a power of two up to ${shardsMax}`)
  }
}

/** The next name that no store of the site ever had. */
async function freeName(at: StoreRef, known: (at: StoreRef) => Promise<Known<StoreSettings>>): Promise<string> {
  for (const store of 'abcdefghijklmnopqrstuvwxyz'.slice(0, storesMax)) {
    if ((await known({ site: at.site, store })).record === undefined) return store
  }
  throw new AppError('REQUEST_INVALID', 'no name is left for the new store', { hint: 'name it: to=<name>' })
}
