import type { CommsConfig } from '../config.ts'
import { AppError } from '../errors.ts'

/** How much a node takes on at a time. NATS pushes: what is too much is refused at once, and the client asks again. */
export class Admission {
  readonly #limits: Pick<CommsConfig, 'requestsMax' | 'requestBytesMax'>
  #requests = 0
  #bytes = 0

  constructor(limits: Pick<CommsConfig, 'requestsMax' | 'requestBytesMax'>) {
    this.#limits = limits
  }

  /** @throws AppError STORE_UNAVAILABLE; then `leave` is not to be called */
  enter(bytes: number): void {
    const { requestsMax, requestBytesMax } = this.#limits
    const full = this.#requests >= requestsMax || (this.#requests > 0 && this.#bytes + bytes > requestBytesMax)
    if (full) {
      throw new AppError('STORE_UNAVAILABLE', 'this node has as many requests under way as it may', {
        hint: 'try again in a moment; the settings are STOWAGE_NATS_REQUESTS_MAX and STOWAGE_NATS_REQUEST_BYTES_MAX',
      })
    }
    this.#requests++
    this.#bytes += bytes
  }

  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
  }
}
