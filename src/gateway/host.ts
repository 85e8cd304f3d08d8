import { isIP } from 'node:net'
import type { HostConfig } from '../config.ts'
import { type Asked, Proxies } from '../http/proxies.ts'

export type Scheme = 'http' | 'https'

/** A configured host, as the client reaches it. */
export interface GatewayHost {
  /** Port included, where the client gave one. */
  readonly authority: string
  readonly scheme: Scheme
}

/**
 * Which gateway a request means by its host.
 * path: the path gateway, whose content shares one origin.
 * gateway: a configured host itself; content is redirected below it.
 * subdomain: `<label>.ipfs.<host>` or `<label>.ipns.<host>`; the label in the case it was sent in.
 * domain: any other domain name; it may have a DNSLink.
 */
export type RequestHost =
  | { readonly kind: 'path' }
  | { readonly kind: 'gateway'; readonly gateway: GatewayHost }
  | {
      readonly kind: 'subdomain'
      readonly namespace: Namespace
      readonly label: string
      readonly gateway: GatewayHost
    }
  | { readonly kind: 'domain'; readonly domain: string; readonly authority: string }

export type Namespace = 'ipfs' | 'ipns'

export interface HostQuestion extends Asked {
  /** Of the request line: in absolute form its host counts, not the header (RFC 9112 §3.2.2). */
  readonly target: string
}

const pathGateway: RequestHost = Object.freeze({ kind: 'path' })

/** Longer than any domain name, so that a label beyond the limits of DNS still gets its own answer. */
const authorityLengthMax = 1024

/** Hosts are few and repeat with every request; the bound is for those that somebody makes up. */
const rememberedMax = 512

export class Hosts {
  readonly #config: HostConfig
  readonly #proxies: Proxies
  readonly #remembered = new Map<string, RequestHost>()

  constructor(config: HostConfig) {
    this.#config = config
    this.#proxies = new Proxies(config.trustedProxies)
  }

  of({ target, headers, peer }: HostQuestion): RequestHost {
    const sent = authorityOf(target) ?? headers.host ?? ''
    const forwarded = headers['x-forwarded-host'] !== undefined || headers['x-forwarded-proto'] !== undefined
    if (forwarded && this.#proxies.has(peer)) return this.#forwarded(sent, headers)
    const known = this.#remembered.get(sent)
    if (known !== undefined) return known
    const host = this.#read(sent, 'http')
    if (this.#remembered.size >= rememberedMax) this.#remembered.clear()
    this.#remembered.set(sent, host)
    return host
  }

  /** Only a host of ours can be forwarded; anything else is what the proxy itself asked for. */
  #forwarded(sent: string, headers: HostQuestion['headers']): RequestHost {
    const scheme = lastOf(headers['x-forwarded-proto'])?.toLowerCase() === 'https' ? 'https' : 'http'
    const host = this.#read(lastOf(headers['x-forwarded-host']) ?? sent, scheme)
    return host.kind === 'gateway' || host.kind === 'subdomain' ? host : this.#read(sent, scheme)
  }

  #read(sent: string, scheme: Scheme): RequestHost {
    if (sent.length > authorityLengthMax) return pathGateway
    // What is not written like a host and a port is never repeated in a redirect or a page.
    const parts = /^([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\.?(:\d{1,5})?$/.exec(sent)
    if (parts === null) return pathGateway
    const [, name = '', port = ''] = parts
    const lower = name.toLowerCase()
    if (isIP(lower) !== 0) return pathGateway
    for (const host of this.#config.subdomainHosts) {
      const gateway = { authority: `${host}${port}`, scheme }
      if (lower === host) return { kind: 'gateway', gateway }
      for (const namespace of namespaces) {
        if (!lower.endsWith(`.${namespace}.${host}`)) continue
        const label = name.slice(0, -`.${namespace}.${host}`.length)
        return { kind: 'subdomain', namespace, label, gateway }
      }
    }
    const isDomain = this.#config.dnsLinkHosts && lower.includes('.') && lower.length <= 253
    return isDomain ? { kind: 'domain', domain: lower, authority: `${lower}${port}` } : pathGateway
  }
}

const namespaces: readonly Namespace[] = ['ipfs', 'ipns']

/** `a.example` of `http://a.example/path`; undefined of `/path`. */
function authorityOf(target: string): string | undefined {
  if (target.startsWith('/')) return undefined
  return /^https?:\/\/([^/?#]*)/i.exec(target)?.[1]
}

/** The nearest proxy appends: what stands before it, anybody may have sent. */
function lastOf(header: string | readonly string[] | undefined): string | undefined {
  const text = typeof header === 'string' ? header : header?.at(-1)
  const last = text?.split(',').at(-1)?.trim()
  return last === '' ? undefined : last
}
