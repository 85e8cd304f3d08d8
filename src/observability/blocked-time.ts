/**
 * For how long no beat has come, by looks that follow each other at about `lookMs`. A look that is late was held up itself (the
 * process was stopped, the machine slept or has no time for us), so that it counts for two at most.
 */
export class BlockedTime {
  readonly #lookMs: number
  #beats: number
  #lookedMs: number
  #blockedMs = 0

  constructor(lookMs: number, beats: number, nowMs: number) {
    this.#lookMs = lookMs
    this.#beats = beats
    this.#lookedMs = nowMs
  }

  /** @param beats so far, of those that are watched @returns for how long there were no more, in ms */
  look(beats: number, nowMs: number): number {
    const passedMs = Math.min(nowMs - this.#lookedMs, 2 * this.#lookMs)
    this.#lookedMs = nowMs
    this.#blockedMs = beats === this.#beats ? this.#blockedMs + passedMs : 0
    this.#beats = beats
    return this.#blockedMs
  }
}
