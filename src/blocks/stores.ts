import type { LayoutConfig, StoreConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { type BlockBucket, deleteBlockBuckets, findBlockBuckets, storeUsage } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { inDomain } from '../nats/domain.ts'
import type { Blockstore } from './blockstore.ts'
import { NatsBlockstore, openNatsBlockstore } from './nats-blockstore.ts'
import type { Route } from './routed.ts'
import { type StoreRef, storeKey } from './store-ref.ts'
import { verified } from './verified.ts'

/** All that it takes to open a store, also in another thread. */
export interface BucketPlace extends StoreRef {
  readonly buckets: readonly BlockBucket[]
  /** Of its site; undefined = it lies at this one. */
  readonly jetstreamDomain: string | undefined
  /** Its replicas are meant, one after the other (`anyReplica`). */
  readonly drawn?: true
}

/** A store that is open. */
export interface StoreHandle extends BucketPlace {
  /** Every byte out of it was hashed. A remote one is only read. */
  readonly blocks: Blockstore
  /** As it lies there, unverified: for whoever looks for damage. */
  readonly raw: NatsBlockstore
}

/** Where blocks can be read beside the store that should have them. */
export interface OpenRoute extends BucketPlace, Route {}

export const routeTo = (handle: StoreHandle): OpenRoute => ({
  ...placeOf(handle),
  blocks: handle.blocks,
  isLocal: handle.jetstreamDomain === undefined,
})

/** Without what is open. */
export const placeOf = ({ site, store, buckets, jetstreamDomain, drawn }: BucketPlace): BucketPlace => ({
  ...{ site, store, buckets, jetstreamDomain },
  ...(drawn === undefined ? {} : { drawn }),
})

/** How long a request to another site may take before that site is taken for cut off; retries included. */
const remoteWaitMs = 2_000

/** For a store of another site. */
export const remoteStoreConfig = (config: StoreConfig): StoreConfig => ({ ...config, storeWaitMs: remoteWaitMs })

/**
 * The stores that this node can reach, opened when they are first asked for. Those of its own site it can make, fill and
 * delete; those of other sites it reads, over the leaf links.
 */
export class Stores {
  readonly #nats: Nats
  readonly #layout: LayoutConfig
  readonly #config: StoreConfig
  readonly #open = new Map<string, Promise<StoreHandle | undefined>>()
  readonly #domains = new Map<string, Promise<Nats>>()
  readonly primary: StoreHandle

  private constructor(nats: Nats, layout: LayoutConfig, config: StoreConfig, primary: NatsBlockstore) {
    this.#nats = nats
    this.#layout = layout
    this.#config = config
    this.primary = handleOf({ site: layout.site, store: layout.store }, primary)
    this.#open.set(storeKey(this.primary), Promise.resolve(this.primary))
  }

  /** @throws AppError STORE_MISMATCH | STORE_UNAVAILABLE */
  static async open(nats: Nats, layout: LayoutConfig, config: StoreConfig): Promise<Stores> {
    return new Stores(nats, layout, config, await openNatsBlockstore(nats, layout, config))
  }

  get site(): string {
    return this.#layout.site
  }

  /**
   * A store that exists; undefined when it does not. `jetstreamDomain` of its site, where that is another one.
   * @throws AppError STORE_UNAVAILABLE, also while its site is cut off
   */
  find(at: StoreRef, jetstreamDomain: string = at.site): Promise<StoreHandle | undefined> {
    return this.#once(storeKey(at), async () => {
      const isLocal = at.site === this.#layout.site
      const nats = isLocal ? this.#nats : await this.#domain(jetstreamDomain)
      const buckets = await findBlockBuckets(nats, { ...this.#layout, ...at })
      if (buckets === undefined) return undefined
      const config = isLocal ? this.#config : remoteStoreConfig(this.#config)
      return handleOf(at, new NatsBlockstore(nats, buckets, config), isLocal ? undefined : jetstreamDomain)
    })
  }

  /** A store of this site, made where it is missing, like the primary one. @throws AppError STORE_MISMATCH | STORE_UNAVAILABLE */
  async make(store: string, shards: number = this.#layout.shards): Promise<StoreHandle> {
    const at = { site: this.#layout.site, store }
    const found = await this.find(at)
    if (found !== undefined) return found
    this.#open.delete(storeKey(at))
    const made = await this.#once(storeKey(at), async () =>
      handleOf(at, await openNatsBlockstore(this.#nats, { ...this.#layout, store, shards }, this.#config)),
    )
    if (made === undefined) throw new AppError('STORE_UNAVAILABLE', `store ${storeKey(at)} could not be made`)
    return made
  }

  /** Deletes a store of this site with all that it holds. @throws AppError STORE_UNAVAILABLE */
  async remove(store: string): Promise<void> {
    const at = { site: this.#layout.site, store }
    if (store === this.#layout.store)
      throw new AppError('REQUEST_INVALID', 'the store that takes puts cannot be removed')
    const found = await this.find(at)
    if (found !== undefined) await deleteBlockBuckets(this.#nats, found.buckets)
    this.#open.delete(storeKey(at))
  }

  /** Whether it is still there: somebody may have deleted its buckets. @throws AppError STORE_UNAVAILABLE */
  async exists({ site, store }: StoreRef): Promise<boolean> {
    return (await findBlockBuckets(this.#nats, { ...this.#layout, site, store })) !== undefined
  }

  /** The store is looked for again when it is next asked for. */
  forget(store: string): void {
    if (store !== this.#layout.store) this.#open.delete(storeKey({ site: this.#layout.site, store }))
  }

  /** Messages and bytes in a store of this site. @throws AppError STORE_UNAVAILABLE */
  usage({ buckets }: StoreHandle): ReturnType<typeof storeUsage> {
    return storeUsage(this.#nats, buckets)
  }

  /** A failure, or a store that is not there yet, is not remembered. */
  async #once(key: string, open: () => Promise<StoreHandle | undefined>): Promise<StoreHandle | undefined> {
    const opening = this.#open.get(key) ?? open()
    this.#open.set(key, opening)
    try {
      const found = await opening
      if (found === undefined && this.#open.get(key) === opening) this.#open.delete(key)
      return found
    } catch (error) {
      if (this.#open.get(key) === opening) this.#open.delete(key)
      throw error
    }
  }

  #domain(name: string): Promise<Nats> {
    const opening = this.#domains.get(name) ?? inDomain(this.#nats, name)
    this.#domains.set(name, opening)
    opening.catch(() => this.#domains.delete(name))
    return opening
  }
}

function handleOf({ site, store }: StoreRef, raw: NatsBlockstore, jetstreamDomain?: string): StoreHandle {
  return { site, store, raw, blocks: verified(raw), buckets: raw.buckets, jetstreamDomain }
}
