import { randomUUID } from 'node:crypto'
import { AckPolicy, type Consumer, DeliverPolicy, type JsMsg, type StreamInfo } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'

/** A message that a replica can read. */
export interface Listed {
  readonly seq: number
  readonly subject: string
  /** Empty when it has none of this name. */
  readonly header: (name: string) => string
}

const pageMessages = 500
/** The end of a replica is known by nothing coming: what is damaged is counted as pending for ever. */
const pageMs = 1_500
/** Longer than a page may be waited with, for the sake of others. */
const idleSeconds = 600
/** The server draws the replica that a consumer reads; so many times all of them are met. */
const drawsMax = 60
/** Those under way when the leader was asked. */
const lagMax = 1_000

interface ListingParts {
  readonly nats: Nats
  readonly stream: string
  readonly name: string
  readonly server: string
  readonly consumer: Consumer
  readonly upToSeq: number
}

/** What one replica of a stream can read, in order: its own file store, and its own checksums, are asked. */
export class ReplicaListing {
  /** How many messages it had when this was opened, by its own count: damaged ones too, of which it does not know. */
  readonly count: number
  /** Of a message, on average. */
  readonly bytesEach: number
  readonly #parts: ListingParts

  private constructor(parts: ListingParts, count: number, bytesEach: number) {
    this.#parts = parts
    this.count = count
    this.bytesEach = bytesEach
  }

  /**
   * One for each replica, up to the message that is the last one now; undefined while one of them is away or behind: what it
   * lacks will come. A Direct Get cannot choose who answers; a consumer of one replica reads where it was placed.
   * @param subjects undefined = all @throws TransientError
   */
  static async openAll(
    nats: Nats,
    stream: string,
    subjects?: readonly string[],
  ): Promise<ReplicaListing[] | undefined> {
    const listings = new Map<string, ReplicaListing>()
    try {
      const info = await nats.jsm.streams.info(stream)
      if (!areAllCurrent(info)) return undefined
      for (let draws = 0; listings.size < info.config.num_replicas && draws < drawsMax; draws++) {
        const listing = await ReplicaListing.#open(nats, info, subjects)
        if (listings.has(listing.server)) await listing.close()
        else listings.set(listing.server, listing)
      }
      if (listings.size === info.config.num_replicas) return [...listings.values()]
    } catch (error) {
      await closeAll(listings.values())
      throw new TransientError(`the replicas of ${stream} cannot be listed`, { cause: error })
    }
    await closeAll(listings.values())
    return undefined
  }

  static async #open(
    nats: Nats,
    { config, state }: StreamInfo,
    subjects: readonly string[] | undefined,
  ): Promise<ReplicaListing> {
    const { name: stream } = config
    const name = `stowage-list-${randomUUID()}`
    const info = await nats.jsm.consumers.add(stream, {
      ...{ name, ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.All },
      ...{ headers_only: true, num_replicas: 1, mem_storage: true, inactive_threshold: idleSeconds * 1e9 },
      ...(subjects === undefined ? {} : { filter_subjects: [...subjects] }),
    })
    const consumer = await nats.js.consumers.get(stream, name)
    const server = info.cluster?.leader ?? ''
    const parts = { nats, stream, name, server, consumer, upToSeq: state.last_seq }
    return new ReplicaListing(parts, info.num_pending, state.bytes / Math.max(1, state.messages))
  }

  get server(): string {
    return this.#parts.server
  }

  /** Pages, in the order of the stream. @throws TransientError, also when something was lost on the way here */
  async *pages(): AsyncGenerator<readonly Listed[]> {
    const { consumer, stream, upToSeq } = this.#parts
    let delivered = 0
    for (let seq = 0; seq < upToSeq; ) {
      const page: Listed[] = []
      try {
        for await (const message of await consumer.fetch({ max_messages: pageMessages, expires: pageMs })) {
          seq = message.seq
          if (message.info.deliverySequence !== ++delivered) throw new Error(`message ${delivered} did not come`)
          if (seq <= upToSeq) page.push(listed(message))
          if (seq >= upToSeq) break
        }
      } catch (error) {
        throw new TransientError(`a replica of ${stream} cannot be listed`, { cause: error })
      }
      if (page.length === 0) {
        // Its end, unless the consumer is gone: then it is not known what would have come.
        await consumer.info().catch((cause: unknown) => {
          throw new TransientError(`a listing of ${stream} was dropped`, { cause })
        })
        return
      }
      yield page
    }
  }

  async close(): Promise<void> {
    // It goes by itself after a while, should this fail.
    const { nats, stream, name } = this.#parts
    await nats.jsm.consumers.delete(stream, name).catch(() => undefined)
  }
}

export async function closeAll(listings: Iterable<ReplicaListing>): Promise<void> {
  for (const listing of listings) await listing.close()
}

function listed({ seq, subject, headers }: JsMsg): Listed {
  return { seq, subject, header: (name) => headers?.get(name) ?? '' }
}

export interface ReplicaState {
  readonly leader: string | undefined
  /** The servers of all of them are there. */
  readonly areThere: boolean
  /** And none is far behind, as far as the leader knows: one that catches up may pass for one that has. */
  readonly areCurrent: boolean
}

/** @throws TransientError */
export async function replicaState(nats: Nats, stream: string): Promise<ReplicaState> {
  try {
    const info = await nats.jsm.streams.info(stream)
    const areThere = (info.cluster?.replicas ?? []).every(({ offline }) => offline !== true)
    return { leader: info.cluster?.leader, areThere, areCurrent: areAllCurrent(info) }
  } catch (error) {
    throw new TransientError(`cannot look up ${stream}`, { cause: error })
  }
}

function areAllCurrent({ cluster, config }: StreamInfo): boolean {
  if (config.num_replicas === 1) return true
  const followers = cluster?.replicas ?? []
  if (cluster?.leader === undefined || followers.length + 1 < config.num_replicas) return false
  return followers.every(({ current, offline, lag }) => offline !== true && (current || (lag ?? Infinity) <= lagMax))
}
