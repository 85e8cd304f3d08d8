import type { CID } from 'multiformats/cid'
import { anyReplica } from '../blocks/any-replica.ts'
import { verifyBlock } from '../blocks/block.ts'
import type { Route } from '../blocks/routed.ts'
import type { Finding } from '../blocks/scan-shard.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { thinBlocks } from '../blocks/thin-blocks.ts'
import { isAppError } from '../errors.ts'
import type { ByteRate } from '../lib/byte-rate.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { patiently } from '../nats/patience.ts'
import { replicaState } from '../nats/replica-listing.ts'
import type { Repair } from './repair.ts'
import type { ScrubSums } from './scrub-record.ts'

export interface MendParts {
  readonly nats: Nats
  readonly repair: Pick<Repair, 'mendBlock' | 'finishBlock' | 'forgetBlock' | 'tellRepaired'>
  readonly waitMs: number
  readonly onTrouble: (error: unknown) => void
}

type Mended = Pick<ScrubSums, 'bad' | 'repaired' | 'finished'>

/**
 * Deals with what a scan found in one bucket. No block ends it: what cannot be dealt with is told, and met again in the
 * next round.
 * @throws AppError STORE_UNAVAILABLE; the signal's reason
 */
export async function mendFindings(
  parts: MendParts,
  handle: StoreHandle,
  bucket: BlockBucket,
  findings: readonly Finding[],
  signal: AbortSignal,
): Promise<Mended> {
  const sums = { bad: 0, repaired: 0, finished: 0 }
  for (const finding of findings) {
    const isUnfinished = finding.fault === 'unfinished'
    sums[isUnfinished ? 'finished' : 'bad']++
    await passingOver(parts, signal, async () => {
      if ((await mendFinding(parts, handle, bucket, finding, signal)) && !isUnfinished) sums.repaired++
    })
  }
  return sums
}

/**
 * Writes the blocks of one bucket again that not all of its replicas have: see `thinBlocks`. Without replicas nothing is done.
 * @returns undefined = it could not be done now @throws the signal's reason
 */
export async function evenReplicas(
  parts: MendParts,
  handle: StoreHandle,
  bucket: BlockBucket,
  rate: ByteRate,
  signal: AbortSignal,
): Promise<Mended | undefined> {
  const replicas = anyReplica(handle)
  if (replicas === undefined) return { bad: 0, repaired: 0, finished: 0 }
  const evened: CID[] = []
  let isDone = false
  try {
    const options = { signal, pace: (bytes: number) => rate.take(bytes, signal) }
    const thin = await patiently(parts.waitMs, signal, () => thinBlocks(parts.nats, bucket, options))
    for (const cid of thin ?? []) {
      await passingOver(parts, signal, async () => {
        const bytes = await evenBlock(handle, replicas, cid, signal)
        if (bytes === undefined) return
        evened.push(cid)
        await rate.take(bytes, signal)
      })
    }
    isDone = thin !== undefined
  } catch (error) {
    // The scan can do without, and tells an outage by itself.
    signal.throwIfAborted()
    parts.onTrouble(error)
  }
  const [first] = evened
  if (first !== undefined) await parts.repair.tellRepaired(handle, handle, first, evened.length)
  return isDone ? { bad: evened.length, repaired: evened.length, finished: 0 } : undefined
}

/** @returns its size; undefined = no replica has it any more: it was deleted meanwhile */
async function evenBlock(
  { raw }: StoreHandle,
  { blocks }: Route,
  cid: CID,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const block = verifyBlock(cid, await blocks.get(cid, { signal }))
    await raw.rewrite(block, { signal })
    return block.bytes.byteLength
  } catch (error) {
    if (isAppError(error, 'BLOCK_NOT_FOUND')) return undefined
    throw error
  }
}

async function mendFinding(
  { nats, repair, waitMs }: MendParts,
  handle: StoreHandle,
  bucket: BlockBucket,
  { cid, fault }: Finding,
  signal: AbortSignal,
): Promise<boolean> {
  const mend = fault === 'unfinished' ? repair.finishBlock : repair.mendBlock
  if (await mend.call(repair, handle, cid, signal)) return true
  // A replica that is away may have it whole.
  const { areCurrent } = await patiently(waitMs, signal, () => replicaState(nats, bucket.stream))
  if (areCurrent) await repair.forgetBlock(handle, cid, fault, signal)
  return false
}

/** What is wrong with one block must not end the work on all others. */
async function passingOver({ onTrouble }: MendParts, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (signal.aborted || isAppError(error, 'STORE_UNAVAILABLE')) throw error
    onTrouble(error)
  }
}
