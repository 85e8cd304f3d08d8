import { setImmediate } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { MiB } from '../lib/units.ts'
import { multihashKey } from './block.ts'
import type { Abortable, Blockstore, Want } from './blockstore.ts'

/** What a block of unknown size counts for in the window. */
const unknownBytes = MiB
const batchWantsMax = 256

export interface GetManyOptions extends Abortable {
  /** The window: fetched or under way and not yet taken by the consumer, by the hints of the wants. 0 = one at a time. */
  readonly readAheadBytes: number
  /** Wants in the first batch; each further one may have twice as many. Default 1: the first block comes soonest. */
  readonly firstBatchWants?: number
}

export interface Fetched<W extends Want> {
  readonly want: W
  readonly cid: CID
  readonly bytes: Uint8Array
}

/**
 * The blocks of `wants`, in their order. Two batches of half the window each: while the consumer takes one, the other is
 * under way, so a consumer that stops costs the window (or two blocks, where that is more) and nothing further is asked
 * for, of the store or of `wants`. Nothing at all happens before the first block is asked for.
 * @throws as `getBatch`, after the blocks of the batches before; what `wants` throws; the signal's reason when aborted
 */
export async function* getMany<W extends Want>(
  blocks: Pick<Blockstore, 'getBatch'>,
  wants: AsyncIterable<W> | Iterable<W>,
  options: GetManyOptions,
): AsyncGenerator<Fetched<W>, void, undefined> {
  const { signal, readAheadBytes } = options
  const source = new Batches(wants, readAheadBytes / 2, options.firstBatchWants ?? 1)
  const batchesMax = readAheadBytes > 0 ? 2 : 1
  const underWay: Promise<Batch<W>>[] = []
  const start = () => {
    const batch = source
      .next()
      .then(async (taken) => ({ wants: taken, blocks: await getDistinct(blocks, taken, { signal }) }))
    // One that fails while an earlier one is consumed must not end the process: whoever awaits it hears of it.
    batch.catch(() => undefined)
    underWay.push(batch)
  }
  try {
    for (;;) {
      signal.throwIfAborted()
      while (underWay.length < batchesMax && !source.ended) start()
      const head = underWay.shift()
      if (head === undefined) return
      const batch = await head
      for (const [index, want] of batch.wants.entries()) {
        signal.throwIfAborted()
        const bytes = batch.blocks[index]
        if (bytes === undefined) throw new Error('getBatch answered with fewer blocks than were wanted')
        yield { want, cid: want.cid, bytes }
      }
      // Blocks out of a cache arrive without I/O: let other requests, and the abort of this one, have their turn.
      if (!source.ended) await setImmediate()
    }
  } finally {
    source.close()
  }
}

interface Batch<W> {
  readonly wants: readonly W[]
  readonly blocks: readonly Uint8Array[]
}

/** Cuts `wants` into batches, one after the other however many are asked for at once. */
class Batches<W extends Want> {
  readonly #iterator: AsyncIterator<W> | Iterator<W>
  readonly #bytesMax: number
  #wantsMax: number
  /** Taken from the source, did not fit. */
  #left: W | undefined
  #before: Promise<unknown> = Promise.resolve()
  ended = false

  constructor(wants: AsyncIterable<W> | Iterable<W>, bytesMax: number, firstBatchWants: number) {
    this.#iterator = Symbol.asyncIterator in wants ? wants[Symbol.asyncIterator]() : wants[Symbol.iterator]()
    this.#bytesMax = bytesMax
    this.#wantsMax = firstBatchWants
  }

  /** At least one want, unless the source has ended. */
  next(): Promise<W[]> {
    const batch = this.#before.then(() => this.#collect())
    this.#before = batch
    return batch
  }

  close(): void {
    this.ended = true
    const closed = this.#iterator.return?.()
    // Nobody is left who could hear of it.
    if (closed instanceof Promise) closed.catch(() => undefined)
  }

  async #collect(): Promise<W[]> {
    const wants: W[] = []
    let bytes = 0
    while (wants.length < this.#wantsMax) {
      const want = this.#left ?? (await this.#pull())
      if (want === undefined) break
      this.#left = undefined
      bytes += want.bytes ?? unknownBytes
      if (wants.length > 0 && bytes > this.#bytesMax) {
        this.#left = want
        break
      }
      wants.push(want)
    }
    this.#wantsMax = Math.min(this.#wantsMax * 2, batchWantsMax)
    return wants
  }

  async #pull(): Promise<W | undefined> {
    if (this.ended) return undefined
    const next = this.#iterator.next()
    const result = next instanceof Promise ? await next : next
    if (!result.done) return result.value
    this.ended = true
    return undefined
  }
}

/** As `getBatch`; the same block twice in a batch (sparse files, bombs) is fetched once. */
export async function getDistinct(
  blocks: Pick<Blockstore, 'getBatch'>,
  wants: readonly Want[],
  options: Abortable,
): Promise<readonly Uint8Array[]> {
  if (wants.length === 0) return []
  if (wants.length === 1) return blocks.getBatch(wants, options)
  const indexOf = new Map<string, number>()
  const distinct: Want[] = []
  const positions = wants.map((want) => {
    const key = multihashKey(want.cid)
    const known = indexOf.get(key)
    if (known !== undefined) return known
    indexOf.set(key, distinct.length)
    return distinct.push(want) - 1
  })
  if (distinct.length === wants.length) return blocks.getBatch(wants, options)
  const fetched = await blocks.getBatch(distinct, options)
  return positions.flatMap((position) => fetched[position] ?? [])
}
