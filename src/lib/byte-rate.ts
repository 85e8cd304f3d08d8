import { pause } from './pause.ts'

/** Holds work to a rate in bytes a second; what is saved up while idle lasts for `burstMs`, a second unless said. */
export class ByteRate {
  readonly #bytesPerSecond: number
  readonly #burstMs: number
  #freeAtMs = 0

  /** @param bytesPerSecond Infinity = as fast as it goes */
  constructor(bytesPerSecond: number, burstMs = 1000) {
    this.#bytesPerSecond = bytesPerSecond
    this.#burstMs = burstMs
  }

  /** Resolves when so many bytes more fit the rate. @throws the signal's reason when aborted */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) return
    const nowMs = performance.now()
    const fromMs = Math.max(this.#freeAtMs, nowMs - this.#burstMs)
    this.#freeAtMs = fromMs + (bytes / this.#bytesPerSecond) * 1000
    if (fromMs > nowMs) await pause(fromMs - nowMs, signal)
  }
}
