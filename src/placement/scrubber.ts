import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { placeOf, type StoreHandle } from '../blocks/stores.ts'
import { AppError } from '../errors.ts'
import { ByteRate } from '../lib/byte-rate.ts'
import { together } from '../lib/together.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { Lease } from '../nats/lease.ts'
import type { Bulk, Pace, ScannedPage } from './bulk.ts'
import type { IsNamed } from './contexts.ts'
import type { Facts } from './facts.ts'
import { evenReplicas, mendFindings } from './mend-findings.ts'
import type { Repair } from './repair.ts'
import { ReplicaWatch } from './replica-watch.ts'
import { RootPass } from './root-pass.ts'
import { isWanted, noSums, ScrubRecords, type ScrubState, type ScrubStatus, type ScrubSums } from './scrub-record.ts'

export interface ScrubConfig {
  /** 0 = off. */
  readonly bytesPerSecond: number
  /** A store is gone through at least so often. */
  readonly everyMs: number
}

export interface ScrubberParts {
  readonly nats: Nats
  readonly bulk: Pick<Bulk, 'scan'>
  /** `<d>_placement`. */
  readonly bucket: KvBucket
  readonly space: string
  readonly site: string
  /** This node. */
  readonly node: string
  readonly facts: Pick<Facts, 'all' | 'get'>
  readonly repair: Repair
  readonly isNamed: IsNamed
  /** The stores of this site that hold anything, now. */
  readonly stores: () => Promise<readonly StoreHandle[]>
  readonly bytesIn: (store: StoreHandle) => Promise<number>
  readonly config: ScrubConfig
  readonly waitMs: number
  readonly onTrouble: (error: unknown) => void
  /** How often it looks for something to do, and writes down where it stands. */
  readonly lookEveryMs?: number
  readonly saveEveryMs?: number
  /** Half-written blocks that are younger may be puts under way. */
  readonly graceMs?: number
}

const lookEveryMsDefault = 2_000
/** Of the comparison of replicas: what was not read while it waited is not made up for at once. */
const burstMs = 50
/** So many shards have their replicas compared at a time. */
const shardsAtOnce = 4
/** A position that is lost costs so much reading again. */
const saveEveryMsDefault = 5_000
/** Copies that are due, and roots that were lost, are looked for so often without being asked. */
const rootsEveryMs = 60 * 60 * 1000

type Round = NonNullable<ScrubState['round']>

/**
 * Goes through the stores of this site in the background, one node of the site at a time: hashes every block that is there,
 * then walks the DAG of every root that is said to be there, since of a block whose file is gone nothing is left to be
 * hashed. What is bad is written again from another copy; what cannot be is told.
 *
 * A round begins half the time after the last one began that the settings allow, and goes as fast as it must to be through
 * in the other half, at least with the rate that is set.
 */
export class Scrubber {
  readonly #parts: ScrubberParts
  readonly #records: ScrubRecords
  readonly #lease: Lease
  readonly #rootsLookedAt = new Map<string, number>()

  constructor(parts: ScrubberParts) {
    this.#parts = parts
    this.#records = new ScrubRecords(parts.bucket, parts.space)
    this.#lease = new Lease(parts.bucket, { key: `${parts.space}.scrub-lease`, holder: parts.node })
  }

  get isOn(): boolean {
    return this.#parts.config.bytesPerSecond > 0
  }

  start(): void {
    const { bytesPerSecond } = this.#parts.config
    const watch = new ReplicaWatch({ ...this.#parts, rate: new ByteRate(bytesPerSecond, burstMs) })
    const work = (signal: AbortSignal) =>
      together(
        signal,
        (one) => this.#run(one),
        (one) => watch.run(one),
      )
    if (this.isOn) this.#lease.start(work)
  }

  async close(): Promise<void> {
    if (this.isOn) await this.#lease.close()
  }

  /** Of all stores of this site, whichever node works on them. @throws AppError STORE_UNAVAILABLE */
  async status(signal: AbortSignal): Promise<readonly ScrubStatus[]> {
    const stores = await this.#parts.stores()
    return Promise.all(
      stores.map(async ({ site, store }) => {
        const at = { site, store }
        const state = (await this.#records.read(at, signal)) ?? fresh()
        return { ...at, ...state, wanted: isWanted(state, await this.#records.wantedAt(at, signal)) }
      }),
    )
  }

  /**
   * Has a round begin now, by whichever node does this work; one that is under way is finished first.
   * @param store undefined = all stores of this site
   * @throws AppError PLACE_NOT_FOUND; REQUEST_INVALID when scrubbing is off; STORE_UNAVAILABLE
   */
  async want(store: string | undefined, signal: AbortSignal): Promise<void> {
    if (!this.isOn) {
      throw new AppError('REQUEST_INVALID', 'scrubbing is off', { hint: 'set STOWAGE_SCRUB_BYTES_PER_SECOND' })
    }
    const stores = (await this.#parts.stores()).filter((one) => store === undefined || one.store === store)
    if (stores.length === 0) throw new AppError('PLACE_NOT_FOUND', `site ${this.#parts.site} has no store ${store}`)
    for (const at of stores) await this.#records.want(at, signal)
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (; !signal.aborted; ) {
      try {
        for (const handle of await this.#parts.stores()) await this.#look(handle, signal)
      } catch (error) {
        if (!signal.aborted) this.#parts.onTrouble(error)
      }
      await delay(this.#parts.lookEveryMs ?? lookEveryMsDefault, undefined, { signal }).catch(() => undefined)
    }
  }

  /** Goes on with a round, begins one, or does nothing. */
  async #look(handle: StoreHandle, signal: AbortSignal): Promise<void> {
    const { config } = this.#parts
    const at: StoreRef = { site: handle.site, store: handle.store }
    let state = await this.#records.read(at, signal)
    if (state === undefined) {
      state = fresh()
      await this.#records.write(at, state, signal)
    }
    const asked = isWanted(state, await this.#records.wantedAt(at, signal))
    const sinceMs = Date.parse(state.last?.startedAt ?? state.since)
    if (state.round !== undefined || asked || Date.now() - sinceMs > config.everyMs / 2) {
      await this.#round(handle, at, state, signal)
      return
    }
    const lookedAtMs = this.#rootsLookedAt.get(storeKey(at)) ?? Number.NEGATIVE_INFINITY
    if (performance.now() - lookedAtMs < rootsEveryMs) return
    this.#rootsLookedAt.set(storeKey(at), performance.now())
    await this.#rootPass(handle, false, await this.#pace(handle)).run(signal, () => undefined)
  }

  async #round(handle: StoreHandle, at: StoreRef, before: ScrubState, signal: AbortSignal): Promise<void> {
    const { saveEveryMs = saveEveryMsDefault } = this.#parts
    let round: Round = before.round ?? {
      ...{ startedAt: new Date().toISOString(), phase: 'blocks', shard: 0, sequence: 1, sums: noSums },
    }
    let savedMs = Number.NEGATIVE_INFINITY
    const to = async (change: Partial<Omit<Round, 'sums'>>, sums: Partial<ScrubSums>, now = false) => {
      round = { ...round, ...change, sums: added(round.sums, sums) }
      if (!now && performance.now() - savedMs < saveEveryMs) return
      savedMs = performance.now()
      await this.#records.write(at, { ...before, round }, signal)
    }
    await to({}, {}, true)
    const pace = await this.#pace(handle)
    if (round.phase === 'blocks') {
      if (round.shard === 0 && round.sequence === 1) await to({}, await this.#even(handle, pace, signal))
      for (let { shard } = round; shard < handle.buckets.length; shard++) {
        if (shard > round.shard) await to({ shard, sequence: 1 }, {})
        const { graceMs } = this.#parts
        const job = { at: placeOf(handle), shard, fromSeq: round.sequence, pace, graceMs }
        const onPage = async (page: ScannedPage) =>
          to({ sequence: page.nextSeq }, await this.#mend(handle, shard, page, signal))
        await this.#parts.bulk.scan(job, { signal, onPage })
      }
      await to({ phase: 'roots' }, {}, true)
    }
    await this.#rootPass(handle, true, pace, Date.parse(round.startedAt)).run(signal, (sums) => to({}, sums))
    const finishedAt = new Date().toISOString()
    const last = { startedAt: round.startedAt, finishedAt, sums: round.sums }
    await this.#records.write(at, { ...before, round: undefined, last }, signal)
    this.#rootsLookedAt.set(storeKey(at), performance.now())
  }

  /** Several shards at a time: where one has holes it is waited for replicas that catch up, which all of them do together. */
  async #even(handle: StoreHandle, { bytesPerSecond }: Pace, signal: AbortSignal): Promise<Partial<ScrubSums>> {
    const rate = new ByteRate(bytesPerSecond, burstMs)
    const buckets = handle.buckets.values()
    let sums = noSums
    const work = async () => {
      for (const bucket of buckets) {
        const mended = await evenReplicas(this.#parts, handle, bucket, rate, signal)
        sums = added(sums, mended ?? {})
      }
    }
    await Promise.all(Array.from({ length: shardsAtOnce }, work))
    return sums
  }

  async #mend(handle: StoreHandle, shard: number, { blocks, bytes, findings }: ScannedPage, signal: AbortSignal) {
    const bucket = handle.buckets[shard]
    if (bucket === undefined || findings.length === 0) return { blocks, bytes }
    const found = findings.map(({ cid, fault }) => ({ cid: CID.parse(cid), fault }))
    return { blocks, bytes, ...(await mendFindings(this.#parts, handle, bucket, found, signal)) }
  }

  /** @param all every root, not only those that are due */
  #rootPass(handle: StoreHandle, all: boolean, pace: Pace, sinceMs = Date.now()): RootPass {
    const { facts, repair, isNamed, config, onTrouble } = this.#parts
    const dueBeforeMs = all ? sinceMs : Date.now() - config.everyMs
    return new RootPass({ handle, facts, repair, isNamed, pace, dueBeforeMs, onTrouble })
  }

  /** Of reading: everything is read twice, once as blocks and once as roots, and by each replica of several to compare them. */
  async #pace(handle: StoreHandle): Promise<Pace> {
    const { bytesIn, config } = this.#parts
    const { replicas = 1 } = handle.buckets[0] ?? {}
    const times = replicas === 1 ? 2 : 2 + replicas
    const needed = (times * (await bytesIn(handle)) * 1000) / (config.everyMs / 2)
    return { lane: 'scrub', bytesPerSecond: Math.max(config.bytesPerSecond, needed) }
  }
}

const fresh = (): ScrubState => ({ since: new Date().toISOString(), round: undefined, last: undefined })

function added(sums: ScrubSums, more: Partial<ScrubSums>): ScrubSums {
  const keys = Object.keys(noSums) as (keyof ScrubSums)[]
  return Object.fromEntries(keys.map((key) => [key, sums[key] + (more[key] ?? 0)])) as unknown as ScrubSums
}
