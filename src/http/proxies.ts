import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'

/** What of a request says who asks. */
export interface Asked {
  readonly headers: IncomingHttpHeaders
  /** Whoever opened the connection. */
  readonly peer: { readonly remoteAddress?: string | undefined }
}

/** The proxies whose `X-Forwarded-…` headers are believed. */
export class Proxies {
  readonly #list = new BlockList()
  readonly #none: boolean

  /** @param networks addresses, and networks like `10.0.0.0/8` */
  constructor(networks: readonly string[]) {
    this.#none = networks.length === 0
    for (const network of networks) {
      const [address = '', prefix] = network.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (prefix === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(prefix), family)
    }
  }

  has({ remoteAddress: address }: Asked['peer']): boolean {
    if (address === undefined || this.#none) return false
    return this.#list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  }

  /** The address that asks: of what a believed proxy forwards, the nearest one that is no such proxy itself. */
  clientOf({ headers, peer }: Asked): string | undefined {
    const forwarded = headers['x-forwarded-for']
    if (forwarded === undefined || !this.has(peer)) return peer.remoteAddress
    const addresses = [forwarded].flat().join(',').split(',')
    for (const text of addresses.reverse()) {
      const remoteAddress = text.trim()
      if (isIP(remoteAddress) === 0) break
      if (!this.has({ remoteAddress })) return remoteAddress
    }
    return peer.remoteAddress
  }
}
