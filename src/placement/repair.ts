import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { type HashedBlock, multihashKey, verifyBlock } from '../blocks/block.ts'
import type { RoutedParts } from '../blocks/routed.ts'
import type { Fault } from '../blocks/scan-shard.ts'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type OpenRoute, placeOf, type StoreHandle } from '../blocks/stores.ts'
import { type AppError, isAppError } from '../errors.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import { ByteRate } from '../lib/byte-rate.ts'
import { MiB } from '../lib/units.ts'
import { rootKey } from '../names/name-fold.ts'
import type { Bulk, Mended, Pace } from './bulk.ts'
import type { IsNamed } from './contexts.ts'
import { type CopySize, copyEvents, lossEvents } from './copy-events.ts'
import type { Facts } from './facts.ts'
import type { LostMarks } from './lost-marks.ts'
import type { RootFacts } from './model.ts'
import { mayMiss } from './partial.ts'
import type { Recorder } from './recorder.ts'

export interface RepairParts {
  readonly primary: StoreHandle
  readonly facts: Pick<Facts, 'get'>
  readonly recorder: Pick<Recorder, 'record' | 'copyFilter'>
  /** Without copies that are gone: with a store that was made anew, with a site or a store that was removed. */
  readonly current: (facts: RootFacts) => RootFacts
  /** Where the blocks of this store can be read beside it, now: the others of this site first. */
  readonly routesBeside: (at: StoreRef) => readonly OpenRoute[]
  readonly isNamed: IsNamed
  readonly marks: Pick<LostMarks, 'mark'>
  /** Whether a site is heard. */
  readonly isUp: (site: string) => boolean
  readonly bulk: Pick<Bulk, 'copy'>
  /** Of repairs that reads give rise to. */
  readonly bytesPerSecond: number
  /** Whether what was read at another site, and was never here, is kept. */
  readonly keepRemoteReads: boolean
  /** A root of which no whole copy is left anywhere: to be told to whoever watches. */
  readonly onLoss: (facts: RootFacts, failure: AppError) => void
  readonly onTrouble: (error: unknown) => void
}

export interface VerifyOptions {
  readonly signal: AbortSignal
  readonly pace: Pace
}

export interface RepairCounts {
  /** Blocks written again from another copy. */
  readonly repaired: number
  /** Of them, those that a read met. */
  readonly onRead: number
  /** Blocks that no copy had. */
  readonly unrepaired: number
  /** Roots without a whole copy, and those that came back. */
  readonly lost: number
  readonly restored: number
}

const flightBytes = 8 * MiB
/** More are met again by the next reads, or by the scrubber. */
const repairsWaitingMax = 64
const tellTriesMax = 40
const tellAgainMs = 250

/** Writes what is damaged or missing in a store of this site again, from any other copy, and tells what became of it. */
export class Repair {
  readonly #parts: RepairParts
  readonly #rate: ByteRate
  readonly #underWay = new Map<string, Promise<boolean>>()
  readonly #stop = new AbortController()
  readonly #flight = new ByteBudget(flightBytes)
  readonly #counts = { repaired: 0, onRead: 0, unrepaired: 0, lost: 0, restored: 0 }

  constructor(parts: RepairParts) {
    this.#parts = parts
    this.#rate = new ByteRate(parts.bytesPerSecond)
  }

  get counts(): RepairCounts {
    return { ...this.#counts }
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    await Promise.allSettled(this.#underWay.values())
  }

  /** A read found elsewhere what the primary store should perhaps have. Is not waited for. */
  readonly onFound: RoutedParts['onFound'] = (found, failure) => {
    const key = keyOf(this.#parts.primary, found.cid)
    if (this.#underWay.has(key) || this.#underWay.size >= repairsWaitingMax) return
    const repairing = this.#mendRead(found, failure)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#parts.onTrouble(error)
        return false
      })
      .finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, repairing)
  }

  /**
   * Reads a block of `at` elsewhere and writes it again; those who ask for the same one meanwhile get the same answer.
   * @returns false = no place that can be reached has it
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE
   */
  mendBlock(at: StoreHandle, cid: CID, signal: AbortSignal): Promise<boolean> {
    const key = keyOf(at, cid)
    const same = this.#underWay.get(key)
    if (same !== undefined) return same
    const mending = this.#mendFromRoutes(at, cid, signal).finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, mending)
    return mending
  }

  /**
   * A block whose bytes lie there and whose meta is missing. @returns false = its bytes are no good, and nobody else has them
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE
   */
  async finishBlock(at: StoreHandle, cid: CID, signal: AbortSignal): Promise<boolean> {
    try {
      await at.raw.rewrite(verifyBlock(cid, await at.raw.get(cid, { signal })), { signal })
      return true
    } catch (error) {
      if (!isBlockFailure(error)) throw error
      return this.mendBlock(at, cid, signal)
    }
  }

  /** Blocks of `at` were written again; the first stands for all. */
  async tellRepaired(at: StoreRef, from: StoreRef, first: CID, count = 1): Promise<void> {
    this.#counts.repaired += count
    const text = first.toV1().toString()
    const cause = { correlation: text, causation: text }
    await this.#parts.recorder.record(copyEvents.repaired(text, text, at, from, count), cause)
  }

  /**
   * What nobody can repair is to count as absent, so that whoever puts it again is not told that it is stored, and as lost to
   * whoever reads it. Bytes that are wrong are looked at once more before they go. What was never finished was never there: no
   * meta names it.
   */
  async forgetBlock(at: StoreHandle, cid: CID, fault: Fault, signal: AbortSignal): Promise<void> {
    if (fault === 'lost') return at.raw.markLost(cid, { signal })
    try {
      await at.blocks.get(cid, { signal })
    } catch (error) {
      if (!isBlockFailure(error)) throw error
      const wasFinished = fault !== 'unfinished' && (await at.raw.has(cid, { signal }))
      if (isAppError(error, 'BLOCK_CORRUPT')) await at.raw.delete(cid, { signal })
      if (wasFinished) await at.raw.markLost(cid, { signal })
      else await at.raw.disown(cid, { signal })
    }
  }

  /**
   * Reads every block of a root out of one store and hashes it; what is damaged or missing there is written again from
   * elsewhere. Leaves `copy.verified`, or `copy.failed` and, where it was the last one, `object.lost`.
   * @returns whether the copy is whole now
   * @throws AppError STORE_FULL | STORE_UNAVAILABLE | LIMIT_EXCEEDED; the signal's reason
   */
  async verifyRoot(at: StoreHandle, facts: RootFacts, { signal, pace }: VerifyOptions): Promise<boolean> {
    const { recorder, bulk, routesBeside } = this.#parts
    const { root } = facts
    const cause = { correlation: facts.correlation, causation: facts.lastEventId }
    let mended: Mended | undefined
    const tellMended = async () => {
      if (mended === undefined) return
      const { count, first } = mended
      this.#counts.repaired += count
      await recorder.record(copyEvents.repaired(root, first.cid, at, first.from, count), cause)
    }
    try {
      const job = { root, at: placeOf(at), from: routesBeside(at).map(placeOf), isNew: false, pace, ...mayMiss(facts) }
      const size = await bulk.copy(job, {
        signal,
        onMended: (blocks) => {
          mended = blocks
        },
      })
      await tellMended()
      if (!(await this.#tellVerified(at, facts, size))) return true
      if (facts.lost) {
        this.#counts.restored++
        await recorder.record(lossEvents.restored(root, at), cause)
      }
      return true
    } catch (error) {
      if (!isBlockFailure(error)) throw error
      await tellMended()
      await this.#tellFailed(at, facts, error)
      return false
    }
  }

  /**
   * A walk takes its time: a copy that was asked to go meanwhile, or made anew, is not called whole by what was read before.
   * @returns whether it was told
   */
  async #tellVerified(at: StoreRef, facts: RootFacts, size: CopySize): Promise<boolean> {
    const { recorder, facts: store } = this.#parts
    const { root } = facts
    const copyIn = (known: RootFacts | undefined) => known?.copies.find((copy) => storeKey(copy) === storeKey(at))
    const begun = copyIn(facts)?.eventId
    const cause = { correlation: facts.correlation, causation: facts.lastEventId }
    for (let tries = 1; ; tries++) {
      const now = await store.get(rootKey(CID.parse(root)), this.#stop.signal)
      if (now === undefined || copyIn(now)?.eventId !== begun) return false
      try {
        const expect = { filter: recorder.copyFilter(root), lastSequence: now.copyRevision }
        await recorder.record(copyEvents.verified(root, at, size), cause, expect)
        return true
      } catch (error) {
        // What is known has yet to catch up with the log, where this very repair may stand.
        if (!isAppError(error, 'REVISION_CONFLICT')) throw error
        if (tries >= tellTriesMax) return false
        await delay(tellAgainMs, undefined, { signal: this.#stop.signal })
      }
    }
  }

  async #tellFailed(at: StoreHandle, known: RootFacts, failure: AppError): Promise<void> {
    const { recorder, isUp, onLoss, current, marks } = this.#parts
    const facts = current(known)
    const cause = { correlation: facts.correlation, causation: facts.lastEventId }
    const told = { code: failure.code.toLowerCase(), message: failure.message }
    this.#counts.unrepaired++
    const isNews = facts.copies.some((copy) => storeKey(copy) === storeKey(at) && copy.state !== 'failed')
    if (isNews) await recorder.record(copyEvents.failed(facts.root, at, told), cause)
    // Other copies were asked for the block just now, where they could be: those that could not may have it.
    const mayBe = facts.copies.some(
      (copy) =>
        storeKey(copy) !== storeKey(at) &&
        (copy.state === 'verified' || (copy.state === 'removing' && !isUp(copy.site))),
    )
    if (mayBe) return
    await marks.mark(at, failure, this.#stop.signal)
    if (facts.lost) return
    this.#counts.lost++
    await recorder.record(lossEvents.lost(facts.root, told), cause)
    onLoss(facts, failure)
  }

  async #mendRead({ cid, bytes, from }: Parameters<RoutedParts['onFound']>[0], failure: AppError): Promise<boolean> {
    const { primary, keepRemoteReads } = this.#parts
    const { signal } = this.#stop
    const block = verifyBlock(cid, bytes)
    const isReplica = storeKey(from) === storeKey(primary)
    if (!isReplica && isAppError(failure, 'BLOCK_NOT_FOUND') && !(await this.#belongsHere(cid, signal))) {
      if (keepRemoteReads && !from.isLocal) await primary.blocks.put(block, { signal })
      return true
    }
    await this.#flight.acquire(bytes.byteLength, signal)
    try {
      await this.#rate.take(bytes.byteLength, signal)
      await this.#rewrite(primary, block, from, signal)
      this.#counts.onRead++
      return true
    } finally {
      this.#flight.release(bytes.byteLength)
    }
  }

  /** Whether the log says that a whole copy of this root lies in the primary store. What is below a root is not known. */
  async #belongsHere(cid: CID, signal: AbortSignal): Promise<boolean> {
    const { facts, primary, isNamed } = this.#parts
    const known = await facts.get(rootKey(cid), signal)
    if (known === undefined || (known.deleted && !(await isNamed(known, signal)))) return false
    return known.copies.some((copy) => storeKey(copy) === storeKey(primary) && copy.state === 'verified')
  }

  async #mendFromRoutes(at: StoreHandle, cid: CID, signal: AbortSignal): Promise<boolean> {
    for (const from of this.#parts.routesBeside(at)) {
      try {
        const block = verifyBlock(cid, await from.blocks.get(cid, { signal }))
        await this.#rewrite(at, block, from, signal)
        return true
      } catch (error) {
        if (!isBlockFailure(error) && !isAppError(error, 'STORE_UNAVAILABLE')) throw error
      }
    }
    this.#counts.unrepaired++
    return false
  }

  async #rewrite(at: StoreHandle, block: HashedBlock, from: StoreRef, signal: AbortSignal): Promise<void> {
    await at.raw.rewrite(block, { signal })
    await this.tellRepaired(at, from, block.cid)
  }
}

const keyOf = (at: StoreRef, cid: CID): string => `${storeKey(at)} ${multihashKey(cid)}`

export function isBlockFailure(error: unknown): error is AppError {
  return isAppError(error, 'BLOCK_NOT_FOUND') || isAppError(error, 'BLOCK_LOST') || isAppError(error, 'BLOCK_CORRUPT')
}
