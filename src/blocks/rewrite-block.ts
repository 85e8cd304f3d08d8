import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetLast } from '../nats/direct-get.ts'
import { deleteMessage, type LeaderMessage, lastMessageAtLeader } from '../nats/leader-get.ts'
import { isWrongLastSequence, type Publication, publish } from '../nats/publish.ts'
import { TransientError } from '../nats/requests.ts'
import { decodeMeta } from './block-object.ts'

/**
 * Writes a block of one chunk again, whatever lies in its place: the new chunk behind the old one, then the new meta, then
 * the old ones go. What a reader meets meanwhile is the damaged block or the good one, never none; a crash leaves an old
 * message that nobody reads.
 *
 * A message that the server itself finds damaged (its checksum) is "not there" for reads and for compare-and-set, and
 * cannot be removed (2.15.1): it stays behind, uncounted by us. No roll-up: it would take the new message for the old one.
 * @throws TransientError when somebody else writes it now
 */
export async function rewriteBlock(
  nats: Nats,
  bucket: BlockBucket,
  { chunk, meta }: { readonly chunk: Publication; readonly meta: Publication },
): Promise<void> {
  const replaced: number[] = []
  for (const publication of [chunk, meta]) {
    const seq = await lastSequenceOn(nats, bucket, publication.subject)
    try {
      await publish(nats.requests, { ...publication, expectedLastSequence: seq })
    } catch (error) {
      if (!isWrongLastSequence(error)) throw error
      throw new TransientError(`${publication.subject} was written meanwhile`, { cause: error })
    }
    if (seq > 0) replaced.push(seq)
  }
  for (const seq of replaced) await deleteMessage(nats, bucket.stream, seq)
}

/**
 * Puts a deletion marker in the place of a meta; one that is there already is left, and so is what somebody else writes now.
 * @throws TransientError
 */
export async function replaceMeta(nats: Nats, bucket: BlockBucket, marker: Publication): Promise<void> {
  const last = await lastOn(nats, bucket, marker.subject)
  if (last !== undefined && decodeMeta(last.data)?.deleted === true) return
  try {
    await publish(nats.requests, { ...marker, expectedLastSequence: last?.seq ?? 0 })
  } catch (error) {
    if (isWrongLastSequence(error)) return
    throw error
  }
  if (last !== undefined) await deleteMessage(nats, bucket.stream, last.seq)
}

/** 0 = none that can be read. */
async function lastSequenceOn(nats: Nats, bucket: BlockBucket, subject: string): Promise<number> {
  return (await lastOn(nats, bucket, subject))?.seq ?? 0
}

function lastOn(nats: Nats, { stream, replicas }: BlockBucket, subject: string): Promise<LeaderMessage | undefined> {
  return replicas > 1 ? lastMessageAtLeader(nats, stream, subject) : directGetLast(nats.requests, stream, subject)
}
