import { AppError } from '../errors.ts'
import { formatBytes } from '../lib/units.ts'
import type { Nats } from './connection.ts'

const intervalMs = 1_000
/** Most of a limited store that is kept as reserve, however large the reserve of the disk is. */
const reserveShareMax = 1 / 16

/**
 * What is written. `blocks` ends first; then `growth`, events that add something and records of reads; what removes something
 * is never refused here, so that a full store can be cleared. A disk or store that really came to its end would freeze it all.
 */
export type Writing = 'blocks' | 'growth'

const shareOf: Readonly<Record<Writing, number>> = { blocks: 1, growth: 0.5 }

export interface StoreRoomParts {
  readonly nats: Pick<Nats, 'jsm'>
  /** Most that the server may store; undefined = what its account may, if that is limited. */
  readonly limitBytes: number | undefined
  /** What is free of it; undefined = it is not ours. */
  readonly disk: { readonly bytes: number } | undefined
  readonly reserveBytes: number
}

/** What the disk and the server's limit leave for more, looked at every second, and counted on in between. */
export class StoreRoom {
  readonly #parts: StoreRoomParts
  readonly #timer: NodeJS.Timeout
  /** Of the server's limit; undefined = there is none. */
  #left: number | undefined
  #limit = 0
  /** Sent since the last look began. */
  #taken = 0
  #isLooking = false

  private constructor(parts: StoreRoomParts) {
    this.#parts = parts
    this.#timer = setInterval(() => {
      // Without an answer the last one stands; the write itself will meet what is wrong.
      this.#look().catch(() => undefined)
    }, intervalMs)
    this.#timer.unref()
  }

  static async watch(parts: StoreRoomParts): Promise<StoreRoom> {
    const room = new StoreRoom(parts)
    // An account that may not ask has no limit that could be known; writes meet it then.
    await room.#look().catch(() => undefined)
    return room
  }

  /** Counts what was just sent, until the server counts it. */
  took(bytes: number): void {
    this.#taken += bytes
  }

  /** @returns undefined when there is room */
  refusal(writing: Writing): AppError | undefined {
    const { disk, reserveBytes } = this.#parts
    const free = disk?.bytes ?? Number.POSITIVE_INFINITY
    if (free < reserveBytes * shareOf[writing]) {
      const kept = `the disk has ${formatBytes(free)} left; ${formatBytes(reserveBytes)} are kept free`
      return full(kept, 'free space on the disk, or lower STOWAGE_DISK_RESERVE_BYTES')
    }
    if (this.#left === undefined) return undefined
    const left = Math.max(0, this.#left - this.#taken)
    const reserve = Math.min(reserveBytes, this.#limit * reserveShareMax)
    if (left >= reserve * shareOf[writing]) return undefined
    const kept = `the store has ${formatBytes(left)} left of ${formatBytes(this.#limit)}; ${formatBytes(reserve)} are kept free`
    return full(kept, 'free space or raise its limit (STOWAGE_STORE_BYTES_MAX, or that of the NATS account)')
  }

  /** What is kept of reads is nothing that people wait for. */
  readonly hasRoomForReads = (): boolean => this.refusal('growth') === undefined

  close(): void {
    clearInterval(this.#timer)
  }

  /** One at a time: of two that wait for one server, each would take off what was sent before both. */
  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    try {
      await this.#lookNow()
    } finally {
      this.#isLooking = false
    }
  }

  async #lookNow(): Promise<void> {
    const before = this.#taken
    const { storage, limits } = await this.#parts.nats.jsm.getAccountInfo()
    const limit = Math.min(
      ...[this.#parts.limitBytes, limits.max_storage].map((bytes = -1) => (bytes > 0 ? bytes : Infinity)),
    )
    this.#limit = limit
    this.#left = Number.isFinite(limit) ? limit - storage : undefined
    this.#taken -= before
  }
}

const full = (message: string, hint: string): AppError =>
  new AppError('STORE_FULL', message, { hint: `${hint}; what was stored before can be read, and deleted` })
