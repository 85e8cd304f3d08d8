import { JetStreamApiError } from '@nats-io/jetstream'
import { AppError } from '../errors.ts'
import { type BlockBucket, type StoreUsage, storeUsage } from './block-buckets.ts'
import type { Nats } from './connection.ts'
import { neededStreams, type Switched } from './layout.ts'

const streamNotFound = 10059

/**
 * What keeps streams that a node writes to from taking anything, each in a few words: somebody has deleted or sealed one, or it
 * has reached a bound of its own. Empty = nothing.
 * @throws AppError STORE_UNAVAILABLE
 */
async function streamTroubles(nats: Nats, streams: readonly string[]): Promise<string[]> {
  const troubles = await Promise.all(streams.map((stream) => troubleOf(nats, stream)))
  return troubles.filter((trouble) => trouble !== undefined)
}

async function troubleOf(nats: Nats, stream: string): Promise<string | undefined> {
  try {
    const { config, state } = await nats.jsm.streams.info(stream)
    if (config.sealed) return `stream ${stream} is sealed: it takes no writes any more`
    // The others let the oldest go.
    if (config.discard !== 'new') return undefined
    if (config.max_bytes > 0 && state.bytes >= config.max_bytes) return `stream ${stream} has reached its max_bytes`
    return config.max_msgs > 0 && state.messages >= config.max_msgs
      ? `stream ${stream} has reached its max_msgs`
      : undefined
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === streamNotFound) return `stream ${stream} is gone`
    throw new AppError('STORE_UNAVAILABLE', `stream ${stream} does not answer`, {
      cause,
      hint: 'try again in a moment',
    })
  }
}

export interface StreamWatch {
  /** @throws AppError STORE_UNAVAILABLE, at once while the connection is lost */
  usage(): Promise<StoreUsage & { readonly troubles: readonly string[] }>
  /** @throws AppError STORE_REFUSED with all troubles | STORE_UNAVAILABLE */
  ready(): Promise<void>
}

/** Looks at the streams of a node when it is asked: for its status and its readiness. */
export function watchStreams(
  nats: Nats,
  buckets: readonly BlockBucket[],
  domain: string,
  config: Switched,
): StreamWatch {
  const streams = [...buckets.map(({ stream }) => stream), ...neededStreams(domain, config)]
  const usage = async () => ({
    ...(await storeUsage(nats, buckets)),
    troubles: await streamTroubles(nats, streams),
  })
  return {
    usage,
    ready: async () => {
      const { troubles } = await usage()
      if (troubles.length > 0) throw new AppError('STORE_REFUSED', troubles.join('; '), { hint: 'see stowage doctor' })
    },
  }
}
