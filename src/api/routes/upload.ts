import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import type { ImportEntry, Put, PutResult } from '../../content/put.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { parseParameters } from '../part-headers.ts'
import { queryOf } from '../query.ts'
import { readMultipart } from '../read-multipart.ts'
import { readTar } from '../read-tar.ts'
import { askForBody } from '../respond.ts'
import { uploadBody } from '../upload-body.ts'
import { parseUploadQuery, type UploadKind, type UploadQuery } from '../upload-query.ts'

export type UploadLimits = Pick<LimitConfig, 'uploadBytesMax' | 'uploadIdleMs'>

/**
 * `POST /api/v1/objects`: what the body is, its content type says. Nothing of it is read before the query is known to be
 * good, and the answer comes when every block is durable.
 */
export function uploadHandler(put: Put, limits: UploadLimits) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const encoding = request.headers['content-encoding'] ?? 'identity'
    if (encoding.trim().toLowerCase() !== 'identity') {
      throw new AppError('MEDIA_TYPE_UNSUPPORTED', 'the body has a Content-Encoding', { hint: 'send it as it is' })
    }
    const kind = kindOf(request)
    const query = parseUploadQuery(queryOf(request), kind)
    const signal = clientGone(reply.raw)
    const { uploadBytesMax: bytesMax, uploadIdleMs: idleMs } = limits
    const body = uploadBody(request.raw, { bytesMax, idleMs, signal })
    askForBody(request, reply)
    const result = await store(put, kind, query, request, body, signal)
    const cid = result.cid.toString()
    return reply.code(201).header('location', `/api/v1/objects/${cid}`).send(replyOf(result, kind))
  }
}

function store(
  put: Put,
  kind: UploadKind,
  query: UploadQuery,
  request: FastifyRequest,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<PutResult> {
  switch (kind) {
    case 'car':
      return put.car(body, { signal })
    case 'archive':
      return put.directory(entriesOf(request, query, body, signal), { ...query, signal })
    case 'file': {
      const { filename, ...options } = query
      return put.file(body, { ...options, signal, ...(filename === undefined ? {} : { wrapAs: filename }) })
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

function replyOf(result: PutResult, kind: UploadKind) {
  const cid = result.cid.toString()
  return {
    cid,
    size: Number(result.size),
    blocks: result.blocks,
    newBlocks: result.newBlocks,
    ...(kind === 'car' ? { roots: result.roots.map(String) } : {}),
    path: `/ipfs/${cid}`,
  }
}
