import type { Consumer, ConsumerMessages, JsMsg, StreamConfig } from '@nats-io/jetstream'
import { AckPolicy, DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import type { CommsConfig, LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { deadStream, deadSubjects, queueConsumer, queueFilter, queueStream, queueSubjects } from './layout.ts'
import { encode, headersOf, type Incoming } from './messaging.ts'
import { makeStream, type StreamKind, unmade } from './stream-sizes.ts'

/** A stored message; it is delivered again, here or at another node, until it is acknowledged. */
export interface QueuedMessage extends Incoming {
  readonly stream: string
  readonly sequence: number
  /** 1 for the first time. */
  readonly deliveries: number
  readonly time: Date
  ack(): void
  retryAfter(ms: number): void
  /** Holds off the next delivery for another ack time. */
  working(): void
}

export interface WorkQueue {
  /** The next message for this node; undefined when none came in a while. @throws AppError STORE_UNAVAILABLE */
  next(): Promise<QueuedMessage | undefined>
  /** Keeps what nobody could carry out. @param id what is stored under it once is not stored again @returns its sequence */
  bury(id: string, subject: string, data: Uint8Array, headers: Readonly<Record<string, string>>): Promise<number>
  /** Makes what is missing: `next` and `bury` do so only once they have failed. @returns how it is now @throws AppError STORE_UNAVAILABLE */
  restore(): Promise<string>
  /** No more messages are taken; `next` ends. */
  stop(): void
}

const waitMs = 5_000
/** Unacknowledged over all nodes of a space. */
const ackPendingMax = 1_000

export interface QueueBounds {
  readonly ackWaitMs: number
  /** A full queue refuses: whoever stores a command hears of it (JetStream error 10077). */
  readonly queueBytesMax: number
  /** The oldest dead letter makes room: a queue that cannot bury would stand still. */
  readonly deadBytesMax: number
}

/** The server sets the whole size of a bounded stream aside at once: on a small disk it must leave the rest for content. */
const shareMax = 1 / 16

export function queueBounds(comms: CommsConfig, storeBytesMax = Number.POSITIVE_INFINITY): QueueBounds {
  const bounded = (bytes: number) => Math.floor(Math.min(bytes, storeBytesMax * shareMax))
  const { ackWaitMs, queueBytesMax, deadBytesMax } = comms
  return { ackWaitMs, queueBytesMax: bounded(queueBytesMax), deadBytesMax: bounded(deadBytesMax) }
}

/**
 * The queue of commands and the stream of dead letters, made where they are missing, and the one consumer that all nodes of
 * the space share. Bounds and times are those of whichever node started last.
 * @throws AppError STORE_UNAVAILABLE | STORE_MISMATCH | STORE_FULL (the bounds do not fit into the server)
 */
export async function openWorkQueue(nats: Nats, layout: LayoutConfig, bounds: QueueBounds): Promise<WorkQueue> {
  const { ackWaitMs } = bounds
  const { domain, space, replicas } = layout
  const queueBytesMax = Math.min(
    bounds.queueBytesMax,
    nats.sizes.bytesOf('queue', { replicas }) ?? Number.POSITIVE_INFINITY,
  )
  const deadBytesMax = Math.min(
    bounds.deadBytesMax,
    nats.sizes.bytesOf('dead', { replicas }) ?? Number.POSITIVE_INFINITY,
  )
  const queue = queueStream(domain)
  const openDead = () =>
    openStream(nats, 'dead', {
      ...streamOf(layout),
      ...deadLetters,
      name: deadStream(domain),
      subjects: [deadSubjects(domain)],
      max_bytes: deadBytesMax,
    })
  const open = async (): Promise<Consumer> => {
    await openDead()
    await openStream(nats, 'queue', {
      ...streamOf(layout),
      ...workQueue,
      ...undeduplicated(domain),
      name: queue,
      subjects: [queueSubjects(domain)],
      max_bytes: queueBytesMax,
    })
    const durable_name = queueConsumer(space)
    const config = {
      ack_wait: ackWaitMs * 1e6,
      // Whoever works on it counts: a message that the server gave up on would stay in the queue unseen.
      max_deliver: -1,
      max_ack_pending: ackPendingMax,
    }
    const shared = {
      durable_name,
      filter_subject: queueFilter(domain, space),
      ack_policy: AckPolicy.Explicit,
      ...config,
    }
    await nats.jsm.consumers.add(queue, shared).catch((error: unknown) => {
      // Made by a node with other settings: the last one to start decides.
      if (error instanceof JetStreamApiError && error.code === consumerExists) {
        return nats.jsm.consumers.update(queue, durable_name, config)
      }
      throw error
    })
    return nats.js.consumers.get(queue, durable_name)
  }
  let consumer: Consumer | undefined = await asking(queue, open)
  const fetching = new Set<ConsumerMessages>()
  let buryFailed = false
  let stopped = false
  return {
    next: async () => {
      try {
        // Opened anew after a failure: somebody may have deleted the stream or the consumer.
        consumer ??= await asking(queue, open)
        if (stopped) return undefined
        const messages = await consumer.fetch({ max_messages: 1, expires: waitMs })
        fetching.add(messages)
        try {
          for await (const message of messages) return queued(message)
          return undefined
        } finally {
          fetching.delete(messages)
        }
      } catch (error) {
        consumer = undefined
        throw unavailable(queue, error)
      }
    },
    bury: (id, subject, data, headers) =>
      asking(deadStream(domain), async () => {
        // Somebody may have deleted it.
        if (buryFailed) await openDead()
        buryFailed = true
        const { seq } = await nats.js.publish(subject, data, { msgID: id, headers: encode(headers) })
        buryFailed = false
        return seq
      }),
    restore: () =>
      asking(queue, async () => {
        await open()
        return 'it is there again, empty'
      }),
    stop: () => {
      stopped = true
      for (const messages of fetching) messages.stop()
    },
  }
}

const streamOf = ({ replicas }: LayoutConfig): Partial<StreamConfig> => ({
  storage: StorageType.File,
  num_replicas: replicas,
  allow_direct: true,
})

const workQueue = {
  retention: RetentionPolicy.Workqueue,
  discard: DiscardPolicy.New,
  description: 'Stowage commands',
} as const
const deadLetters = {
  retention: RetentionPolicy.Limits,
  discard: DiscardPolicy.Old,
  description: 'Stowage commands that could not be carried out',
} as const

/**
 * The server would swallow a message whose `Nats-Msg-Id` somebody else has used: before anybody has looked at who sends it,
 * and with an acknowledgement. What is sent twice is one command by its id, which belongs to its sender. Only a stream with
 * sources can do without that memory (2.15.1), so it has one that never gives anything; where that is not enough, the memory
 * is as short as can be.
 */
const undeduplicated = (domain: string): Pick<StreamConfig, 'duplicate_window' | 'sources'> => ({
  duplicate_window: 0,
  sources: [{ name: deadStream(domain), filter_subject: `${domain}.dead.=.none` }],
})
const shortestWindowNs = 100_000_000

const streamNotFound = 10059
const consumerExists = 10148

type Bounded = Partial<StreamConfig> & Pick<StreamConfig, 'name' | 'max_bytes' | 'discard'>

async function openStream(nats: Nats, kind: StreamKind, config: Bounded): Promise<void> {
  const existing = await nats.jsm.streams.info(config.name).catch((error: unknown) => {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw error
  })
  const actual = existing?.config ?? (await makeStream(nats, kind, config)).config
  if (actual.retention === config.retention && actual.subjects.includes(config.subjects?.[0] ?? '')) {
    const { max_bytes, discard, duplicate_window, sources } = config
    const update = (changes: Partial<StreamConfig>) =>
      inRoom(config.name, nats.jsm.streams.update(config.name, { ...actual, max_bytes, discard, ...changes }))
    // One that was made by an older version, or by a server that remembers ids all the same.
    const remembers = duplicate_window === 0 && (actual.duplicate_window ?? 0) > shortestWindowNs
    if (!remembers && actual.max_bytes === max_bytes && actual.discard === discard) return
    const { config: now } = await update(remembers ? { duplicate_window, sources: sources ?? [] } : {})
    if (remembers && (now.duplicate_window ?? 0) > shortestWindowNs)
      await update({ duplicate_window: shortestWindowNs })
    return
  }
  throw new AppError('STORE_MISMATCH', `stream ${config.name} has other subjects or another retention than ours`, {
    hint: 'it belongs to something else: choose another STOWAGE_DOMAIN',
  })
}

/** @throws AppError STORE_FULL when the server cannot set so much aside */
async function inRoom<T>(stream: string, made: Promise<T>): Promise<T> {
  try {
    return await made
  } catch (error) {
    throw unmade(stream, error) ?? error
  }
}

function queued(message: JsMsg): QueuedMessage {
  const { info } = message
  return {
    subject: message.subject,
    reply: undefined,
    headers: headersOf(message),
    data: message.data,
    stream: info.stream,
    sequence: info.streamSequence,
    deliveries: info.deliveryCount,
    time: new Date(info.timestampNanos / 1e6),
    ack: () => message.ack(),
    retryAfter: (ms) => message.nak(ms),
    working: () => message.working(),
  }
}

async function asking<T>(stream: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw unavailable(stream, error)
  }
}

function unavailable(stream: string, error: unknown): unknown {
  if (error instanceof AppError) return error
  return new AppError('STORE_UNAVAILABLE', `stream ${stream} does not answer`, { cause: error })
}
