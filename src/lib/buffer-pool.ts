/** Unused for so long, the memory goes back. */
const idleMs = 1_000

/**
 * Buffers of one size that are used again. What it saves is not the allocation but the garbage: V8 runs a full collection
 * for every few dozen MiB of buffers made, and their memory stays resident until then.
 */
export class BufferPool {
  readonly bytesEach: number
  readonly #kept: number
  readonly #free: Buffer[] = []
  #dropping: NodeJS.Timeout | undefined

  /** @param kept how many unused buffers are kept; more may be out at a time */
  constructor(bytesEach: number, kept: number) {
    this.bytesEach = bytesEach
    this.#kept = kept
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bytesEach)
  }

  /** Only when nobody reads it any more. One that is never given back is ordinary garbage. */
  give(buffer: Buffer): void {
    if (this.#free.length < this.#kept && buffer.byteLength === this.bytesEach) this.#free.push(buffer)
    this.#dropping ??= setTimeout(() => this.#drop(), idleMs).unref()
    this.#dropping.refresh()
  }

  #drop(): void {
    this.#free.length = 0
    this.#dropping = undefined
  }
}
