import { unlessAborted } from './unless-aborted.ts'

/**
 * Reads exact numbers of bytes from a stream of chunks. It pulls: no more is asked of the source than the call at hand
 * needs, and no byte is copied more than once. Calls must not overlap.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #chunks: Uint8Array[] = []
  /** Bytes of the first chunk that are used up. */
  #offset = 0
  #available = 0
  #position = 0
  readonly #signal: AbortSignal
  #ended = false

  /** While it waits for the source, an abort rejects with the signal's reason, even if the source stays silent. */
  constructor(source: AsyncIterable<Uint8Array>, signal: AbortSignal) {
    this.#source = source[Symbol.asyncIterator]()
    this.#signal = signal
  }

  /** Bytes used up so far. */
  get position(): number {
    return this.#position
  }

  /** Bytes that are here and not used up. */
  get available(): number {
    return this.#available
  }

  /** Pulls until `bytes` are here. @returns false when the source ended before */
  async fill(bytes: number): Promise<boolean> {
    while (this.#available < bytes) {
      if (!(await this.#pull())) return false
    }
    return true
  }

  /** Up to `bytes` of what is here, without using them up. The result is only good until the next call. */
  peek(bytes: number): Uint8Array {
    const first = this.#chunks[0]
    if (first !== undefined && first.byteLength - this.#offset >= bytes) {
      return first.subarray(this.#offset, this.#offset + bytes)
    }
    const joined = Buffer.allocUnsafe(Math.min(bytes, this.#available))
    let filled = 0
    for (let index = 0; filled < joined.byteLength; index++) {
      const chunk = this.#chunks[index]
      if (chunk === undefined) break
      const from = index === 0 ? this.#offset : 0
      const part = chunk.subarray(from, from + joined.byteLength - filled)
      joined.set(part, filled)
      filled += part.byteLength
    }
    return joined
  }

  /**
   * Uses up exactly `bytes`. The result is the caller's: a part of a chunk where it makes up at least half of the memory
   * that it would keep alive, else a copy.
   * @returns undefined when the source ended before
   */
  async take(bytes: number): Promise<Uint8Array | undefined> {
    const first = this.#chunks[0]
    if (first !== undefined && first.byteLength - this.#offset >= bytes && bytes * 2 >= first.buffer.byteLength) {
      const part = first.subarray(this.#offset, this.#offset + bytes)
      this.#use(first, bytes)
      return part
    }
    const taken = Buffer.allocUnsafe(bytes)
    let filled = 0
    while (filled < bytes) {
      const chunk = this.#chunks[0]
      if (chunk === undefined) {
        if (!(await this.#pull())) return undefined
        continue
      }
      const part = chunk.subarray(this.#offset, this.#offset + bytes - filled)
      taken.set(part, filled)
      filled += part.byteLength
      this.#use(chunk, part.byteLength)
    }
    return taken
  }

  /** Uses up `bytes` without keeping any. @returns false when the source ended before */
  async skip(bytes: number): Promise<boolean> {
    for (let left = bytes; left > 0; ) {
      const chunk = this.#chunks[0]
      if (chunk === undefined) {
        if (!(await this.#pull())) return false
        continue
      }
      const used = Math.min(left, chunk.byteLength - this.#offset)
      this.#use(chunk, used)
      left -= used
    }
    return true
  }

  /** Lets go of the source, as `for await` does when it is left early. */
  async close(): Promise<void> {
    this.#chunks.length = 0
    this.#available = 0
    if (this.#ended) return
    this.#ended = true
    const returned = this.#source.return?.()
    if (!this.#signal.aborted) await returned
    // After an abort a silent source may never answer, and its failure is not what the caller has to hear of.
    else returned?.catch(() => undefined)
  }

  #use(first: Uint8Array, bytes: number): void {
    this.#offset += bytes
    this.#available -= bytes
    this.#position += bytes
    if (this.#offset < first.byteLength) return
    this.#chunks.shift()
    this.#offset = 0
  }

  async #pull(): Promise<boolean> {
    if (this.#ended) return false
    const next = await unlessAborted(this.#source.next(), this.#signal)
    if (next.done) {
      this.#ended = true
      return false
    }
    if (next.value.byteLength > 0) {
      this.#chunks.push(next.value)
      this.#available += next.value.byteLength
    }
    return true
  }
}
