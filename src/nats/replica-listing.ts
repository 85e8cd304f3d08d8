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

const pageMessages = 1_000
/** The end of a replica is known by nothing coming: what is damaged is counted as pending for ever. */
const pageMs = 1_500
const idleSeconds = 60
/** The server draws the replica that a consumer reads; so many times all of three are met. */
const drawsMax = 60

/** What one replica of a stream can read, in order: its own file store, and its own checksums, are asked. */
export class ReplicaListing {
  readonly server: string
  readonly #nats: Nats
  readonly #stream: string
  readonly #name: string
  readonly #consumer: Consumer
  readonly #upToSeq: number

  private constructor(nats: Nats, stream: string, name: string, server: string, consumer: Consumer, upToSeq: number) {
    this.#nats = nats
    this.#stream = stream
    this.#name = name
    this.server = server
    this.#consumer = consumer
    this.#upToSeq = upToSeq
  }

  /**
   * One for each replica, up to the message that is the last one now; undefined while one of them is away or behind: what it
   * lacks will come. A Direct Get cannot choose who answers; a consumer of one replica reads where it was placed.
   * @throws TransientError
   */
  static async openAll(nats: Nats, stream: string): Promise<ReplicaListing[] | undefined> {
    const listings = new Map<string, ReplicaListing>()
    try {
      const info = await nats.jsm.streams.info(stream)
      if (!areAllCurrent(info)) return undefined
      for (let draws = 0; listings.size < info.config.num_replicas && draws < drawsMax; draws++) {
        const listing = await ReplicaListing.#open(nats, stream, info.state.last_seq)
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

  static async #open(nats: Nats, stream: string, upToSeq: number): Promise<ReplicaListing> {
    const name = `stowage-list-${randomUUID()}`
    const info = await nats.jsm.consumers.add(stream, {
      name,
      ack_policy: AckPolicy.None,
      deliver_policy: DeliverPolicy.All,
      headers_only: true,
      num_replicas: 1,
      mem_storage: true,
      inactive_threshold: idleSeconds * 1e9,
    })
    const consumer = await nats.js.consumers.get(stream, name)
    return new ReplicaListing(nats, stream, name, info.cluster?.leader ?? '', consumer, upToSeq)
  }

  /** Pages, in the order of the stream. @throws TransientError, also when something was lost on the way here */
  async *pages(): AsyncGenerator<readonly Listed[]> {
    let delivered = 0
    for (let seq = 0; seq < this.#upToSeq; ) {
      const page: Listed[] = []
      try {
        for await (const message of await this.#consumer.fetch({ max_messages: pageMessages, expires: pageMs })) {
          seq = message.seq
          if (message.info.deliverySequence !== ++delivered) throw new Error(`message ${delivered} did not come`)
          if (seq <= this.#upToSeq) page.push(listed(message))
          if (seq >= this.#upToSeq) break
        }
      } catch (error) {
        throw new TransientError(`a replica of ${this.#stream} cannot be listed`, { cause: error })
      }
      if (page.length === 0) return
      yield page
    }
  }

  async close(): Promise<void> {
    // It goes by itself after a while, should this fail.
    await this.#nats.jsm.consumers.delete(this.#stream, this.#name).catch(() => undefined)
  }
}

export async function closeAll(listings: Iterable<ReplicaListing>): Promise<void> {
  for (const listing of listings) await listing.close()
}

function listed({ seq, subject, headers }: JsMsg): Listed {
  return { seq, subject, header: (name) => headers?.get(name) ?? '' }
}

/** Whether all replicas of a stream are there, and none is behind. @throws TransientError */
export async function areReplicasCurrent(
  nats: Nats,
  { stream, replicas }: { readonly stream: string; readonly replicas: number },
): Promise<boolean> {
  if (replicas === 1) return true
  try {
    return areAllCurrent(await nats.jsm.streams.info(stream))
  } catch (error) {
    throw new TransientError(`cannot look up ${stream}`, { cause: error })
  }
}

function areAllCurrent({ cluster, config }: StreamInfo): boolean {
  const followers = cluster?.replicas ?? []
  if (cluster?.leader === undefined || followers.length + 1 < config.num_replicas) return false
  return followers.every(({ current, offline, lag }) => current && offline !== true && (lag ?? 0) === 0)
}
