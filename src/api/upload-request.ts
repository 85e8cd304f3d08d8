import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../config.ts'
import { checkMediaType } from '../content/media-type.ts'
import type { ImportEntry } from '../content/put.ts'
import type { Upload } from '../content/verbs.ts'
import { refuseCar } from './car-as-text.ts'
import { checkedBody } from './checked-body.ts'
import { parseParameters } from './part-headers.ts'
import { readMultipart } from './read-multipart.ts'
import { readTar } from './read-tar.ts'
import { askForBody } from './respond.ts'
import { parseUploadQuery, type UploadKind, type UploadQuery } from './upload-query.ts'

export type UploadLimits = Pick<LimitConfig, 'uploadBytesMax' | 'uploadIdleMs'>

/**
 * What a request uploads, known to be good as far as head and query tell; of the body nothing has been read, and it comes
 * only when the upload is read.
 */
export interface UploadRequest {
  readonly kind: UploadKind
  /** Tells a client that waits to send its body, and hands it over. */
  start(): Upload
}

/** @param query without what is not about the upload itself @throws AppError REQUEST_INVALID */
export function uploadRequest(
  request: FastifyRequest,
  reply: FastifyReply,
  query: URLSearchParams,
  { uploadBytesMax: bytesMax, uploadIdleMs: idleMs, signal }: UploadLimits & { readonly signal: AbortSignal },
): UploadRequest {
  const kind = kindOf(request)
  const parsed = parseUploadQuery(query, kind)
  const { content, verify } = checkedBody(request, { bytesMax, idleMs, signal })
  return {
    kind,
    start: () => {
      askForBody(request, reply)
      return { ...uploadOf(kind, parsed, request, content, signal), verify }
    },
  }
}

function uploadOf(
  kind: UploadKind,
  query: UploadQuery,
  request: FastifyRequest,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Upload {
  switch (kind) {
    case 'car':
      return { kind: 'car', source: body, partial: query.partial }
    case 'archive': {
      const entries = entriesOf(request, query, body, signal)
      return { kind: 'directory', entries, options: { ...query, signal } }
    }
    case 'file': {
      const { filename, ...options } = query
      const wrap = filename === undefined ? {} : { wrapAs: filename }
      const source = mediaTypeOf(request).startsWith('text/') ? refuseCar(body) : body
      return { kind: 'file', source, options: { ...options, signal, ...wrap } }
    }
  }
}

const mediaTypeOf = ({ headers }: FastifyRequest) => headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? ''

function kindOf(request: FastifyRequest): UploadKind {
  switch (mediaTypeOf(request)) {
    case 'application/vnd.ipld.car':
      return 'car'
    case 'application/x-tar':
    case 'multipart/form-data':
      return 'archive'
    default:
      return 'file'
  }
}

/** What clients say of bytes that they know nothing about; curl's `--data-binary` says the first. */
const meaningless: readonly string[] = ['', 'application/x-www-form-urlencoded', 'application/octet-stream']

/**
 * The media type that the content itself is said to have, as it was written; undefined where the request says none.
 * @throws AppError REQUEST_INVALID
 */
export function contentTypeOf(request: FastifyRequest): string | undefined {
  if (kindOf(request) !== 'file' || meaningless.includes(mediaTypeOf(request))) return undefined
  const text = request.headers['content-type'] ?? ''
  checkMediaType(text)
  return text
}

function entriesOf(
  request: FastifyRequest,
  { keep }: UploadQuery,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncIterable<ImportEntry> {
  if (mediaTypeOf(request) === 'application/x-tar') return readTar(body, keep, { signal })
  const boundary = parseParameters(request.headers['content-type'] ?? '').get('boundary')
  return readMultipart(body, boundary, keep, { signal })
}
