import { essenceOf } from '../lib/media-type.ts'
import { encodeSegment } from './request.ts'

/** Header fields as Node's `writeHead` takes them fastest: name, value, name, value. */
export type HeaderList = string[]

/** /ipfs content never changes. */
export const immutable = 'public, max-age=29030400, immutable'
/** A generated page of immutable content: our HTML may change. */
export const generated = 'public, max-age=604800, stale-while-revalidate=2678400'

/** On every reply, errors included, so that a page of any origin may read content and learn what went wrong. */
export const corsHeaders: readonly string[] = [
  'Access-Control-Allow-Origin',
  '*',
  'Access-Control-Allow-Methods',
  'GET, HEAD, OPTIONS',
  'Access-Control-Allow-Headers',
  'Content-Type, Range, User-Agent, X-Requested-With',
  'Access-Control-Expose-Headers',
  'Content-Length, Content-Range, Ipfs-Uri, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output, Stowage-Name-Revision, Stowage-Provisional, Stowage-Copies',
]

/** Content is public to every origin (CORS `*`), hence `cross-origin`. */
export const securityHeaders: readonly string[] = [
  'X-Content-Type-Options',
  'nosniff',
  'Referrer-Policy',
  'no-referrer',
  'Cross-Origin-Resource-Policy',
  'cross-origin',
]

/**
 * All content of a path gateway shares one origin. A document that can run scripts gets an opaque origin of its own: it
 * works, but can neither read what another page stored nor act in its name. Subdomains are the better answer (§2.5).
 */
export const sandboxHeaders: readonly string[] = [
  'Content-Security-Policy',
  'sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads',
]

/** To a browser the type is not known, so that it looks at the bytes (WHATWG MIME Sniffing §7, and what Firefox calls it). */
const isUnknown = /\*|^(application|unknown)\/(x-)?unknown\b/

/**
 * What a browser shows as a document of its own that may run scripts; also what is no media type, what says that it is not
 * known, and what some would take for a list of several: whatever they make of it.
 */
export function isActive(mediaType: string): boolean {
  const essence = essenceOf(mediaType)
  if (essence === undefined || mediaType.includes(',')) return true
  return isUnknown.test(essence) || /^(multipart|message)\/|[/+.-](x?html|xml|xsl)/.test(essence)
}

/**
 * If-None-Match: a list of tags compared weakly, or `*` (RFC 9110 §13.1.2). Scans once from left to right; the
 * list is as long as the head of a request may be.
 */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  const opaque = etag.startsWith('W/') ? etag.slice(2) : etag
  // Tags of ours hold no comma and no quote, so a quoted match between list borders is a match.
  return header.split(',').some((item) => {
    const tag = item.trim()
    return (tag.startsWith('W/') ? tag.slice(2) : tag) === opaque
  })
}

/** A time that a UnixFS node holds, as HTTP writes one; undefined for times that it cannot write. */
export function httpDate(seconds: bigint): string | undefined {
  const date = new Date(Number(seconds) * 1000)
  const year = date.getUTCFullYear()
  return year >= 1 && year <= 9999 ? date.toUTCString() : undefined
}

/**
 * If-Modified-Since: only where there is no If-None-Match, which knows better (RFC 9110 §13.1.3). A date that is none is
 * ignored.
 */
export function notModifiedSince(
  {
    ifNoneMatch,
    ifModifiedSince,
  }: { readonly ifNoneMatch: string | undefined; readonly ifModifiedSince: string | undefined },
  lastModified: string | undefined,
): boolean {
  if (lastModified === undefined || ifNoneMatch !== undefined || ifModifiedSince === undefined) return false
  return Date.parse(ifModifiedSince) >= Date.parse(lastModified)
}

const filenameBytesMax = 255

/** What tells a program the kind of a file, `.tar.gz` too: few bytes, and none of them part of a sentence. */
const extensions = /(\.[a-z\d-]{1,16}){1,2}$/i

/**
 * Cut to 255 bytes of UTF-8 between code points, before the extension that it ends in; control characters replaced. Fit for a
 * header and for a disk.
 */
export function safeFilename(name: string): string {
  const clean = name.replace(/\p{Cc}/gu, '_')
  if (Buffer.byteLength(clean) <= filenameBytesMax) return clean
  const extension = extensions.exec(clean)?.[0] ?? ''
  const stem = clean.slice(0, clean.length - extension.length)
  return cutToBytes(stem, filenameBytesMax - extension.length) + extension
}

function cutToBytes(text: string, bytesMax: number): string {
  let bytes = 0
  let cut = ''
  for (const char of text) {
    bytes += Buffer.byteLength(char)
    if (bytes > bytesMax) break
    cut += char
  }
  return cut
}

/**
 * RFC 6266: `filename` for old clients, one `_` for each code point that is not plain ASCII or would need escaping, and
 * `filename*` with the name itself.
 */
export function contentDisposition(kind: 'inline' | 'attachment', filename: string): string {
  const name = safeFilename(filename)
  const plain = name.replace(/[^\x20-\x7e]|["\\]/gu, '_')
  return `${kind}; filename="${plain}"; filename*=UTF-8''${encodeSegment(name)}`
}
