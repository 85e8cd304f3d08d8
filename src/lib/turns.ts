import { onAbort } from './on-abort.ts'

interface Waiter {
  readonly enter: () => void
}

/**
 * So many pieces of work at a time, and in between one of each client: who asks for a lot waits for the pieces of others,
 * not the others for all of it. Who has left gives up its place.
 */
export class Turns {
  readonly #atOnceMax: number
  readonly #waiting = new Map<unknown, Waiter[]>()
  #busy = 0

  constructor(atOnceMax: number) {
    this.#atOnceMax = atOnceMax
  }

  /** Pieces of work that wait for their turn. */
  get waiting(): number {
    let sum = 0
    for (const waiters of this.#waiting.values()) sum += waiters.length
    return sum
  }

  /** @param client compared by identity @throws what `work` throws; the signal's reason, before it begins */
  async run<T>(client: unknown, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    if (this.#busy < this.#atOnceMax) this.#busy++
    else await this.#wait(client, signal)
    try {
      return await work()
    } finally {
      this.#pass()
    }
  }

  #wait(client: unknown, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        enter: () => {
          release()
          resolve()
        },
      }
      const release = onAbort(signal, () => {
        this.#forget(client, waiter)
        reject(signal.reason)
      })
      const waiters = this.#waiting.get(client)
      if (waiters === undefined) this.#waiting.set(client, [waiter])
      else waiters.push(waiter)
    })
  }

  #forget(client: unknown, waiter: Waiter): void {
    const left = (this.#waiting.get(client) ?? []).filter((one) => one !== waiter)
    if (left.length === 0) this.#waiting.delete(client)
    else this.#waiting.set(client, left)
  }

  /** The place goes to the client that has waited longest for one; if it wants more, it queues up behind the others. */
  #pass(): void {
    const [head] = this.#waiting
    if (head === undefined) {
      this.#busy--
      return
    }
    const [client, waiters] = head
    const waiter = waiters.shift()
    this.#waiting.delete(client)
    if (waiters.length > 0) this.#waiting.set(client, waiters)
    waiter?.enter()
  }
}
