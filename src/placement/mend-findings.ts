import type { CID } from 'multiformats/cid'
import { anyReplica } from '../blocks/any-replica.ts'
import { verifyBlock } from '../blocks/block.ts'
import type { Route } from '../blocks/routed.ts'
import type { Finding } from '../blocks/scan-shard.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { thinBlocks } from '../blocks/thin-blocks.ts'
import { isAppError } from '../errors.ts'
import type { BlockBucket } from '../nats/block-buckets.ts'
import type { Nats } from '../nats/connection.ts'
import { patiently } from '../nats/patience.ts'
import { areReplicasCurrent } from '../nats/replica-listing.ts'
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
 * @throws the signal's reason
 */
export async function evenReplicas(
  parts: MendParts,
  handle: StoreHandle,
  bucket: BlockBucket,
  signal: AbortSignal,
): Promise<Mended> {
  const replicas = anyReplica(handle)
  if (replicas === undefined) return { bad: 0, repaired: 0, finished: 0 }
  const evened: CID[] = []
  try {
    const thin = await patiently(parts.waitMs, signal, () => thinBlocks(parts.nats, bucket, signal))
    for (const cid of thin) {
      await passingOver(parts, signal, async () => {
        if (await evenBlock(handle, replicas, cid, signal)) evened.push(cid)
      })
    }
  } catch (error) {
    // The scan can do without, and tells an outage by itself.
    signal.throwIfAborted()
    parts.onTrouble(error)
  }
  const [first] = evened
  if (first !== undefined) await parts.repair.tellRepaired(handle, handle, first, evened.length)
  return { bad: evened.length, repaired: evened.length, finished: 0 }
}

async function evenBlock({ raw }: StoreHandle, { blocks }: Route, cid: CID, signal: AbortSignal): Promise<boolean> {
  try {
    await raw.rewrite(verifyBlock(cid, await blocks.get(cid, { signal })), { signal })
    return true
  } catch (error) {
    // None has it any more: it was deleted meanwhile.
    if (isAppError(error, 'BLOCK_NOT_FOUND')) return false
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
  const areAllThere = await patiently(waitMs, signal, () => areReplicasCurrent(nats, bucket))
  if (areAllThere) await repair.forgetBlock(handle, cid, fault, signal)
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
