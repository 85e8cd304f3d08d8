import type { StreamConfig } from '@nats-io/jetstream'
import { DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'
import { makeStream } from './stream-sizes.ts'

interface KvStreamOptions {
  readonly replicas: number
  readonly description: string
  /** Undefined = for ever. */
  readonly keptSeconds?: number
}

const streamNotFound = 10059

/** What became of a stream: somebody may delete it and make another one, or seal it, and then it takes no writes for ever. */
export interface StreamLook {
  /** When it was made: one that was made anew has another time. */
  readonly created: string
  readonly sealed: boolean
}

/** @returns undefined when it is not there @throws TransientError */
export async function lookAtStream(nats: Nats, stream: string): Promise<StreamLook | undefined> {
  try {
    const { created, config } = await nats.jsm.streams.info(stream)
    return { created: String(created), sealed: config.sealed }
  } catch (cause) {
    if (isNotFound(cause)) return undefined
    throw new TransientError(`${stream} does not answer`, { cause })
  }
}

/**
 * The stream behind a KV bucket, made where it is missing.
 * @returns whether it was @throws AppError STORE_UNAVAILABLE | STORE_FULL | SETTING_INVALID
 */
export async function makeKvStream(
  nats: Nats,
  stream: string,
  subjects: string,
  { replicas, description, keptSeconds = 0 }: KvStreamOptions,
): Promise<boolean> {
  const config: Partial<StreamConfig> & { name: string } = {
    name: stream,
    description,
    subjects: [subjects],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_msgs_per_subject: 1,
    max_age: keptSeconds * 1e9,
    num_replicas: replicas,
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
    allow_atomic: true,
    allow_msg_ttl: true,
  }
  try {
    if ((await lookAtStream(nats, stream)) !== undefined) return false
    await makeStream(nats, 'kv', config)
    return true
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('STORE_UNAVAILABLE', `cannot open the KV bucket ${stream}: ${String(cause)}`, { cause })
  }
}

/**
 * Removes the stream with all that it holds. What a message that cannot be read needs: nats-server 2.15.1 neither replaces nor removes it, and
 * freezes the stream when it is to. One that is not there is no error.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function dropKvStream(nats: Nats, stream: string): Promise<void> {
  try {
    await nats.jsm.streams.delete(stream)
  } catch (cause) {
    if (isNotFound(cause)) return
    throw new AppError('STORE_UNAVAILABLE', `cannot drop ${stream}: ${String(cause)}`, { cause })
  }
}

const isNotFound = (error: unknown): boolean => error instanceof JetStreamApiError && error.code === streamNotFound
