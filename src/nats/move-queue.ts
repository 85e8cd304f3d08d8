import {
  AckPolicy,
  type Consumer,
  type ConsumerMessages,
  DiscardPolicy,
  JetStreamApiError,
  type JsMsg,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream'
import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { moveStream, moveSubjects } from './layout.ts'
import { makeStream } from './stream-sizes.ts'

/** A message of the queue, this node's until it is acknowledged or given back. */
export interface Move {
  readonly data: Uint8Array
  /** 1 for the first time. */
  readonly deliveries: number
  ack(): void
  retryAfter(ms: number): void
  /** Holds off the next delivery. */
  working(): void
}

/** What has to be done at a site, one message for each key: the nodes of the site share it. */
export interface MoveQueue {
  /**
   * @param key subject tokens, unique to the work
   * @returns false when it is queued, or under way, already
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE
   */
  add(key: string, data: Uint8Array): Promise<boolean>
  /** Undefined when none came in a while. @throws AppError STORE_UNAVAILABLE */
  next(): Promise<Move | undefined>
  /** `next` ends. */
  stop(): void
}

const waitMs = 5_000
const ackWaitMs = 30_000
const streamNotFound = 10059
const consumerExists = 10148
/** What the store says no to, whatever its reason: the message tells one from the other. */
const notStored = 10077
const subjectIsTaken = 'maximum messages per subject exceeded'
/** Work that waits to be tried again counts as delivered: a thousand failures must not hold up what would succeed. */
const ackPendingMax = 100_000

/**
 * Made where it is missing. A message holds its subject until it is done, so the same work is never queued twice.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function openMoveQueue(nats: Nats, layout: LayoutConfig): Promise<MoveQueue> {
  const { domain, site, space, replicas } = layout
  const stream = moveStream(domain)
  const prefix = `${domain}.moves.${site}.${space}.`
  const name = `movers-${site}-${space}`
  const open = async (): Promise<Consumer> => {
    await nats.jsm.streams.info(stream).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError) || error.code !== streamNotFound) throw error
      return makeStream(nats, 'moves', {
        name: stream,
        description: 'Stowage copies to be made or removed',
        subjects: [moveSubjects(layout)],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.File,
        discard: DiscardPolicy.New,
        discard_new_per_subject: true,
        max_msgs_per_subject: 1,
        num_replicas: replicas,
      })
    })
    const config = { ack_wait: ackWaitMs * 1e6, max_deliver: -1, max_ack_pending: ackPendingMax }
    const shared = { durable_name: name, filter_subject: `${prefix}>`, ack_policy: AckPolicy.Explicit, ...config }
    await nats.jsm.consumers.add(stream, shared).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError) || error.code !== consumerExists) throw error
      return nats.jsm.consumers.update(stream, name, config)
    })
    return nats.js.consumers.get(stream, name)
  }
  let consumer: Consumer | undefined = await asking(stream, open)
  const fetching = new Set<ConsumerMessages>()
  let stopped = false
  return {
    add: (key, data) =>
      asking(stream, async () => {
        try {
          await nats.js.publish(prefix + key, data)
          return true
        } catch (error) {
          if (!(error instanceof JetStreamApiError) || error.code !== notStored) throw error
          if (error.message.includes(subjectIsTaken)) return false
          throw new AppError('STORE_FULL', `stream ${stream} is full: ${error.message}`, { cause: error })
        }
      }),
    next: async () => {
      try {
        consumer ??= await open()
        if (stopped) return undefined
        const messages = await consumer.fetch({ max_messages: 1, expires: waitMs })
        fetching.add(messages)
        try {
          for await (const message of messages) return moveOf(message)
          return undefined
        } finally {
          fetching.delete(messages)
        }
      } catch (cause) {
        consumer = undefined
        throw new AppError('STORE_UNAVAILABLE', `stream ${stream} does not answer`, { cause })
      }
    },
    stop: () => {
      stopped = true
      for (const messages of fetching) messages.stop()
    },
  }
}

function moveOf(message: JsMsg): Move {
  return {
    data: message.data,
    deliveries: message.info.deliveryCount,
    ack: () => message.ack(),
    retryAfter: (ms) => message.nak(ms),
    working: () => message.working(),
  }
}

async function asking<T>(stream: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('STORE_UNAVAILABLE', `stream ${stream} does not answer`, { cause })
  }
}
