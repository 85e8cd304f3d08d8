import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { isIdentity, multihashKey } from '../blocks/block.ts'
import { decodeMeta } from '../blocks/block-object.ts'
import { type Route, RoutedBlockstore } from '../blocks/routed.ts'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { codecs, linksIfReadable, mayLink } from '../dag/codecs.ts'
import { isGap, withGaps } from '../dag/gaps.ts'
import type { DagLimits } from '../dag/target.ts'
import { walk } from '../dag/walk.ts'
import { isAppError } from '../errors.ts'
import type { ByteRate } from '../lib/byte-rate.ts'
import { MiB } from '../lib/units.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetFrom } from '../nats/direct-get.ts'
import { patiently } from '../nats/patience.ts'
import type { Facts } from './facts.ts'
import type { Fence } from './fence.ts'
import type { RootFacts } from './model.ts'
import { mayBeAbsent, partOf } from './partial.ts'

export interface SweepParts {
  readonly nats: Nats
  readonly facts: Pick<Facts, 'all' | 'get'>
  readonly fence: Pick<Fence, 'behind'>
  /** Until the facts know of every copy that the log of this site was told of. Resolves under the fence, so it must end. */
  readonly caughtUp: (signal: AbortSignal) => Promise<void>
  /** Whether the log says that the store takes puts, or ever did: as the leader has it when it is asked. */
  readonly tookPuts: (at: StoreRef, signal: AbortSignal) => Promise<boolean>
  /** Where blocks of this store can be read beside it. */
  readonly routesBeside: (at: StoreRef) => readonly Route[]
  readonly limits: DagLimits
  readonly rate: ByteRate
  readonly waitMs: number
  /** Younger blocks are left alone. */
  readonly graceMs: number
  /** Blocks that are looked at in one go, some 100 bytes of memory each. */
  readonly candidatesMax?: number
}

export interface SweepReport {
  readonly store: string
  readonly looked: number
  readonly freed: number
  /** Left alone for being young. */
  readonly young: number
  /** A root whose blocks cannot all be told: nothing is freed then. */
  readonly blockedBy: string | undefined
}

const candidatesMaxDefault = 250_000
const pageMessages = 2_000
const sliceMax = 512
const deletesAtOnce = 16
const readAheadBytes = 4 * MiB
/** Roots that came while the store was swept and are small are looked at behind the fence. */
const newcomersBehindFence = 16
const newcomerBytesMax = 64 * MiB
const newcomersMax = 100_000

/**
 * Frees the blocks of a store that none of the roots with a copy there needs: blocks are gathered, as many as fit the memory,
 * those that a root needs are taken out again, and what is left is deleted, in slices behind the fence of the store. A copy
 * that the log was told of before the fence went up is looked at first; one that is told of later waits for its end. So it is
 * with a node that was started to put into this very store: it is told of in the log, and the sweep ends, or it waits.
 *
 * To be run under the lease of the site, beside the fold of the log. A crash leaves blocks that the next sweep meets.
 */
export class Sweep {
  readonly #parts: SweepParts
  /** Of the store that is swept: roots that the log told of since. */
  #newcomers: { readonly at: string; readonly keys: Set<string> } | undefined

  constructor(parts: SweepParts) {
    this.#parts = parts
  }

  /** The log has told something of this root. */
  heard(key: string, { copies }: RootFacts): void {
    const { at, keys } = this.#newcomers ?? {}
    if (keys !== undefined && copies.some((copy) => storeKey(copy) === at)) keys.add(key)
  }

  /** @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async run(handle: StoreHandle, signal: AbortSignal): Promise<SweepReport> {
    const { candidatesMax = candidatesMaxDefault } = this.#parts
    const total = { store: handle.store, looked: 0, freed: 0, young: 0 }
    const newcomers = { at: storeKey(handle), keys: new Set<string>() }
    const candidates = new Set<string>()
    this.#newcomers = newcomers
    try {
      for await (const { keys, looked, young } of this.#blocks(handle, signal)) {
        total.looked += looked
        total.young += young
        for (const key of keys) candidates.add(key)
        if (candidates.size < candidatesMax) continue
        const round = await this.#round(handle, candidates, newcomers.keys, signal)
        total.freed += round.freed
        if (round.blockedBy !== undefined) return { ...total, blockedBy: round.blockedBy }
        candidates.clear()
      }
      const { freed, blockedBy } = await this.#round(handle, candidates, newcomers.keys, signal)
      return { ...total, freed: total.freed + freed, blockedBy }
    } finally {
      this.#newcomers = undefined
    }
  }

  /** Pages of keys of what lies in the store, by its metas. */
  async *#blocks({ buckets }: StoreHandle, signal: AbortSignal) {
    const { nats, waitMs, graceMs } = this.#parts
    for (const { bucket, stream } of buckets) {
      const prefix = `$O.${bucket}.M.`
      for (let from = 1; ; ) {
        const at = from
        const { messages } = await patiently(waitMs, signal, () =>
          directGetFrom(nats.requests, stream, `${prefix}>`, at, pageMessages, MiB),
        )
        const keys: string[] = []
        let young = 0
        for (const { subject, data, header } of messages) {
          const key = keyIn(subject.slice(prefix.length))
          // A marker of what was lost is a candidate too: it says something only while a root needs the block.
          if (key === undefined || decodeMeta(data) === undefined) continue
          if (Date.now() - Date.parse(header('Nats-Time-Stamp')) < graceMs) young++
          else keys.push(key)
        }
        yield { keys, looked: messages.length, young }
        const last = messages.at(-1)
        if (last === undefined) break
        from = last.seq + 1
      }
    }
  }

  async #round(
    handle: StoreHandle,
    candidates: Set<string>,
    newcomers: Set<string>,
    signal: AbortSignal,
  ): Promise<{ readonly freed: number; readonly blockedBy?: string }> {
    const { facts } = this.#parts
    if (candidates.size === 0) return { freed: 0 }
    // Whoever comes from now on is heard.
    newcomers.clear()
    for await (const page of facts.all(signal)) {
      for (const [, root] of page) {
        if (candidates.size === 0) return { freed: 0 }
        if (!isThere(root, handle)) continue
        const isTold = await this.#spare(root, handle, candidates, signal)
        if (!isTold) return { freed: 0, blockedBy: root.root }
      }
    }
    let freed = 0
    while (candidates.size > 0) {
      signal.throwIfAborted()
      const blockedBy = await this.#spareNewcomers(handle, candidates, newcomers, signal)
      if (blockedBy !== undefined) return { freed, blockedBy }
      freed += await this.#slice(handle, candidates, newcomers, signal)
    }
    return { freed }
  }

  /** Deletes some of `candidates`, if nobody has come who may need them. @returns how many */
  async #slice(
    handle: StoreHandle,
    candidates: Set<string>,
    newcomers: Set<string>,
    signal: AbortSignal,
  ): Promise<number> {
    const { fence, caughtUp, tookPuts, facts } = this.#parts
    const freed = await fence.behind(handle.store, signal, async (holds) => {
      // What is being put is named by nothing yet.
      if (await tookPuts(handle, signal)) return undefined
      await caughtUp(signal)
      if (newcomers.size > newcomersBehindFence) return 0
      const roots = await Promise.all([...newcomers].map((key) => facts.get(key, signal)))
      if (roots.some((root) => (root?.bytes ?? Number.POSITIVE_INFINITY) > newcomerBytesMax)) return 0
      if ((await this.#spareNewcomers(handle, candidates, newcomers, signal)) !== undefined) return 0
      return this.#delete(handle, candidates, () => holds() && !signal.aborted, signal)
    })
    // Another one sweeps: it does what we would. Or nobody is to sweep here any more.
    if (freed === undefined) candidates.clear()
    return freed ?? 0
  }

  async #delete(
    { raw }: StoreHandle,
    candidates: Set<string>,
    isAllowed: () => boolean,
    signal: AbortSignal,
  ): Promise<number> {
    const slice = [...take(candidates, sliceMax)]
    let freed = 0
    let next = 0
    let hasFailed = false
    const work = async () => {
      for (let key = slice[next++]; key !== undefined && !hasFailed && isAllowed(); key = slice[next++]) {
        await raw.delete(CID.createV1(codecs.raw, Digest.decode(Buffer.from(key, 'latin1'))), { signal })
        candidates.delete(key)
        freed++
      }
    }
    const works = Array.from({ length: deletesAtOnce }, () =>
      work().catch((error: unknown) => {
        hasFailed = true
        throw error
      }),
    )
    // None goes on once the fence is down.
    const ended = await Promise.allSettled(works)
    for (const one of ended) if (one.status === 'rejected') throw one.reason
    return freed
  }

  /** @returns the root of which not all is known */
  async #spareNewcomers(
    handle: StoreHandle,
    candidates: Set<string>,
    newcomers: Set<string>,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { facts } = this.#parts
    if (newcomers.size > newcomersMax) return 'too many new copies'
    for (const key of newcomers) {
      newcomers.delete(key)
      const root = await facts.get(key, signal)
      if (root === undefined || !isThere(root, handle)) continue
      if (await this.#spare(root, handle, candidates, signal)) continue
      // Whoever asks next must not take it for looked at.
      newcomers.add(key)
      return root.root
    }
    return undefined
  }

  /** Takes out of `candidates` what a root needs; leaves are not read. @returns false = not all of it could be told */
  async #spare(facts: RootFacts, handle: StoreHandle, candidates: Set<string>, signal: AbortSignal): Promise<boolean> {
    const { limits, rate, routesBeside } = this.#parts
    const cid = CID.parse(facts.root)
    candidates.delete(multihashKey(cid))
    if (!mayLink(cid)) return true
    const part = partOf(facts)
    const routed = new RoutedBlockstore({
      primary: handle.blocks,
      others: () => routesBeside(handle),
      onFound: () => undefined,
    })
    const source = part === undefined ? routed : withGaps(routed, (one) => mayBeAbsent(part, one))
    const follow = (block: { readonly cid: CID; readonly bytes: Uint8Array }) =>
      (isGap(block.bytes) ? [] : linksIfReadable(block.cid, block.bytes, limits)).filter((link) => {
        candidates.delete(multihashKey(link.cid))
        return mayLink(link.cid)
      })
    try {
      const first = { cid, bytes: isIdentity(cid) ? cid.multihash.digest : await source.get(cid, { signal }) }
      for await (const { bytes } of walk(first, follow, source, { signal, limits, readAheadBytes })) {
        await rate.take(bytes.byteLength, signal)
      }
      return true
    } catch (error) {
      if (isAppError(error) && !isAppError(error, 'STORE_UNAVAILABLE')) return false
      throw error
    }
  }
}

const isThere = ({ copies }: RootFacts, at: StoreRef): boolean => copies.some((copy) => storeKey(copy) === storeKey(at))

function* take<T>(of: Iterable<T>, count: number): Generator<T> {
  let taken = 0
  for (const one of of) {
    if (taken++ === count) return
    yield one
  }
}

/** Undefined for an object that is no block of ours. */
function keyIn(name: string): string | undefined {
  try {
    return multihashKey(CID.parse(Buffer.from(name, 'base64url').toString('utf8')))
  } catch {
    return undefined
  }
}
