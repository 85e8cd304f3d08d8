import { CID } from 'multiformats/cid'
import { anyReplica } from '../blocks/any-replica.ts'
import { NatsBlockstore } from '../blocks/nats-blockstore.ts'
import type { Route } from '../blocks/routed.ts'
import { scanShard } from '../blocks/scan-shard.ts'
import { type BucketPlace, remoteStoreConfig } from '../blocks/stores.ts'
import { verified } from '../blocks/verified.ts'
import type { StoreConfig } from '../config.ts'
import type { DagLimits } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import { BoundedMap } from '../lib/bounded-map.ts'
import { ByteRate } from '../lib/byte-rate.ts'
import { MiB } from '../lib/units.ts'
import type { Nats } from '../nats/connection.ts'
import { inDomain } from '../nats/domain.ts'
import type { Bulk, BulkOptions, CopyJob, CopyOptions, DagJob, Mended, Pace, ScanJob, ScanOptions } from './bulk.ts'
import { copyDag, verifyDag } from './copy-dag.ts'
import type { CopySize } from './copy-events.ts'
import { mayBeAbsent, partOf } from './partial.ts'

export interface BulkWorkParts {
  readonly nats: Nats
  readonly store: StoreConfig
  readonly limits: DagLimits
}

/** Read in one go: of more, readers of this site feel each burst. */
const readAheadBytes = MiB
/** Where each burst costs a long way. */
const remoteReadAheadBytes = 4 * MiB
/** What was not read while it waited, for a disk or another site, is not made up for at once: readers would notice. */
const burstMs = 50
const openMax = 256

/** `Bulk` over the connections that it is given. */
export class BulkWork implements Bulk {
  readonly #parts: BulkWorkParts
  readonly #rates = new Map<Pace['lane'], { readonly bytesPerSecond: number; readonly rate: ByteRate }>()
  readonly #open = new BoundedMap<string, Promise<NatsBlockstore>>(openMax)

  constructor(parts: BulkWorkParts) {
    this.#parts = parts
  }

  async copy({ root, at, from, isNew, pace, missing }: CopyJob, options: CopyOptions) {
    const { signal, onMended } = options
    const dest = await this.#store(at)
    const routes = await Promise.all(from.map((place) => this.#route(place)))
    let mended: Mended | undefined
    try {
      return await copyDag(CID.parse(root), verified(dest), routes, {
        ...this.#dagOptions(pace, options, missing),
        readAheadBytes: from.every(isHere) ? readAheadBytes : remoteReadAheadBytes,
        rewrite: (block) => dest.rewrite(block, { signal }),
        ...(isNew ? { hasMany: dest.hasMany.bind(dest), awayIsOutage: true } : {}),
        onCopied: ({ cid, from: { site, store } }) => {
          const first = mended?.first ?? { cid: cid.toV1().toString(), from: { site, store } }
          mended = { count: (mended?.count ?? 0) + 1, first }
        },
      })
    } finally {
      if (mended !== undefined) onMended?.(mended)
    }
  }

  async verify({ root, at, pace, missing }: DagJob, options: BulkOptions): Promise<CopySize> {
    return verifyDag(CID.parse(root), verified(await this.#store(at)), this.#dagOptions(pace, options, missing))
  }

  async scan({ at, shard, fromSeq, pace, graceMs }: ScanJob, { signal, onPage }: ScanOptions): Promise<void> {
    const { nats, store } = this.#parts
    const bucket = at.buckets[shard]
    if (bucket === undefined) throw new RangeError('a shard outside the store')
    const rate = this.#rate(pace)
    const pages = scanShard(nats, await this.#store(at), bucket, {
      ...{ signal, fromSeq, waitMs: store.storeWaitMs, pace: (bytes: number) => rate.take(bytes, signal) },
      ...(graceMs === undefined ? {} : { graceMs }),
    })
    for await (const { findings, ...sums } of pages) {
      await onPage({ ...sums, findings: findings.map(({ cid, fault }) => ({ cid: cid.toString(), fault })) })
    }
  }

  #dagOptions(pace: Pace, { signal, onProgress }: BulkOptions, missing: DagJob['missing']) {
    const { limits } = this.#parts
    const rate = this.#rate(pace)
    const part = partOf({ missing })
    const mayBeAbsent_ = part === undefined ? {} : { mayBeAbsent: (cid: CID) => mayBeAbsent(part, cid) }
    return {
      signal,
      limits,
      rate,
      readAheadBytes,
      ...mayBeAbsent_,
      ...(onProgress === undefined ? {} : { onProgress }),
    }
  }

  #rate({ lane, bytesPerSecond }: Pace): ByteRate {
    const known = this.#rates.get(lane)
    if (known?.bytesPerSecond === bytesPerSecond) return known.rate
    const rate = new ByteRate(bytesPerSecond, burstMs)
    this.#rates.set(lane, { bytesPerSecond, rate })
    return rate
  }

  async #route(place: BucketPlace): Promise<Route> {
    const { site, store, drawn } = place
    const raw = await this.#store(place)
    const replicas = drawn === true ? anyReplica({ ...place, raw }) : undefined
    return replicas ?? { site, store, blocks: verified(raw), isLocal: isHere(place) }
  }

  /** A store whose buckets were made anew is another one. */
  #store({ buckets, jetstreamDomain }: BucketPlace): Promise<NatsBlockstore> {
    const [first] = buckets
    if (first === undefined) throw new AppError('STORE_UNAVAILABLE', 'a store without buckets')
    const key = `${jetstreamDomain} ${first.bucket} ${buckets.length} ${first.createdAt}`
    const known = this.#open.get(key)
    if (known !== undefined) return known
    const opening = this.#openStore(buckets, jetstreamDomain)
    this.#open.set(key, opening)
    opening.catch(() => this.#open.delete(key))
    return opening
  }

  async #openStore(buckets: BucketPlace['buckets'], domain: string | undefined): Promise<NatsBlockstore> {
    const { nats, store } = this.#parts
    if (domain === undefined) return new NatsBlockstore(nats, buckets, store)
    return new NatsBlockstore(await inDomain(nats, domain), buckets, remoteStoreConfig(store))
  }
}

const isHere = ({ jetstreamDomain }: BucketPlace): boolean => jetstreamDomain === undefined
