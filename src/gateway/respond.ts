import type { Target } from '../content/get.ts'
import { AppError, isAppError } from '../errors.ts'
import { carLocation, formatLocation } from './content-location.ts'
import type { CodecFormat, Format } from './negotiate.ts'
import { redirectsReply } from './redirects.ts'
import type { Exchange, Reply } from './reply.ts'
import { blockOf, isInCodec, nodeReply, notConverted, rawReply } from './reply-block.ts'
import { carReply } from './reply-car.ts'
import { directoryReply } from './reply-directory.ts'
import { fileReply } from './reply-file.ts'
import { hasPreview, previewReply } from './reply-preview.ts'
import { tarReply } from './reply-tar.ts'

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
  if (format.kind === 'car') {
    const end = await services.get.follow(request.path, { signal })
    return located(exchange, format, carReply(exchange, end, format.params))
  }
  const target = await services.get.open(request.path, { signal })
  const fitting = fittingFormat(format, target)
  const reply = located(exchange, fitting, await ofFormat(exchange, fitting, target))
  return fitting === format ? reply : { ...reply, format: formatName(fitting) }
}

/** The first of what the client takes that the content is to be had in; where there is none the first one says why. */
function fittingFormat(format: Format, target: Target): Format {
  for (let choice: Format | undefined = format; choice !== undefined; choice = choice.orElse) {
    if (fits(choice, target)) return choice
  }
  return format
}

function fits(format: Format, target: Target): boolean {
  switch (format.kind) {
    case 'raw':
    case 'car':
      return true
    case 'tar':
      return target.kind !== 'node'
    case 'codec':
      return target.kind === 'node' ? isInCodec(target, format.codec) : isPlainJson(format.codec, target)
    case 'ipns-record':
      return false
    case 'unixfs':
      if (format.only === undefined) return true
      return format.only === 'text' ? target.kind !== 'node' : target.kind !== 'directory'
  }
}

/** Files are served as they are to whoever takes JSON: they may well be that. */
const isPlainJson = (codec: CodecFormat, { kind }: Target): boolean => codec === 'json' && kind === 'file'

async function ofFormat(exchange: Exchange, format: Format, target: Target): Promise<Reply> {
  switch (format.kind) {
    case 'car':
      return carReply(exchange, target, format.params)
    case 'raw':
      return rawReply(exchange, blockOf(target))
    case 'tar':
      return tarReply(exchange, target)
    case 'codec':
      if (target.kind === 'node') return nodeReply(exchange, target, format.codec)
      if (isPlainJson(format.codec, target)) return await unixfsReply(exchange, target)
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
  const location =
    format.kind === 'car' ? carLocation(request, format.params) : formatLocation(request, formatName(format))
  return { ...reply, headers: [...reply.headers, 'Content-Location', location] }
}
