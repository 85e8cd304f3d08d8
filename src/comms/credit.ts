/** What a client is ready to take, in bytes. `take` waits for some; whoever grants it decides the pace. */
export class Credit {
  readonly #bytesMax: number
  readonly #idleMs: number
  #available = 0
  #failure: unknown
  #wake: (() => void) | undefined

  /** @param bytesMax of credit that is honoured at a time @param idleMs the longest wait for more */
  constructor(bytesMax: number, idleMs: number) {
    this.#bytesMax = bytesMax
    this.#idleMs = idleMs
  }

  grant(bytes: number): void {
    this.#available = Math.min(this.#available + bytes, this.#bytesMax)
    this.#wake?.()
  }

  /** Ends all waiting, now and later, with this error. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /**
   * At least one and at most `bytesMax` bytes; for one caller at a time.
   * @throws what `fail` was given; the error that `onIdle` makes when no credit comes in time
   */
  async take(bytesMax: number, onIdle: () => Error): Promise<number> {
    const endMs = performance.now() + this.#idleMs
    while (this.#available <= 0 || this.#failure !== undefined) {
      if (this.#failure !== undefined) throw this.#failure
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw onIdle()
      await this.#woken(leftMs)
    }
    const bytes = Math.min(bytesMax, this.#available)
    this.#available -= bytes
    return bytes
  }

  async #woken(withinMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      timer = setTimeout(resolve, withinMs)
    })
    clearTimeout(timer)
    this.#wake = undefined
  }
}
