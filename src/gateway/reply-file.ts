import type { ByteRange, Target } from '../content/get.ts'
import { AppError, isAppError } from '../errors.ts'
import { octetStream, servedType } from '../lib/media-type.ts'
import { collect } from '../lib/streams.ts'
import { unsatisfiable } from './errors.ts'
import {
  contentDisposition,
  type HeaderList,
  httpDate,
  immutable,
  isActive,
  matchesEtag,
  notModifiedSince,
  safeFilename,
  sandboxHeaders,
} from './headers.ts'
import { mediaTypeOfName, sniffBytes } from './media-type.ts'
import { chooseRange, contentRange, ifRangeHolds } from './range.ts'
import { type Body, type Exchange, noBody, type Reply } from './reply.ts'

const rawCodec = 0x55

/** How a file is shown, where that is not the file's own: an index.html answers in the name of its directory. */
export interface Shown {
  readonly etagCid: string
  readonly roots: string
  readonly name: string | undefined
}

/** A UnixFS file, a raw block, or a symlink (its target's text, not followed). */
export async function fileReply(exchange: Exchange, target: Target, shown: Shown): Promise<Reply> {
  const { conditions, request } = exchange
  const etag = `"${shown.etagCid}"`
  const headers = entityHeaders(exchange, etag, shown.roots)
  const lastModified = lastModifiedOf(request, target)
  if (lastModified !== undefined) headers.push('Last-Modified', lastModified)
  if (matchesEtag(conditions.ifNoneMatch, etag) || notModifiedSince(conditions, lastModified)) {
    return { status: 304, headers, body: noBody }
  }
  refuseTooLarge(exchange, target)
  const choice = ifRangeHolds(conditions.ifRange, etag) ? chooseRange(conditions.range, target.size) : 'whole'
  if (choice === 'unsatisfiable') return unsatisfiable(target.size, conditions.accept)
  const name = request.query.filename === undefined ? shown.name : safeFilename(request.query.filename)
  const mediaType = await mediaTypeOf(exchange, target, name)
  headers.push('Content-Type', mediaType, 'Accept-Ranges', 'bytes')
  if (request.place.origin === '' && isActive(mediaType)) headers.push(...sandboxHeaders)
  const disposition = dispositionOf(exchange, name ?? target.cid.toString())
  if (disposition !== undefined) headers.push('Content-Disposition', disposition)
  const range = choice === 'whole' ? undefined : choice
  const length = range === undefined ? target.size : range.end - range.start + 1n
  headers.push('Content-Length', length.toString())
  if (range !== undefined) headers.push('Content-Range', contentRange(range, target.size))
  return { status: range === undefined ? 200 : 206, headers, body: content(exchange, target, range, length) }
}

/** Where the node has a time. What a name stands for may go back to an older file, so there only the tag counts. */
function lastModifiedOf({ name, ipns }: Exchange['request'], { mtime }: Target): string | undefined {
  return mtime === undefined || name !== undefined || ipns !== undefined ? undefined : httpDate(mtime.secs)
}

function refuseTooLarge({ services }: Exchange, target: Target): void {
  const { fileBytesMax } = services.limits
  if (fileBytesMax === 0 || target.size <= BigInt(fileBytesMax)) return
  throw new AppError(
    'FILE_TOO_LARGE',
    `the file has ${target.size} bytes; as a file, ${fileBytesMax} at the most are served here`,
    {
      limit: 'file_bytes',
      hint: 'ask for ?format=car, or for the blocks with ?format=raw',
    },
  )
}

/** ETag, cache, path and roots: what a 304 carries too. */
export function entityHeaders({ request }: Exchange, etag: string, roots: string, cache = immutable): HeaderList {
  const headers = ['ETag', etag, 'Vary', 'Accept', 'X-Ipfs-Roots', roots, ...request.pathHeaders]
  const control = cacheControlOf(request, cache)
  if (control !== undefined) headers.push('Cache-Control', control)
  if (request.name !== undefined) headers.push('Stowage-Name-Revision', String(request.name.revision))
  if ((request.name?.heads ?? 1) > 1) headers.push('Stowage-Name-Heads', String(request.name?.heads))
  return headers
}

/** What a name stands for may change at any time; what an IPNS name does, after the time that its publisher said. */
export function cacheControlOf({ name, ipns }: Exchange['request'], immutably: string): string | undefined {
  if (name !== undefined) return 'no-cache'
  if (ipns === undefined) return immutably
  return ipns.maxAgeSeconds === undefined ? undefined : `public, max-age=${ipns.maxAgeSeconds}`
}

/** A raw block is here already, the target of its path: no reader has to be started for it. */
function content({ signal, services }: Exchange, target: Target, range: ByteRange | undefined, bytes: bigint): Body {
  const block = target.cid.code === rawCodec ? target.trail.at(-1)?.bytes : undefined
  if (block !== undefined) {
    return {
      kind: 'whole',
      bytes: range === undefined ? block : block.subarray(Number(range.start), Number(range.end) + 1),
    }
  }
  const source = services.readAhead.over((readAheadBytes) => target.read(range, { signal, readAheadBytes }))
  return { kind: 'stream', bytes, source }
}

/** `?download=true` saves; `?filename=` names what is shown. */
function dispositionOf({ request: { query } }: Exchange, name: string): string | undefined {
  if (query.download) return contentDisposition('attachment', name)
  return query.filename === undefined ? undefined : contentDisposition('inline', name)
}

async function mediaTypeOf(exchange: Exchange, target: Target, name: string | undefined): Promise<string> {
  if (target.kind === 'symlink') return 'inode/symlink'
  const { path, query, name: asked } = exchange.request
  // What was put under the name was given its type there; what lies below it was not.
  if (asked?.mediaType && query.filename === undefined && target.cid.equals(path.root))
    return servedType(asked.mediaType)
  const byName = mediaTypeOfName(name)
  if (byName !== undefined) return byName
  const { mediaTypes } = exchange.services
  const key = target.cid.toString()
  const known = mediaTypes.known(key)
  if (known !== undefined) return known
  const end = target.size < sniffBytes ? target.size : BigInt(sniffBytes)
  const complete = target.size <= sniffBytes
  if (end === 0n) return await mediaTypes.learn(key, new Uint8Array(), true)
  const window = { start: 0n, end: end - 1n }
  try {
    const read = target.read(window, { signal: exchange.signal, readAheadBytes: 1 })
    return await mediaTypes.learn(key, await collect(read, sniffBytes), complete)
  } catch (error) {
    // The first block may be missing where the range that was asked for is not.
    if (isAppError(error) && exchange.conditions.range !== undefined) return octetStream
    throw error
  }
}
