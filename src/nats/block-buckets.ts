import type { StreamConfig, StreamInfo } from '@nats-io/jetstream'
import { DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { blockBucket, bucketMetadata, objectStream } from './layout.ts'
import { makeStream } from './stream-sizes.ts'

export interface BlockBucket {
  readonly bucket: string
  readonly stream: string
  /** More than one: a follower that has not caught up may answer "not here", so a miss is asked again at the leader. */
  readonly replicas: number
  /** When it was made, RFC 3339, by the server's clock: what was said of an earlier one does not hold for it. */
  readonly createdAt: string
}

export interface StoreUsage {
  readonly messages: number
  readonly bytes: number
}

const streamNotFound = 10059

/**
 * The store's buckets, one a shard, made where they are missing.
 *
 * They are made with one request each (not `Objm.create` plus an update), so that no crash leaves a bucket without
 * atomic batches; `@nats-io/obj` and the `nats` CLI see an ordinary Object Store bucket (tested).
 * @throws AppError STORE_MISMATCH when a bucket exists with other parameters
 */
export async function openBlockBuckets(nats: Nats, layout: LayoutConfig): Promise<BlockBucket[]> {
  const existing = await existingShards(nats, layout)
  if (existing !== undefined && existing !== String(layout.shards)) {
    throw new AppError(
      'STORE_MISMATCH',
      `the store ${blockBucket(layout, 0)} was made with ${existing} shards, not ${layout.shards}`,
      { hint: `set STOWAGE_SHARDS=${existing}, or use another STOWAGE_STORE` },
    )
  }
  return Promise.all(
    Array.from({ length: layout.shards }, async (_, shard) => {
      const info = await openBucket(nats, layout, shard)
      const bucket = blockBucket(layout, shard)
      return bucketOf(bucket, info)
    }),
  )
}

/**
 * The buckets of a store that is there already, as their metadata tells; undefined when it is not. Makes nothing: for a
 * store of another site, or one that may have been removed.
 * @throws AppError STORE_MISMATCH | STORE_UNAVAILABLE
 */
export async function findBlockBuckets(
  nats: Nats,
  layout: Omit<LayoutConfig, 'shards' | 'replicas'>,
): Promise<BlockBucket[] | undefined> {
  const first = { ...layout, shards: 1, replicas: 1 }
  const shards = Number(await existingShards(nats, first))
  if (!(shards >= 1)) return undefined
  return Promise.all(
    Array.from({ length: shards }, async (_, shard) => {
      const bucket = blockBucket(first, shard)
      const stream = objectStream(bucket)
      const info = await findStream(nats, stream)
      if (info === undefined) {
        throw new AppError('STORE_MISMATCH', `bucket ${bucket} is missing; its store has ${shards} shards`)
      }
      return bucketOf(bucket, info)
    }),
  )
}

/** The store is gone with all that it holds. @throws AppError STORE_UNAVAILABLE */
export async function deleteBlockBuckets(nats: Nats, buckets: readonly BlockBucket[]): Promise<void> {
  // The first one last: it is the one that says that there is a store.
  for (const { stream } of buckets.toReversed()) {
    await nats.jsm.streams.delete(stream).catch((cause: unknown) => {
      if (cause instanceof JetStreamApiError && cause.code === streamNotFound) return
      throw new AppError('STORE_UNAVAILABLE', `cannot delete stream ${stream}`, { cause })
    })
  }
}

/** @throws AppError STORE_UNAVAILABLE, at once while the connection is lost */
export async function storeUsage(nats: Nats, buckets: readonly BlockBucket[]): Promise<StoreUsage> {
  if (!nats.connected) {
    throw new AppError('STORE_UNAVAILABLE', 'NATS is not connected', { hint: 'try again in a moment' })
  }
  const infos = await Promise.all(buckets.map(({ stream }) => nats.jsm.streams.info(stream))).catch(
    (cause: unknown) => {
      throw new AppError('STORE_UNAVAILABLE', 'NATS does not answer', { cause, hint: 'try again in a moment' })
    },
  )
  return infos.reduce(
    (sum, { state }) => ({ messages: sum.messages + state.messages, bytes: sum.bytes + state.bytes }),
    { messages: 0, bytes: 0 },
  )
}

function bucketOf(bucket: string, { config, created }: StreamInfo): BlockBucket {
  const createdAt = new Date(created).toISOString()
  return { bucket, stream: objectStream(bucket), replicas: config.num_replicas, createdAt }
}

async function existingShards(nats: Nats, layout: LayoutConfig): Promise<string | undefined> {
  const info = await findStream(nats, objectStream(blockBucket(layout, 0)))
  return info === undefined ? undefined : (info.config.metadata?.['stowage.shards'] ?? 'an unknown number of')
}

async function openBucket(nats: Nats, layout: LayoutConfig, shard: number): Promise<StreamInfo> {
  const bucket = blockBucket(layout, shard)
  const stream = objectStream(bucket)
  const info = (await findStream(nats, stream)) ?? (await createBucket(nats, layout, shard))
  const expected = bucketMetadata(layout, shard)
  for (const [key, value] of Object.entries(expected)) {
    const actual = info.config.metadata?.[key]
    if (actual === value) continue
    throw new AppError('STORE_MISMATCH', `bucket ${bucket} has ${key} = ${actual ?? '(none)'}, expected ${value}`, {
      hint: 'it belongs to something else: choose another STOWAGE_DOMAIN, STOWAGE_SPACE, STOWAGE_SITE or STOWAGE_STORE',
    })
  }
  if (info.config.allow_direct !== true || info.config.allow_atomic !== true) {
    throw new AppError('STORE_MISMATCH', `bucket ${bucket} does not allow direct gets and atomic batches`, {
      hint: `run: nats stream edit ${stream} --allow-direct --allow-batch`,
    })
  }
  return info
}

async function findStream(nats: Nats, stream: string): Promise<StreamInfo | undefined> {
  try {
    return await nats.jsm.streams.info(stream)
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw new AppError('STORE_UNAVAILABLE', `cannot look up stream ${stream}`, { cause: error })
  }
}

async function createBucket(nats: Nats, layout: LayoutConfig, shard: number): Promise<StreamInfo> {
  const bucket = blockBucket(layout, shard)
  const config: Partial<StreamConfig> & { name: string; allow_atomic: boolean } = {
    name: objectStream(bucket),
    description: `Stowage blocks, shard ${shard} of ${layout.shards}`,
    subjects: [`$O.${bucket}.C.>`, `$O.${bucket}.M.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_bytes: -1,
    max_age: 0,
    num_replicas: layout.replicas,
    allow_rollup_hdrs: true,
    allow_direct: true,
    allow_atomic: true,
    // Never reached; it halves the server's file blocks to 4 MB, which doubles cold random reads.
    max_msgs_per_subject: 1_000_000,
    metadata: bucketMetadata(layout, shard),
  }
  return makeStream(nats, 'blocks', config, layout.shards)
}
