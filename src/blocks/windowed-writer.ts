import type { CID } from 'multiformats/cid'
import type { ByteBudget } from '../lib/byte-budget.ts'
import type { HashedBlock } from './block.ts'
import { multihashKey } from './block.ts'
import type { BlockWriter, WriteStats } from './blockstore.ts'

/** Of one upload: a file of zeros has one leaf, sent once. */
const recentMax = 65_536
/** So many known blocks in a row, and the next one is looked up before its bytes are sent. */
const knownRunMin = 4

/**
 * The window of one upload: `put` waits for room in the budget that all uploads share, the write goes on behind it.
 */
export class WindowedWriter implements BlockWriter {
  readonly #budget: ByteBudget
  readonly #write: (block: HashedBlock) => Promise<boolean>
  readonly #has: (cid: CID) => Promise<boolean>
  readonly #signal: AbortSignal
  readonly #recent = new Set<string>()
  readonly #underWay = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined
  #blocks = 0
  #newBlocks = 0
  #knownRun = 0

  constructor(
    budget: ByteBudget,
    write: (block: HashedBlock) => Promise<boolean>,
    has: (cid: CID) => Promise<boolean>,
    signal: AbortSignal,
  ) {
    this.#budget = budget
    this.#write = write
    this.#has = has
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
    const bytes = block.bytes.byteLength
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
    if (this.#knownRun >= knownRunMin && (await this.#has(block.cid))) return
    if (await this.#write(block)) {
      this.#newBlocks++
      this.#knownRun = 0
    } else {
      this.#knownRun++
    }
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
