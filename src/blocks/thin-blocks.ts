import { CID } from 'multiformats/cid'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { closeAll, type Listed, ReplicaListing } from '../nats/replica-listing.ts'
import { chunksHeader } from './shard-reader.ts'

/** More are found once these are mended. */
const gapsMax = 100_000

/**
 * Blocks of which one replica lacks what another one has: damage at rest on one server of several. nats-server
 * 2.15.1 never fills such holes by itself, a replica with holes may lead, and reads are shared out among all: the block is
 * there now and then. None while a replica is away or behind.
 *
 * A block that was put, rewritten or deleted meanwhile may be among them.
 * @throws TransientError; the signal's reason
 */
export async function thinBlocks(nats: Nats, bucket: BlockBucket, signal: AbortSignal): Promise<readonly CID[]> {
  if (bucket.replicas === 1) return []
  const replicas = await ReplicaListing.openAll(nats, bucket.stream)
  if (replicas === undefined) return []
  try {
    const gaps = new Set<string>()
    for await (const { message, isEverywhere } of compared(replicas.map((replica) => replica.pages()))) {
      signal.throwIfAborted()
      const isPart = Number(message.header(chunksHeader) || 1) > 1
      if (!isEverywhere && gaps.size < gapsMax) gaps.add(message.subject)
      // What was written again lies further back, in all of them; but one of several chunks stands for itself alone.
      else if (isEverywhere && !isPart) gaps.delete(message.subject)
    }
    const cids = Array.from(gaps, (subject) => cidIn(bucket, subject)).filter((cid) => cid !== undefined)
    return [...new Map(cids.map((cid) => [cid.toString(), cid])).values()]
  } finally {
    await closeAll(replicas)
  }
}

interface Compared {
  readonly message: Listed
  readonly isEverywhere: boolean
}

/** All messages that any of the replicas has, in the order of the stream. */
async function* compared(replicas: readonly AsyncGenerator<readonly Listed[]>[]): AsyncGenerator<Compared> {
  const cursors = replicas.map((pages) => new Cursor(pages))
  await Promise.all(cursors.map((cursor) => cursor.fill()))
  for (;;) {
    const heads = cursors.flatMap(({ head }) => head ?? [])
    const seq = Math.min(...heads.map((head) => head.seq))
    const those = cursors.filter(({ head }) => head?.seq === seq)
    const [first] = those
    if (first?.head === undefined) return
    yield { message: first.head, isEverywhere: those.length === cursors.length }
    for (const cursor of those) cursor.take()
    if (cursors.some(({ isEmpty }) => isEmpty)) await Promise.all(cursors.map((cursor) => cursor.fill()))
  }
}

class Cursor {
  readonly #pages: AsyncGenerator<readonly Listed[]>
  #page: readonly Listed[] = []
  #at = 0
  #hasEnded = false

  constructor(pages: AsyncGenerator<readonly Listed[]>) {
    this.#pages = pages
  }

  /** Undefined at the end. */
  get head(): Listed | undefined {
    return this.#page[this.#at]
  }

  get isEmpty(): boolean {
    return this.head === undefined && !this.#hasEnded
  }

  take(): void {
    this.#at++
  }

  async fill(): Promise<void> {
    if (!this.isEmpty) return
    const { done, value } = await this.#pages.next()
    this.#hasEnded = done === true
    this.#page = value ?? []
    this.#at = 0
  }
}

/** Undefined for what is no block of ours. */
function cidIn({ bucket }: BlockBucket, subject: string): CID | undefined {
  const name = subject.slice(`$O.${bucket}.C.`.length)
  const isMeta = subject.startsWith(`$O.${bucket}.M.`)
  try {
    return CID.parse(isMeta ? Buffer.from(name, 'base64url').toString('utf8') : name)
  } catch {
    return undefined
  }
}
