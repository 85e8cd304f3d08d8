interface Entry<V> {
  readonly value: V
  readonly bytes: number
}

/**
 * A cache bounded in bytes, least recently used out first, in two segments: what was asked for once lives in the smaller
 * one and moves to the protected one when asked for again. So one pass over a file larger than the cache does not drive
 * out what is read all the time (segmented LRU, Karedla et al. 1994).
 */
export class ByteLru<V> {
  readonly #once = new Map<string, Entry<V>>()
  readonly #often = new Map<string, Entry<V>>()
  readonly #bytesMax: number
  readonly #oftenBytesMax: number
  #onceBytes = 0
  #oftenBytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#oftenBytesMax = Math.floor(bytesMax * 0.8)
  }

  get bytes(): number {
    return this.#onceBytes + this.#oftenBytes
  }

  get(key: string): V | undefined {
    const often = this.#often.get(key)
    if (often !== undefined) {
      this.#often.delete(key)
      this.#often.set(key, often)
      return often.value
    }
    const once = this.#once.get(key)
    if (once === undefined) return undefined
    this.#once.delete(key)
    this.#onceBytes -= once.bytes
    this.#often.set(key, once)
    this.#oftenBytes += once.bytes
    this.#demote()
    return once.value
  }

  /** A value larger than a quarter of the cache is not kept. */
  set(key: string, value: V, bytes: number): void {
    if (bytes > this.#bytesMax / 4) return
    this.delete(key)
    this.#once.set(key, { value, bytes })
    this.#onceBytes += bytes
    this.#evict()
  }

  delete(key: string): void {
    const once = this.#once.get(key)
    if (once !== undefined) {
      this.#once.delete(key)
      this.#onceBytes -= once.bytes
    }
    const often = this.#often.get(key)
    if (often !== undefined) {
      this.#often.delete(key)
      this.#oftenBytes -= often.bytes
    }
  }

  #demote(): void {
    while (this.#oftenBytes > this.#oftenBytesMax) {
      const [key, entry] = first(this.#often)
      this.#often.delete(key)
      this.#oftenBytes -= entry.bytes
      this.#once.set(key, entry)
      this.#onceBytes += entry.bytes
    }
    this.#evict()
  }

  #evict(): void {
    while (this.bytes > this.#bytesMax) {
      const [key] = first(this.#once.size > 0 ? this.#once : this.#often)
      this.delete(key)
    }
  }
}

function first<V>(map: Map<string, Entry<V>>): [string, Entry<V>] {
  const next = map.entries().next()
  if (next.done) throw new Error('cache accounting is off: bytes without entries')
  return next.value
}
