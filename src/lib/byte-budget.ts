import { onAbort } from './on-abort.ts'

interface Waiter {
  readonly bytes: number
  readonly resolve: () => void
}

/**
 * A counting semaphore over bytes, first come first served. What is larger than the whole budget passes alone.
 * Used wherever something is "in flight": requests to the server, writes not yet acked.
 */
export class ByteBudget {
  readonly bytesMax: number
  readonly #waiters: Waiter[] = []
  #used = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get used(): number {
    return this.#used
  }

  /** @throws the signal's reason when aborted while waiting */
  async acquire(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#waiters.length === 0 && this.#fits(bytes)) {
      this.#used += bytes
      return
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        resolve: () => {
          release()
          resolve()
        },
      }
      const release = onAbort(signal, () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        reject(signal.reason)
        this.#admit()
      })
      this.#waiters.push(waiter)
    })
  }

  release(bytes: number): void {
    this.#used -= bytes
    this.#admit()
  }

  #admit(): void {
    for (let head = this.#waiters[0]; head !== undefined && this.#fits(head.bytes); head = this.#waiters[0]) {
      this.#waiters.shift()
      this.#used += head.bytes
      head.resolve()
    }
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.bytesMax
  }
}
