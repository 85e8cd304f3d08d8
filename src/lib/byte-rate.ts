import { setTimeout as delay } from 'node:timers/promises'

/** Holds work to a rate in bytes a second; what is saved up while idle lasts for one second. */
export class ByteRate {
  readonly #bytesPerSecond: number
  #freeAtMs = 0

  /** @param bytesPerSecond Infinity = as fast as it goes */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Resolves when so many bytes more fit the rate. @throws the signal's reason when aborted */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) return
    const nowMs = performance.now()
    const fromMs = Math.max(this.#freeAtMs, nowMs - 1000)
    this.#freeAtMs = fromMs + (bytes / this.#bytesPerSecond) * 1000
    if (fromMs > nowMs) await delay(fromMs - nowMs, undefined, { signal })
  }
}
