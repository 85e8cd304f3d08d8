import { setImmediate } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { type HashedBlock, isIdentity, verifyBlock } from '../blocks/block.ts'
import type { Blockstore } from '../blocks/blockstore.ts'
import { isMissing, type Route } from '../blocks/routed.ts'
import { linksIfReadable } from '../dag/codecs.ts'
import { isGap, withGaps } from '../dag/gaps.ts'
import type { DagLimits } from '../dag/target.ts'
import { walk } from '../dag/walk.ts'
import { AppError, isAppError } from '../errors.ts'
import type { ByteRate } from '../lib/byte-rate.ts'
import { MiB } from '../lib/units.ts'
import type { CopySize } from './copy-events.ts'
import { CopySource, type CopySourceParts } from './copy-source.ts'

export interface CopyOptions {
  readonly signal: AbortSignal
  readonly limits: DagLimits
  /** Of what is read, copied or not. */
  readonly rate: ByteRate
  readonly readAheadBytes: number
  /** After each block: sums so far. */
  readonly onProgress?: (size: CopySize) => void
  /** Of `dest`: for a block that lies there damaged, which a put would take for stored. */
  readonly rewrite?: (block: HashedBlock) => Promise<void>
  /** Whether a block may be absent everywhere, since it was never put: then the DAG is taken without it. */
  readonly mayBeAbsent?: ((cid: CID) => boolean) | undefined
  /** Of `dest`: see `CopySourceParts`. */
  readonly hasMany?: CopySourceParts['hasMany']
  /** What nobody gives while one of the others cannot be asked is STORE_UNAVAILABLE, and not what `dest` says of it. */
  readonly awayIsOutage?: boolean
  /** A block is now in `dest` that was read elsewhere. `failure`: what `dest` said of it. */
  readonly onCopied?: (block: { readonly cid: CID; readonly from: Route; readonly failure: AppError }) => void
}

const turnBytes = MiB

/**
 * Brings a whole DAG into `dest`: what is there already is read and hashed there, the rest is read from `others`, the best
 * first, and written. The root goes last, so that an interrupted copy is no copy, and one begun anew goes on where it
 * stopped. A block that cannot be decoded is copied as it is: nobody can follow it.
 * @throws as `walk`, with the failure of `dest` for a block that nobody has; STORE_FULL; STORE_UNAVAILABLE
 */
export async function copyDag(
  root: CID,
  dest: Blockstore,
  others: readonly Route[],
  options: CopyOptions,
): Promise<CopySize & { readonly newBlocks: number }> {
  const { signal, rewrite, onCopied, hasMany, awayIsOutage } = options
  const source = new CopySource({ dest, others, hasMany })
  const writer = dest.openWriter({ signal })
  let newBlocks = 0
  let last: Uint8Array | undefined
  const copyBlock = async (cid: CID, bytes: Uint8Array) => {
    const found = source.take(cid)
    if (found === undefined) return
    newBlocks++
    const isDamaged = !isAppError(found.failure, 'BLOCK_NOT_FOUND')
    if (isDamaged && rewrite !== undefined) await rewrite(verifyBlock(cid, bytes))
    else if (cid.equals(root)) last = bytes
    else await writer.put(verifyBlock(cid, bytes))
    onCopied?.({ cid, ...found })
  }
  const { mayBeAbsent } = options
  // What may be absent may also lie where nobody can ask now.
  const isAbsent = mayBeAbsent && ((cid: CID) => mayBeAbsent(cid) && !(awayIsOutage === true && source.isAway))
  const size = await eachBlock(root, source, { ...options, mayBeAbsent: isAbsent }, copyBlock).catch(
    (cause: unknown) => {
      if (awayIsOutage !== true || !source.isAway || !isMissing(cause)) throw cause
      throw new AppError('STORE_UNAVAILABLE', 'a store with a copy cannot be reached now', { cause })
    },
  )
  await writer.flush()
  if (last !== undefined) await dest.put(verifyBlock(root, last), { signal })
  return { ...size, newBlocks }
}

/**
 * Reads every block of a DAG out of one store and hashes it (`store` is verified).
 * @throws as `walk`, for the first block that is missing or damaged
 */
export function verifyDag(root: CID, store: Blockstore, options: CopyOptions): Promise<CopySize> {
  return eachBlock(root, store, options, async () => undefined)
}

async function eachBlock(
  root: CID,
  source: Pick<Blockstore, 'get' | 'getBatch'>,
  { signal, limits, rate, readAheadBytes, onProgress, mayBeAbsent }: CopyOptions,
  work: (cid: CID, bytes: Uint8Array) => Promise<void>,
): Promise<CopySize> {
  let blocks = 0
  let bytes = 0
  let missing = 0
  let sinceTurn = 0
  const from = mayBeAbsent === undefined ? source : withGaps(source, mayBeAbsent)
  const first = { cid: root, bytes: isIdentity(root) ? root.multihash.digest : await from.get(root, { signal }) }
  const follow = (block: { readonly cid: CID; readonly bytes: Uint8Array }) =>
    isGap(block.bytes) ? [] : linksIfReadable(block.cid, block.bytes, limits)
  for await (const block of walk(first, follow, from, { signal, limits, readAheadBytes })) {
    if (isIdentity(block.cid)) continue
    if (isGap(block.bytes)) {
      missing++
      continue
    }
    await rate.take(block.bytes.byteLength, signal)
    blocks++
    bytes += block.bytes.byteLength
    await work(block.cid, block.bytes)
    sinceTurn += block.bytes.byteLength
    if (sinceTurn >= turnBytes) {
      sinceTurn = 0
      // Requests of others have their turn.
      await setImmediate()
    }
    onProgress?.({ blocks, bytes })
  }
  return missing === 0 ? { blocks, bytes } : { blocks, bytes, missing }
}
