import { isIP, isIPv6 } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.ts'

export interface OwnHosts {
  /** Of the listener. */
  readonly host: string
  /** More names: `api.example`, `*.example` (what is below it), `*` (any). In lower case, without ports. */
  readonly names: readonly string[]
}

/**
 * Whether a request is for this node by its host. A page of somebody else's can have its own domain name point here (DNS
 * rebinding), and its browser then takes what we answer for that page's own: so only names that are known to be ours are
 * answered. Nobody can make an address mean another machine, so addresses always are.
 * @returns a check of a request, which throws AppError HOST_UNKNOWN | REQUEST_INVALID
 */
export function ownHostCheck({ host: listening, names }: OwnHosts): (request: FastifyRequest) => void {
  const own = new Set([listening.toLowerCase(), 'localhost', ...names])
  const below = ['.localhost', ...names.flatMap((name) => (name.startsWith('*.') ? [name.slice(1)] : []))]
  const isOwn = (host: string) =>
    own.has('*') || own.has(host) || isIP(host) !== 0 || below.some((end) => host.endsWith(end))
  return ({ raw }) => {
    const sent = /^https?:\/\/([^/?#]*)/i.exec(raw.url ?? '')?.[1]
    for (const authority of [raw.headers.host, sent]) {
      if (authority === undefined) continue
      const host = hostIn(authority)
      if (host === undefined) throw new AppError('REQUEST_INVALID', 'the Host of the request is no host')
      if (isOwn(host)) continue
      throw new AppError(
        'HOST_UNKNOWN',
        `this API does not answer for the host ${JSON.stringify(host.slice(0, 100))}`,
        {
          hint: 'use an address or localhost, or add the name to STOWAGE_API_HOSTS of the node',
        },
      )
    }
  }
}

/** The host of a `Host` header in lower case, without port, brackets and the dot of the root; undefined where there is none. */
function hostIn(authority: string): string | undefined {
  const [, address, name] = /^(?:\[([^\]]+)\]|([^:[\]/@?#\s]+))(?::\d{0,5})?$/.exec(authority) ?? []
  if (address !== undefined) return isIPv6(address) ? address.toLowerCase() : undefined
  return name?.toLowerCase().replace(/\.$/, '')
}
