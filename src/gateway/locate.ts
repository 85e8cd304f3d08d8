import type { IncomingHttpHeaders } from 'node:http'
import type { IpnsName } from '../content/ipns-name.ts'
import { AppError, isAppError } from '../errors.ts'
import { ByteLru } from '../lib/lru.ts'
import { KiB, MiB } from '../lib/units.ts'
import { formatLocation } from './content-location.ts'
import { undoubledLocation } from './doubled-path.ts'
import { withText } from './errors.ts'
import { homeReply } from './home.ts'
import type { RequestHost } from './host.ts'
import { type IpnsContentQuestion, type IpnsLookup, resolveIpnsContent } from './ipns-content.ts'
import { parseIpnsPath } from './ipns-request.ts'
import { type NameLookup, resolveNameRequest } from './name-request.ts'
import { negotiate } from './negotiate.ts'
import type { Reply } from './reply.ts'
import { recordReply } from './reply-record.ts'
import {
  type ContentRequest,
  onPathGateway,
  type Place,
  parseContentRequest,
  parseQuery,
  splitTarget,
} from './request.ts'
import { atSubdomain, locationAt, originOf, subdomainLocation, uriLocation } from './subdomain.ts'

/** What a URL leads to: content, or an answer without any (the home page, a redirect). */
export type Located =
  | { readonly kind: 'content'; readonly request: ContentRequest }
  | { readonly kind: 'answer'; readonly reply: Reply }

export interface LocatorParts {
  /** Undefined: nothing has a name here. */
  readonly names: NameLookup | undefined
  /** Undefined: nothing is published here. */
  readonly ipns: IpnsLookup | undefined
  /** Before an IPNS name is looked up, with what is asked for below it. @throws AppError when it is not to be served */
  readonly checkName: ((name: string, below: readonly string[]) => void) | undefined
  readonly pathSegmentsMax: number
}

/** A URL and what it was parsed to, in bytes: generous, it bounds the memo. */
const rememberedBytes = (url: string): number => 4 * url.length + KiB

/** A host that is looked up with every request would make all of them wait: so late may a new site begin at one. */
const unlinkedMs = 1000
const unlinkedBytes = 256 * KiB

const pathHost: RequestHost = Object.freeze({ kind: 'path' })

/** One URL at one host. */
interface Question {
  readonly host: RequestHost
  readonly pathname: string
  readonly search: string
  readonly accept: string | undefined
  readonly ifNoneMatch: string | undefined
  readonly signal: AbortSignal
}

/** From a host and a URL to what is asked for. */
export class Locator {
  readonly #parts: LocatorParts
  readonly #remembered = new ByteLru<Located>(4 * MiB)
  /** Until when a domain is taken to have no DNSLink. */
  readonly #unlinkedUntilMs = new ByteLru<number>(unlinkedBytes)

  constructor(parts: LocatorParts) {
    this.#parts = parts
  }

  /** What is known without looking anything up: the same URL always means the same. */
  known(host: RequestHost, url: string): Located | undefined {
    return this.#remembered.get(memoKey(host, url))
  }

  /**
   * @throws AppError ROUTE_NOT_FOUND | REQUEST_INVALID | PATH_INVALID | CID_INVALID | NAME_INVALID | NAME_NOT_FOUND |
   * IPNS_UNRESOLVED
   */
  async locate(host: RequestHost, url: string, headers: IncomingHttpHeaders, signal: AbortSignal): Promise<Located> {
    const question: Question = {
      host,
      ...splitTarget(url),
      accept: headers.accept,
      ifNoneMatch: headers['if-none-match'],
      signal,
    }
    if (host.kind === 'domain') {
      const site = await this.#atDomain(host, question)
      return site ?? this.known(pathHost, url) ?? (await this.locate(pathHost, url, headers, signal))
    }
    const located = await this.#locate(host, question)
    if (isConstant(question)) {
      const key = memoKey(host, url)
      this.#remembered.set(key, located, rememberedBytes(key))
    }
    return located
  }

  async #locate(host: Exclude<RequestHost, { kind: 'domain' }>, question: Question): Promise<Located> {
    switch (host.kind) {
      case 'subdomain':
        return await this.#atSubdomain(host, question)
      case 'gateway': {
        const { pathname, search } = question
        const location = uriOf(question) ?? subdomainLocation(pathname, search, host.gateway)
        return location === undefined ? await this.#byPath(question) : redirect(location)
      }
      case 'path':
        return await this.#byPath(question)
    }
  }

  /** The path gateway: all content at one origin. */
  async #byPath(question: Question): Promise<Located> {
    const { pathname, search, accept, signal } = question
    const uri = uriOf(question)
    if (uri !== undefined) return redirect(uri)
    if (pathname === '/') return { kind: 'answer', reply: homeReply(accept, search) }
    const { names, pathSegmentsMax } = this.#parts
    if (names !== undefined && pathname.startsWith('/names/')) {
      return content(await resolveNameRequest(pathname, search, names, { pathSegmentsMax, signal }))
    }
    if (pathname.startsWith('/ipns/')) return await this.#byIpnsPath(question)
    if (pathname.startsWith('/ipfs/')) return content(parseContentRequest(pathname, search, pathSegmentsMax))
    throw new AppError('ROUTE_NOT_FOUND', 'there is nothing at this path', {
      hint: 'content is at /ipfs/<cid>, /ipns/<name> and /names/<name>',
    })
  }

  /** An origin of its own for each content; the path is what lies below it, `/ipfs/…` too. */
  async #atSubdomain(host: Extract<RequestHost, { kind: 'subdomain' }>, question: Question): Promise<Located> {
    const { gateway, namespace, label } = host
    const { pathname, search } = question
    const origin = originOf(namespace, label)
    switch (origin.kind) {
      case 'moved':
        return redirect(locationAt(gateway, { namespace, label: origin.label }, pathname, search))
      case 'content': {
        const place = atSubdomain(gateway, host, `/ipfs/${origin.cid}`)
        return content(
          parseContentRequest(`/ipfs/${origin.cid}${pathname}`, search, this.#parts.pathSegmentsMax, place),
        )
      }
      case 'name': {
        const { name } = origin
        const place = atSubdomain(gateway, host, `/ipns/${name.name}`)
        return await this.#ipns({ name, below: pathname, search, place }, question)
      }
    }
  }

  /** Undefined when the domain has no DNSLink here. */
  async #atDomain(host: Extract<RequestHost, { kind: 'domain' }>, question: Question): Promise<Located | undefined> {
    const { pathname, search, signal } = question
    if ((this.#unlinkedUntilMs.get(host.domain) ?? 0) > performance.now()) return undefined
    const name: IpnsName = { kind: 'domain', name: host.domain }
    const place: Place = {
      contentRoot: `/ipns/${host.domain}`,
      base: '',
      origin: `//${host.authority}`,
      gateway: undefined,
    }
    try {
      return await this.#ipns({ name, below: pathname, search, place }, question)
    } catch (error) {
      const isSite = !isAppError(error, 'IPNS_UNRESOLVED') || (await this.#parts.ipns?.isKnown(name, { signal }))
      if (isSite) throw error
      this.#unlinkedUntilMs.set(host.domain, performance.now() + unlinkedMs, KiB)
      return undefined
    }
  }

  /** The canonical spelling of the name first: nothing is looked up for another one. */
  async #byIpnsPath(question: Question): Promise<Located> {
    const { pathname, search } = question
    const { name, below, canonical } = parseIpnsPath(pathname)
    if (canonical !== undefined) return redirect(canonical + search, 302)
    return await this.#ipns({ name, below, search, place: onPathGateway(`/ipns/${name.name}`) }, question)
  }

  /** The record itself where that is asked for, else the content that the name stands for. */
  async #ipns(asked: IpnsContentQuestion, { accept, ifNoneMatch, signal }: Question): Promise<Located> {
    const { ipns, checkName, pathSegmentsMax } = this.#parts
    if (ipns === undefined) throw new AppError('IPNS_UNRESOLVED', 'nothing is published by name here')
    if (checkName !== undefined) checkName(asked.name.name, segmentsBelow(asked.below))
    const query = parseQuery(asked.search)
    const format = negotiate(query, accept)
    if (format.kind === 'ipns-record') {
      const { below, search, place } = asked
      const url = { href: place.base, trailingSlash: below === '/', search }
      const location = format.fromAccept ? formatLocation(url, format.kind) : undefined
      return { kind: 'answer', reply: await recordReply({ ...asked, query, ifNoneMatch, location, signal }, ipns) }
    }
    return content(await resolveIpnsContent(asked, ipns, { pathSegmentsMax, signal }))
  }
}

/** Not what a name stands for, nor a page that depends on Accept. */
function isConstant({ host, pathname }: Question): boolean {
  if (host.kind === 'subdomain') return host.namespace === 'ipfs'
  return host.kind !== 'domain' && pathname.startsWith('/ipfs/')
}

/** `?uri=` belongs to the gateway where content has paths; on an origin of its own it belongs to the site. */
function uriOf({ pathname, search }: Question): string | undefined {
  if (!/^\/(ip[fn]s(\/|$)|$)/.test(pathname)) return undefined
  return uriLocation(search) ?? undoubledLocation(pathname, search)
}

function redirect(location: string, status = 301): Located {
  const headers = ['Location', location, 'Content-Type', 'text/plain; charset=utf-8']
  return { kind: 'answer', reply: withText(status, headers, `moved: ${location}\n`) }
}

function memoKey(host: RequestHost, url: string): string {
  switch (host.kind) {
    case 'path':
      return url
    // No URL has a space, so none of these is another one's.
    case 'gateway':
      return `${host.gateway.scheme}://${host.gateway.authority} ${url}`
    case 'subdomain':
      return `${host.gateway.scheme}://${host.label}.${host.namespace}.${host.gateway.authority} ${url}`
    case 'domain':
      return `${host.domain} ${url}`
  }
}

function content(request: ContentRequest): Located {
  return { kind: 'content', request }
}

/** As rules for names see them; what is not well encoded is refused elsewhere. */
function segmentsBelow(below: string): readonly string[] {
  try {
    return decodeURIComponent(below)
      .split('/')
      .filter((segment) => segment !== '')
  } catch {
    return []
  }
}
