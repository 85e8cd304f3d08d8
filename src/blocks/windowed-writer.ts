import type { CID } from 'multiformats/cid'
import type { ByteBudget } from '../lib/byte-budget.ts'
import { KiB } from '../lib/units.ts'
import type { HashedBlock } from './block.ts'
import { multihashKey } from './block.ts'
import type { BlockWriter, WriteStats } from './blockstore.ts'

/** Of one upload: a file of zeros has one leaf, sent once. */
const recentMax = 65_536
/** So many known blocks in a row, and the next ones are looked up before their bytes are sent. */
const knownRunMin = 4
/** Blocks that are looked up together: a request a shard. */
const lookupsMax = 512
/** Of memory that a block on its way takes beside its bytes, so that small ones do not fill the window by the ten thousand. */
const blockOverheadBytes = 4 * KiB

/** Which of these the store has, in their order; what is told to be there will not be written. */
export type HasMany = (cids: readonly CID[]) => Promise<readonly boolean[]>

interface Lookup {
  readonly cid: CID
  readonly resolve: (isHere: boolean) => void
  readonly reject: (error: unknown) => void
}

/**
 * The window of one upload: `put` waits for room in the budget that all uploads share, the write goes on behind it.
 */
export class WindowedWriter implements BlockWriter {
  readonly #budget: ByteBudget
  readonly #write: (block: HashedBlock) => Promise<boolean>
  readonly #hasMany: HasMany
  readonly #signal: AbortSignal
  readonly #recent = new Set<string>()
  readonly #underWay = new Set<Promise<void>>()
  #lookups: Lookup[] = []
  #isLooking = false
  #failure: { readonly error: unknown } | undefined
  #blocks = 0
  #newBlocks = 0
  #knownRun = 0

  constructor(
    budget: ByteBudget,
    write: (block: HashedBlock) => Promise<boolean>,
    hasMany: HasMany,
    signal: AbortSignal,
  ) {
    this.#budget = budget
    this.#write = write
    this.#hasMany = hasMany
    this.#signal = signal
  }

  async put(block: HashedBlock): Promise<void> {
    this.#check()
    const key = multihashKey(block.cid)
    this.#blocks++
    if (this.#recent.has(key)) {
      block.release?.()
      return
    }
    const bytes = block.bytes.byteLength + blockOverheadBytes
    await this.#budget.acquire(bytes, this.#signal)
    this.#remember(key)
    const written = this.#store(block)
      .then(() => block.release?.())
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => {
        this.#budget.release(bytes)
        this.#underWay.delete(written)
      })
    this.#underWay.add(written)
  }

  async flush(): Promise<WriteStats> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
    this.#check()
    return { blocks: this.#blocks, newBlocks: this.#newBlocks }
  }

  async #store(block: HashedBlock): Promise<void> {
    if (this.#knownRun >= knownRunMin && (await this.#isHere(block.cid))) return
    if (await this.#write(block)) {
      this.#newBlocks++
      this.#knownRun = 0
    } else {
      this.#knownRun++
    }
  }

  #isHere(cid: CID): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#lookups.push({ cid, resolve, reject })
      if (this.#isLooking) return
      this.#isLooking = true
      // Behind the I/O of this turn, so that blocks which arrive together are looked up together.
      setImmediate(() => void this.#look())
    })
  }

  /** One batch after the other: those that come meanwhile make the next one larger. */
  async #look(): Promise<void> {
    while (this.#lookups.length > 0) {
      const batch = this.#lookups.splice(0, lookupsMax)
      try {
        this.#signal.throwIfAborted()
        const here = await this.#hasMany(batch.map(({ cid }) => cid))
        for (const [index, { resolve }] of batch.entries()) resolve(here[index] === true)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#isLooking = false
  }

  #remember(key: string): void {
    if (this.#recent.size >= recentMax) this.#recent.clear()
    this.#recent.add(key)
  }

  #check(): void {
    this.#signal.throwIfAborted()
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
