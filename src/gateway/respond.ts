import type { Target } from '../content/get.ts'
import { AppError, isAppError } from '../errors.ts'
import { carSearch } from './car-params.ts'
import type { Format } from './negotiate.ts'
import { redirectsReply } from './redirects.ts'
import type { Exchange, Reply } from './reply.ts'
import { blockOf, nodeReply, notConverted, rawReply } from './reply-block.ts'
import { carReply } from './reply-car.ts'
import { directoryReply } from './reply-directory.ts'
import { fileReply } from './reply-file.ts'
import { hasPreview, previewReply } from './reply-preview.ts'
import { tarReply } from './reply-tar.ts'
import { encodeSegment, type Query } from './request.ts'

/** `unixfs`, `raw`, `car` or the name of a codec. @throws AppError FORMAT_UNSUPPORTED */
export const formatName = (format: Format): string => (format.kind === 'codec' ? format.codec : format.kind)

/** Every branch of a request for content. @throws AppError, from anywhere below */
export async function respond(exchange: Exchange, format: Format): Promise<Reply> {
  try {
    return await atPath(exchange, format)
  } catch (error) {
    const ownSite = exchange.request.place.origin !== '' && format.kind === 'unixfs'
    if (!ownSite || !isAppError(error, 'PATH_NOT_FOUND')) throw error
    return await redirectsReply(exchange, error, (moved) => atPath(moved, format))
  }
}

async function atPath(exchange: Exchange, format: Format): Promise<Reply> {
  const { request, services, signal } = exchange
  const target = await services.get.open(request.path, { signal })
  return located(exchange, format, await ofFormat(exchange, format, target))
}

async function ofFormat(exchange: Exchange, format: Format, target: Target): Promise<Reply> {
  switch (format.kind) {
    case 'raw':
      return rawReply(exchange, blockOf(target))
    case 'car':
      return carReply(exchange, target, format.params)
    case 'tar':
      return tarReply(exchange, target)
    case 'codec':
      if (target.kind === 'node') return nodeReply(exchange, target, format.codec)
      if (target.kind === 'file' && format.codec === 'json') return await unixfsReply(exchange, target)
      throw notConverted()
    case 'ipns-record':
      throw new AppError('REQUEST_INVALID', 'an IPNS record belongs to /ipns/<key>, not to content')
    case 'unixfs':
      if (format.html && !exchange.request.query.download && hasPreview(target)) return previewReply(exchange, target)
      return await unixfsReply(exchange, target)
  }
}

async function unixfsReply(exchange: Exchange, target: Target): Promise<Reply> {
  switch (target.kind) {
    case 'directory':
      return await directoryReply(exchange, target)
    case 'node':
      return nodeReply(exchange, target, undefined)
    case 'file':
    case 'symlink': {
      const cid = target.cid.toString()
      const roots = target.roots.length === 1 ? cid : target.roots.join(',')
      return await fileReply(exchange, target, { etagCid: cid, roots, name: lastSegment(exchange) })
    }
  }
}

function lastSegment({ request: { path, name } }: Exchange): string | undefined {
  return path.segments.at(-1) ?? name?.name.split('/').at(-1)
}

/** A format that came from Accept has a URL of its own; caches should know it. */
function located({ request }: Exchange, format: Format, reply: Reply): Reply {
  if (format.kind === 'unixfs' || !format.fromAccept || reply.status >= 300) return reply
  const search = format.kind === 'car' ? carSearch(format.params) : `format=${formatName(format)}`
  const location = `${request.href}?${search}${namingSearch(request.query)}`
  return { ...reply, headers: [...reply.headers, 'Content-Location', location] }
}

/** What else of the query changes the reply: how it is to be named and saved. */
function namingSearch({ filename, download }: Query): string {
  const name = filename === undefined ? '' : `&filename=${encodeSegment(filename)}`
  return download ? `${name}&download=true` : name
}
