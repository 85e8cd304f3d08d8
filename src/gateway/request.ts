import { base32 } from 'multiformats/bases/base32'
import { type ContentPath, parseContentPath } from '../content/get.ts'
import { AppError } from '../errors.ts'

/** Longer paths are refused before anything is read; Node itself refuses a head above 16 KiB with 431. */
export const urlBytesMax = 8192

/** The query parameters a gateway knows. Of a key that is given twice the first counts. */
export interface Query {
  readonly format: string | undefined
  readonly carVersion: string | undefined
  readonly carOrder: string | undefined
  readonly carDups: string | undefined
  readonly dagScope: string | undefined
  readonly entityBytes: string | undefined
  readonly filename: string | undefined
  readonly download: boolean
  /** `?go-get=1`: the go tool wants the page at this very URL, without a redirect. */
  readonly goGet: boolean
}

/** The name that led to the content, by `/names/<name>`. */
export interface RequestedName {
  readonly name: string
  readonly revision: number
  /** How many things it stands for; more than 1 where sites changed it without hearing each other. */
  readonly heads: number
  /** Of what the name itself stands for; null = to be found out. */
  readonly mediaType: string | null
}

/** What led to the content by `/ipns/<key or domain name>`. */
export interface RequestedIpns {
  /** Canonical: a key as base36 CIDv1, a domain name in lower case. */
  readonly name: string
  /** How long the answer may be kept; undefined = nobody said. */
  readonly maxAgeSeconds: number | undefined
}

/** Where the content is seen from: the path gateway, or an origin of its own (subdomain, DNSLink host). */
export interface Place {
  /** `/ipfs/<cid>`, `/ipns/<key or domain name>` or `/names/<name>`, percent-encoded: what X-Ipfs-Path and breadcrumbs begin with. */
  readonly contentRoot: string
  /** What URLs of that content begin with on this origin: `contentRoot` on the path gateway, nothing on an origin of its own. */
  readonly base: string
  /** `//<host>` of an origin of its own, port included; nothing on the path gateway, whose content shares one origin. */
  readonly origin: string
  /** What links to other content begin with, before `/ipfs/…`; undefined = no gateway for it here (DNSLink host). */
  readonly gateway: string | undefined
}

/**
 * A request for content. That of an `/ipfs` URL is a function of it, so it may be remembered; that of a name may change with
 * the next request.
 */
export interface ContentRequest {
  readonly path: ContentPath
  /** The path's root as CIDv1 base32. */
  readonly rootCid: string
  readonly name: RequestedName | undefined
  readonly ipns: RequestedIpns | undefined
  readonly place: Place
  /** The decoded segments below `place.contentRoot`, as they were asked for: the end of `path.segments`. */
  readonly tail: readonly string[]
  readonly trailingSlash: boolean
  /** `place.base` and the tail, percent-encoded, without a trailing slash: what links and redirects on this origin start with. */
  readonly href: string
  /** `?…` as it was sent, or nothing. */
  readonly search: string
  readonly query: Query
  /** X-Ipfs-Path and Ipfs-Uri, as name, value, name, value. */
  readonly pathHeaders: readonly string[]
}

const noQuery: Query = Object.freeze({
  format: undefined,
  carVersion: undefined,
  carOrder: undefined,
  carDups: undefined,
  dagScope: undefined,
  entityBytes: undefined,
  filename: undefined,
  download: false,
  goGet: false,
})

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The target of the request line as path and query, its scheme and host dropped: `host.ts` reads them. */
export function splitTarget(target: string): { readonly pathname: string; readonly search: string } {
  if (target.length > urlBytesMax) {
    throw new AppError('PATH_INVALID', `the URL has ${target.length} bytes; the limit is ${urlBytesMax}`, {
      limit: 'path_bytes',
    })
  }
  const own = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '')
  const question = own.indexOf('?')
  const pathname = question < 0 ? own : own.slice(0, question)
  return { pathname: pathname === '' ? '/' : pathname, search: question < 0 ? '' : own.slice(question) }
}

/** The path as the path gateway would be asked for it, as sent, without the query: what the read log keeps. */
export function readPath({ place }: Pick<ContentRequest, 'place'>, target: string): string {
  const { pathname } = splitTarget(target)
  return place.origin === '' ? pathname : place.contentRoot + pathname
}

/** `pathname` starts with `/ipfs/`. @throws AppError CID_INVALID | PATH_INVALID */
export function parseContentRequest(
  pathname: string,
  search: string,
  pathSegmentsMax: number,
  place?: Place,
): ContentRequest {
  const { path, trailingSlash } = parseContentPath(asUtf8(pathname).slice('/ipfs/'.length), { pathSegmentsMax })
  return contentRequest(path, {
    place: place ?? onPathGateway(`/ipfs/${path.root}`),
    tail: path.segments,
    trailingSlash,
    search,
  })
}

export function onPathGateway(contentRoot: string): Place {
  return { contentRoot, base: contentRoot, origin: '', gateway: '' }
}

/** `tail` as of `ContentRequest`. */
export function contentRequest(
  path: ContentPath,
  asked: Pick<ContentRequest, 'place' | 'tail' | 'trailingSlash' | 'search'> &
    Partial<Pick<ContentRequest, 'name' | 'ipns'>>,
): ContentRequest {
  const { place, tail, trailingSlash, search, name, ipns } = asked
  const rootCid = path.root.toV1().toString(base32)
  const below = tail.map((segment) => `/${encodeSegment(segment)}`).join('')
  return {
    path,
    rootCid,
    place,
    tail,
    name,
    ipns,
    trailingSlash,
    search,
    href: place.base + below,
    query: parseQuery(search),
    pathHeaders: pathHeadersOf(path, rootCid, asked),
  }
}

/** What is ours alone (`/names`) is told as the content that it stands for. */
function pathHeadersOf(
  path: ContentPath,
  rootCid: string,
  { tail, trailingSlash, ipns }: Pick<ContentRequest, 'tail' | 'trailingSlash'> & Partial<Pick<ContentRequest, 'ipns'>>,
): readonly string[] {
  const end = trailingSlash ? '/' : ''
  const segments = ipns === undefined ? path.segments : tail
  const below = segments.map((segment) => `/${encodeSegment(segment)}`).join('')
  const asRead = [ipns === undefined ? `/ipfs/${path.root}` : `/ipns/${ipns.name}`, ...segments].join('/') + end
  const uri = `${ipns === undefined ? `ipfs://${rootCid}` : `ipns://${ipns.name}`}${below}${end}`
  return ['X-Ipfs-Path', forHeader(asRead), 'Ipfs-Uri', uri]
}

/** What a header cannot carry, percent-encoded, and `%` with it, so that decoding gives the path itself and no other one. */
function forHeader(path: string): string {
  return path.replace(/[^\x21-\x24\x26-\x7e]+/g, (part) => encodeURIComponent(part))
}

/** Strict percent-encoding: everything but A-Z a-z 0-9 - . _ ~ (RFC 3986 unreserved). */
export function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Node hands over bytes above 0x7f as latin1; a client that does not escape sends UTF-8. */
export function asUtf8(pathname: string): string {
  if (!/[\x80-\xff]/.test(pathname)) return pathname
  try {
    return utf8.decode(Buffer.from(pathname, 'latin1'))
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path is not UTF-8', { cause })
  }
}

export function parseQuery(search: string): Query {
  if (search.length < 2) return noQuery
  const params = new URLSearchParams(search)
  const text = (name: string): string | undefined => params.get(name) || undefined
  return {
    format: text('format'),
    carVersion: text('car-version'),
    carOrder: text('car-order'),
    carDups: text('car-dups'),
    dagScope: text('dag-scope'),
    entityBytes: text('entity-bytes'),
    filename: text('filename'),
    download: params.get('download') === 'true',
    goGet: params.get('go-get') === '1',
  }
}
