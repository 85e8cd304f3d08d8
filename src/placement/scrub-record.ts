import type { StoreRef } from '../blocks/store-ref.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'

/** What one round through a store came to. */
export interface ScrubSums {
  readonly blocks: number
  readonly bytes: number
  /** Blocks that did not hash to their key, or had lost their bytes. */
  readonly bad: number
  readonly repaired: number
  /** Blocks that lacked their meta and got it. */
  readonly finished: number
  /** Roots whose copy was verified again, and those that no longer are whole. */
  readonly roots: number
  readonly failedRoots: number
}

export const noSums: ScrubSums = {
  ...{ blocks: 0, bytes: 0, bad: 0, repaired: 0, finished: 0, roots: 0, failedRoots: 0 },
}

/** Where the scrubber stands in one store; survives its node. Times are RFC 3339. */
export interface ScrubState {
  /** Since when this store is looked after. */
  readonly since: string
  /** Undefined = between two rounds. */
  readonly round:
    | {
        readonly startedAt: string
        /** blocks: hashes what is there, shard by shard. roots: walks DAGs for what is not. */
        readonly phase: 'blocks' | 'roots'
        readonly shard: number
        /** All messages before it have been read. */
        readonly sequence: number
        readonly sums: ScrubSums
      }
    | undefined
  /** The last full round. */
  readonly last: { readonly startedAt: string; readonly finishedAt: string; readonly sums: ScrubSums } | undefined
}

export interface ScrubStatus extends StoreRef, ScrubState {
  /** A round was asked for and has not begun. */
  readonly wanted: boolean
}

/**
 * The scrubber's position in KV `<d>_placement`: `<space>.scrub.<site>.<store>`, and beside it `.wanted`, the time when
 * somebody last asked for a round: any node may write that, only the holder of the lease writes the position.
 */
export class ScrubRecords {
  readonly #bucket: KvBucket
  readonly #prefix: string

  constructor(bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#prefix = `${space}.scrub`
  }

  async read(at: StoreRef, signal: AbortSignal): Promise<ScrubState | undefined> {
    const record = await this.#bucket.get(this.#key(at), signal)
    if (record === undefined || record.removed) return undefined
    return { ...nothing, ...(JSON.parse(record.value.toString('utf8')) as ScrubState) }
  }

  async write(at: StoreRef, state: ScrubState, signal: AbortSignal): Promise<void> {
    await this.#put(this.#key(at), Buffer.from(JSON.stringify(state)), signal)
  }

  /** @returns when a round was last asked for, as RFC 3339 */
  async wantedAt(at: StoreRef, signal: AbortSignal): Promise<string | undefined> {
    const record = await this.#bucket.get(`${this.#key(at)}.wanted`, signal)
    return record === undefined || record.removed ? undefined : record.value.toString('utf8')
  }

  async want(at: StoreRef, signal: AbortSignal): Promise<void> {
    await this.#put(`${this.#key(at)}.wanted`, Buffer.from(new Date().toISOString()), signal)
  }

  #key({ site, store }: StoreRef): string {
    return `${this.#prefix}.${site}.${store}`
  }

  /** The last word counts: a position that is a little behind costs a little work twice. */
  async #put(key: string, value: Buffer, signal: AbortSignal): Promise<void> {
    for (;;) {
      const present = await this.#bucket.get(key, signal)
      if ((await this.#bucket.write(key, value, present?.seq ?? 0)) !== undefined) return
    }
  }
}

// JSON has no undefined.
const nothing = { round: undefined, last: undefined }

/** Whether the wish is newer than the round that is under way or done. */
export function isWanted(state: ScrubState | undefined, wantedAt: string | undefined): boolean {
  if (wantedAt === undefined) return false
  const begun = state?.round?.startedAt ?? state?.last?.startedAt ?? ''
  return wantedAt > begun
}
