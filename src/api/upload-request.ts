import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../config.ts'
import { checkMediaType } from '../content/media-type.ts'
import type { Upload } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { refuseCar } from './car-as-text.ts'
import { checkedBody } from './checked-body.ts'
import { parseParameters } from './part-headers.ts'
import { type Multipart, readMultipart } from './read-multipart.ts'
import { readTar } from './read-tar.ts'
import { askForBody } from './respond.ts'
import { parseUploadQuery, type UploadKind, type UploadQuery } from './upload-query.ts'

export type UploadLimits = Pick<LimitConfig, 'uploadBytesMax' | 'uploadIdleMs'>

/**
 * What a request uploads, known to be good as far as head and query tell; of the body nothing has been read, and it comes
 * only when the upload is read, or the fields of a form are.
 */
export interface UploadRequest {
  readonly kind: UploadKind
  /**
   * The text fields of a form, which say what the query could say, and `formFields`; nothing of any other body.
   * @throws AppError REQUEST_INVALID for one that nobody knows, or that is said twice
   */
  form(): Promise<FormFields>
  /** Tells a client that waits to send its body, and hands it over. */
  start(): Upload
}

/** Fields that are not about the upload itself. */
export interface FormFields {
  readonly name?: string
  readonly mediaType?: string
}
type FormField = keyof FormFields

/**
 * @param query without what is not about the upload itself
 * @param formFields that a form may have beside those of the query
 * @throws AppError REQUEST_INVALID
 */
export function uploadRequest(
  request: FastifyRequest,
  reply: FastifyReply,
  query: URLSearchParams,
  options: UploadLimits & { readonly signal: AbortSignal; readonly formFields: readonly FormField[] },
): UploadRequest {
  const { uploadBytesMax: bytesMax, uploadIdleMs: idleMs, signal, formFields } = options
  const kind = kindOf(request)
  // The media type of a name is a field of a form alone: in a query it would be the header's.
  const inQuery = formFields.filter((field) => field === 'name')
  let parsed = parseUploadQuery(query, kind, inQuery)
  const { content, verify } = checkedBody(request, { bytesMax, idleMs, signal })
  let multipart: Multipart | undefined
  return {
    kind,
    form: async () => {
      if (mediaTypeOf(request) !== 'multipart/form-data') return {}
      const boundary = parseParameters(request.headers['content-type'] ?? '').get('boundary')
      askForBody(request, reply)
      multipart = await readMultipart(content, boundary, { signal })
      const { own, rest } = formOf(multipart.fields, query, formFields)
      parsed = parseUploadQuery(rest, kind, formFields)
      return own
    },
    start: () => {
      askForBody(request, reply)
      return { ...uploadOf(kind, parsed, request, multipart ?? content, signal), verify }
    },
  }
}

function formOf(fields: Multipart['fields'], query: URLSearchParams, known: readonly FormField[]) {
  const rest = new URLSearchParams(query)
  const own: { -readonly [K in FormField]?: string } = {}
  const seen = new Set(query.keys())
  for (const [name, value] of fields) {
    if (seen.has(name)) throw new AppError('REQUEST_INVALID', `${JSON.stringify(name.slice(0, 100))} is given twice`)
    seen.add(name)
    const field = known.find((one) => one === name)
    if (field === undefined) rest.append(name, value)
    else own[field] = value
  }
  return { own, rest }
}

function uploadOf(
  kind: UploadKind,
  query: UploadQuery,
  request: FastifyRequest,
  body: AsyncIterable<Uint8Array> | Multipart,
  signal: AbortSignal,
): Upload {
  if ('fields' in body) {
    return { kind: 'directory', entries: body.entries(query.keep), options: { ...query, signal } }
  }
  switch (kind) {
    case 'car':
      return { kind: 'car', source: body, partial: query.partial }
    case 'archive':
      return { kind: 'directory', entries: readTar(body, query.keep, { signal }), options: { ...query, signal } }
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
