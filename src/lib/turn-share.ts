/** How long what has come is worked on before others have their turn; one piece may take longer. */
const sliceMsDefault = 4

/**
 * For what comes by itself, as `turnOver` is for loops. libuv reads a socket up to 32 times before anything else has its turn, and
 * what each read sets off is done in between: answers that have piled up would hold up everybody.
 */
export class TurnShare {
  readonly #sliceMs: number
  #endMs: number | undefined
  #waiting: (() => void) | undefined

  constructor(sliceMs = sliceMsDefault) {
    this.#sliceMs = sliceMs
  }

  /**
   * Asked with each piece that comes. Counts from the first of a turn, all that was done since.
   * @param goOn called in the next turn when no more may come in this one @returns whether more may
   */
  hasMore(goOn: () => void): boolean {
    const now = performance.now()
    if (this.#endMs === undefined) {
      this.#endMs = now + this.#sliceMs
      setImmediate(() => this.#next())
    }
    if (now < this.#endMs) return true
    this.#waiting = goOn
    return false
  }

  #next(): void {
    this.#endMs = undefined
    const goOn = this.#waiting
    this.#waiting = undefined
    goOn?.()
  }
}
