const chunkMax = 1024

/**
 * A sorted set of strings, in the order of their UTF-16 code units, in chunks: an insertion moves a thousand entries, not a
 * million.
 */
export class SortedList {
  readonly #chunks: string[][] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @returns false when it was there */
  add(value: string): boolean {
    const index = this.#chunkFor(value)
    const chunk = this.#chunks[index]
    if (chunk === undefined) {
      this.#chunks.push([value])
      this.#size++
      return true
    }
    const at = lowerBound(chunk, value)
    if (chunk[at] === value) return false
    chunk.splice(at, 0, value)
    this.#size++
    if (chunk.length > chunkMax) this.#chunks.splice(index + 1, 0, chunk.splice(chunkMax / 2))
    return true
  }

  /** @returns false when it was not there */
  delete(value: string): boolean {
    const index = this.#chunkFor(value)
    const chunk = this.#chunks[index]
    if (chunk === undefined) return false
    const at = lowerBound(chunk, value)
    if (chunk[at] !== value) return false
    chunk.splice(at, 1)
    if (chunk.length === 0) this.#chunks.splice(index, 1)
    this.#size--
    return true
  }

  /** From the first value that is `from` or greater. The list must not change meanwhile. */
  *from(from: string): Generator<string> {
    let index = this.#chunkFor(from)
    let at = lowerBound(this.#chunks[index] ?? [], from)
    for (; index < this.#chunks.length; index++, at = 0) {
      const chunk = this.#chunks[index] ?? []
      for (; at < chunk.length; at++) yield chunk[at] ?? ''
    }
  }

  /** The last chunk that begins at or before `value`; the first when none does. */
  #chunkFor(value: string): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#chunks[middle]?.[0] ?? '') <= value) low = middle + 1
      else high = middle
    }
    return Math.max(0, low - 1)
  }
}

function lowerBound(chunk: readonly string[], value: string): number {
  let low = 0
  let high = chunk.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((chunk[middle] ?? '') < value) low = middle + 1
    else high = middle
  }
  return low
}
