import type { Target } from '../content/get.ts'
import { AppError } from '../errors.ts'
import { contentDisposition, matchesEtag } from './headers.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { entityHeaders } from './reply-file.ts'

/**
 * What the path leads to, as a tar (IPIP-288). Its length is not known before it is made, so one that fails ends without the
 * last chunk of HTTP: visible. What fails within its first 64 KiB is an answer of its own.
 * @throws AppError FORMAT_UNSUPPORTED when it is no UnixFS; what is wrong with it, when it is a damaged one
 */
export function tarReply(exchange: Exchange, target: Target): Reply {
  const { request, conditions, services, signal } = exchange
  if (target.problem !== undefined) throw target.problem
  if (target.kind === 'node') {
    throw new AppError('FORMAT_UNSUPPORTED', 'only files and directories can be in a tar', {
      hint: 'ask for ?format=raw or ?format=car',
    })
  }
  const etag = `W/"${services.get.tarTag(target)}"`
  const headers = entityHeaders(exchange, etag, target.roots.join(','))
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  const name = request.query.filename ?? `${target.cid}.tar`
  headers.push('Content-Type', 'application/x-tar', 'Accept-Ranges', 'none')
  headers.push('Content-Disposition', contentDisposition('attachment', name))
  const source = services.readAhead.over((readAheadBytes) => services.get.tar(target, { signal, readAheadBytes }))
  return { status: 200, headers, body: { kind: 'stream', bytes: undefined, source } }
}
