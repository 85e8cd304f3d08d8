import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { MiB } from '../lib/units.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { closeAll, type Listed, ReplicaListing } from '../nats/replica-listing.ts'
import { chunksHeader } from './shard-reader.ts'

export interface ThinOptions {
  readonly signal: AbortSignal
  /** Called when the servers have read so many bytes of files; they read on once it resolves. */
  readonly pace?: (bytes: number) => Promise<void>
  /** A replica that catches up has some of what it lacked after so long. */
  readonly catchUpMs?: number
}

const catchUpMsDefault = 10_000
/** More are found once these are mended. */
const gapsMax = 100_000
const gapsLookedAtAgain = 200
/** The server drops a listing that nobody reads for ten minutes: at a low rate it goes faster than that. */
const pacedPageBytesMax = 8 * MiB

/**
 * Blocks of which one replica lacks what another one has: damage at rest on one server of several. nats-server 2.15.1 never
 * fills such holes by itself, a replica with holes may lead, reads are shared out among all, and a replica that catches up
 * from one with holes is made to drop what it had.
 *
 * A block that was put, rewritten or deleted meanwhile may be among them.
 * @returns undefined = a replica is away, behind, or catching up: it cannot be told now
 * @throws TransientError; the signal's reason
 */
export async function thinBlocks(
  nats: Nats,
  bucket: BlockBucket,
  options: ThinOptions,
): Promise<readonly CID[] | undefined> {
  if (bucket.replicas === 1) return []
  const gaps = new Map<string, number>()
  const isListed = await eachMessage(nats, bucket, undefined, options, ({ message, isEverywhere }) => {
    const { subject, seq } = message
    const isPart = Number(message.header(chunksHeader) || 1) > 1
    if (!isEverywhere && gaps.size < gapsMax) gaps.set(subject, seq)
    // What was written again lies further back, in all of them; but one of several chunks stands for itself alone.
    else if (isEverywhere && !isPart) gaps.delete(subject)
  })
  if (!isListed) return undefined
  if (gaps.size === 0) return []
  if (await isCatchingUp(nats, bucket, gaps, options)) return undefined
  const cids = Array.from(gaps.keys(), (subject) => cidIn(bucket, subject)).filter((cid) => cid !== undefined)
  return [...new Map(cids.map((cid) => [cid.toString(), cid])).values()]
}

/**
 * Whether the replicas of a bucket count differently, which costs them no look into their files. Damage that they do not
 * know of makes no difference; what is written meanwhile may make one.
 * @returns undefined = it cannot be told now @throws TransientError
 */
export async function areUneven(nats: Nats, bucket: BlockBucket): Promise<boolean | undefined> {
  const replicas = await ReplicaListing.openAll(nats, bucket.stream)
  if (replicas === undefined) return undefined
  await closeAll(replicas)
  return new Set(replicas.map(({ count }) => count)).size > 1
}

/** What one lacked has come by itself: the message, not another one in its place. */
async function isCatchingUp(
  nats: Nats,
  bucket: BlockBucket,
  gaps: ReadonlyMap<string, number>,
  options: ThinOptions,
): Promise<boolean> {
  await delay(options.catchUpMs ?? catchUpMsDefault, undefined, { signal: options.signal })
  const step = Math.ceil(gaps.size / gapsLookedAtAgain)
  const some = [...gaps.keys()].filter((_, index) => index % step === 0)
  let hasCome = false
  const isListed = await eachMessage(nats, bucket, some, options, ({ message, isEverywhere }) => {
    hasCome ||= isEverywhere && gaps.get(message.subject) === message.seq
  })
  return hasCome || !isListed
}

/** @returns false = not all replicas are there */
async function eachMessage(
  nats: Nats,
  { stream }: BlockBucket,
  subjects: readonly string[] | undefined,
  { signal, pace }: ThinOptions,
  work: (compared: Compared) => void,
): Promise<boolean> {
  const replicas = await ReplicaListing.openAll(nats, stream, subjects)
  if (replicas === undefined) return false
  const paced = async function* (replica: ReplicaListing) {
    for await (const page of replica.pages()) {
      yield page
      signal.throwIfAborted()
      await pace?.(Math.min(page.length * replica.bytesEach, pacedPageBytesMax))
    }
  }
  try {
    for await (const compared of inStep(replicas.map(paced))) work(compared)
    return true
  } finally {
    await closeAll(replicas)
  }
}

interface Compared {
  readonly message: Listed
  readonly isEverywhere: boolean
}

/** All messages that any of the replicas has, in the order of the stream. */
async function* inStep(replicas: readonly AsyncGenerator<readonly Listed[]>[]): AsyncGenerator<Compared> {
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
