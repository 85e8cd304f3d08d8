import { KiB } from '../lib/units.ts'

/** What a reader gets however many there are, so that small blocks still come in batches. */
const bytesMin = 512 * KiB

/**
 * The memory for blocks that are fetched ahead of clients, shared by all of them: clients that take nothing, and need no
 * token to do so, must not add up. The first ones get the full window; where many read at a time, those who come later
 * get half of what is left.
 */
export class ReadAhead {
  readonly #bytesEach: number
  #left: number

  constructor(bytesEach: number, bytesAll: number) {
    this.#bytesEach = bytesEach
    this.#left = bytesAll
  }

  /** `read` with a window of its own, from its first chunk to its end. */
  async *over(read: (readAheadBytes: number) => AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const shared = Math.min(this.#bytesEach, Math.floor(this.#left / 2))
    this.#left -= shared
    try {
      yield* read(Math.max(shared, Math.min(bytesMin, this.#bytesEach)))
    } finally {
      this.#left += shared
    }
  }
}
