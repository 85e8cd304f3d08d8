import { type AccountLimits, JetStreamApiError, type StreamConfig, type StreamInfo } from '@nats-io/jetstream'
import type { StreamBytes } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'

/** What Stowage keeps in streams, by what they are bounded with. `blocks`: all buckets of a store together; `kv`: each bucket. */
export type StreamKind = 'blocks' | 'events' | 'kv' | 'moves' | 'reads' | 'queue' | 'dead'

/**
 * Shares of an account's storage; some is left, for a bucket that a later version adds. Events and indexes have more than they
 * will need as long as objects have 64 KiB and more on the average: a log that is full stops everything, and blocks only uploads.
 */
const shares: Readonly<Record<StreamKind, number>> = {
  blocks: 0.6,
  events: 0.12,
  kv: 0.015,
  moves: 0.01,
  reads: 0.04,
  queue: 0.04,
  dead: 0.01,
}

/** How large the streams may become that are made here. */
export interface StreamSizes {
  /** Who sets the sizes: the settings, the account of the NATS server by demanding one for every stream; `none` = nobody does. */
  readonly from: 'settings' | 'account' | 'none'
  /** Undefined = no bound. @param parts streams that share it @param replicas each of them counts against the account */
  bytesOf(kind: StreamKind, options: { readonly parts?: number; readonly replicas: number }): number | undefined
}

/** @param limits of the account; undefined = it does not say */
export function streamSizes(given: StreamBytes, limits: AccountLimits | undefined): StreamSizes {
  const required = limits?.max_bytes_required === true
  const most = limits !== undefined && limits.storage_max_stream_bytes > 0 ? limits.storage_max_stream_bytes : Infinity
  const total = required && limits.max_storage > 0 ? limits.max_storage : Infinity
  return {
    from: required ? 'account' : Object.keys(given).length > 0 ? 'settings' : 'none',
    bytesOf: (kind, { parts = 1, replicas }) => {
      const ofKind = (given as Partial<Record<StreamKind, number>>)[kind] ?? (total * shares[kind]) / replicas
      const bytes = Math.floor(Math.min(ofKind / parts, most))
      return Number.isFinite(bytes) ? bytes : undefined
    },
  }
}

type NewStream = Partial<StreamConfig> & Pick<StreamConfig, 'name'>

/**
 * Makes a stream, of the size that one of its kind may have. One that has a bound of its own keeps it, where that is less.
 * @throws AppError STORE_FULL | SETTING_INVALID | STORE_UNAVAILABLE
 */
export async function makeStream(nats: Nats, kind: StreamKind, config: NewStream, parts = 1): Promise<StreamInfo> {
  try {
    return await nats.jsm.streams.add({ ...config, max_bytes: sizeOf(nats, kind, config, parts) })
  } catch (error) {
    if (error instanceof AppError) throw error
    throw unmade(config.name, error) ?? unavailable(config.name, error)
  }
}

function sizeOf(nats: Nats, kind: StreamKind, { max_bytes = -1, num_replicas = 1 }: NewStream, parts: number): number {
  const bytes = nats.sizes.bytesOf(kind, { parts, replicas: num_replicas })
  return max_bytes > 0 ? Math.min(max_bytes, bytes ?? max_bytes) : (bytes ?? -1)
}

const unavailable = (stream: string, cause: unknown): AppError =>
  new AppError('STORE_UNAVAILABLE', `cannot create stream ${stream}: ${String(cause)}`, { cause })

/** JetStream's codes for a stream that an account does not let be made, or grow. */
const storageInsufficient = [10002, 10047]
const streamTooLarge = 10122
const sizeRequired = 10113
const tooManyStreams = 10027

/**
 * What to say of a stream that the server did not make or change for want of room. It sets the whole size of a bounded stream aside;
 * which of ours finds no room is chance: all of them together do not fit.
 * @returns undefined when that is not what is wrong
 */
export function unmade(stream: string, error: unknown): AppError | undefined {
  if (!(error instanceof JetStreamApiError)) return undefined
  const { code, message } = error
  if (storageInsufficient.includes(code) || code === streamTooLarge) {
    return new AppError('STORE_FULL', `the NATS server has no room for stream ${stream}`, {
      cause: error,
      hint: 'raise its storage limit, or lower STOWAGE_READS_BYTES_MAX, STOWAGE_QUEUE_BYTES_MAX and STOWAGE_DEAD_BYTES_MAX, which it sets aside, and STOWAGE_STREAM_BYTES_MAX',
    })
  }
  if (code === sizeRequired) {
    const why = `the NATS account wants a size for every stream (${message}), and has no storage limit to share out`
    const hint = 'set STOWAGE_STREAM_BYTES_MAX=blocks=64GiB,events=4GiB,kv=256MiB,moves=64MiB to what it may hold'
    return new AppError('SETTING_INVALID', `cannot create stream ${stream}: ${why}`, { cause: error, hint })
  }
  if (code !== tooManyStreams) return undefined
  const hint = 'raise the number of streams of the account, or lower STOWAGE_SHARDS before the first start'
  return new AppError('STORE_FULL', `the NATS account may have no more streams: ${stream} is missing`, {
    cause: error,
    hint,
  })
}
