import { isIPv6 } from 'node:net'
import type { LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'

export type AdmissionLimits = Pick<LimitConfig, 'requestsMax' | 'requestsPerClientMax'>

/**
 * How many requests are worked on at a time, and how many of them are one client's. What is too many is refused at once:
 * a queue would only make everybody wait.
 */
export class Admission {
  readonly #limits: AdmissionLimits
  readonly #byClient = new Map<string, number>()
  #all = 0

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  /** @param client as `clientKey` gives it @throws AppError RATE_LIMITED; then there is nothing to leave */
  enter(client: string | undefined): void {
    const { requestsMax, requestsPerClientMax } = this.#limits
    if (this.#all >= requestsMax) {
      throw new AppError('RATE_LIMITED', 'too many requests are being worked on here', { limit: 'concurrent_total' })
    }
    if (client !== undefined && requestsPerClientMax > 0) {
      const own = this.#byClient.get(client) ?? 0
      if (own >= requestsPerClientMax) {
        throw new AppError('RATE_LIMITED', `you have ${own} requests under way, and more are not worked on at a time`, {
          limit: 'concurrent_per_client',
        })
      }
      this.#byClient.set(client, own + 1)
    }
    this.#all++
  }

  leave(client: string | undefined): void {
    this.#all--
    const own = client === undefined ? undefined : this.#byClient.get(client)
    if (client === undefined || own === undefined) return
    if (own > 1) this.#byClient.set(client, own - 1)
    else this.#byClient.delete(client)
  }
}

/**
 * Whom an address stands for: of IPv6 a network of 64 bits, which is what one customer gets. Undefined for this machine
 * itself: whatever comes from there, a proxy that nobody named as one perhaps, is not one client.
 */
export function clientKey(address: string | undefined): string | undefined {
  if (address === undefined) return undefined
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  const plain = mapped?.[1] ?? address
  if (plain.startsWith('127.') || plain === '::1') return undefined
  if (!isIPv6(plain)) return plain
  const [head = ''] = plain.split('%')
  return `${expanded(head).slice(0, 4).join(':')}::`
}

/** The eight groups of an IPv6 address, without leading zeros. */
function expanded(address: string): string[] {
  const [left = '', right] = address.split('::')
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const before = groups(left)
  const after = right === undefined ? [] : groups(right)
  const zeros = Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  return [...before, ...zeros, ...after].map((group) => group.toLowerCase().replace(/^0+(?=.)/, ''))
}
