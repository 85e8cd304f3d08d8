import type { CarParams, PathEnd } from '../content/get.ts'
import { contentDisposition, matchesEtag } from './headers.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { entityHeaders } from './reply-file.ts'

/**
 * CAR v1: the blocks of the path first, then what was asked of the DAG, depth first. Its length is not known before it is
 * made, so an export that fails ends without the last chunk of HTTP: visible. HEAD reads nothing beyond the path.
 * Of a path that leads nowhere it holds the blocks that prove it, with 200: a client that verifies needs them, and one that
 * walks a directory (boxo's CAR backend, for its index.html) takes any other status for a broken gateway.
 * @throws AppError REQUEST_INVALID when the bytes asked for lie outside of the file
 */
export function carReply(exchange: Exchange, end: PathEnd, params: CarParams): Reply {
  const { request, conditions, services, signal } = exchange
  // Weak, as the specification has it: order and duplicates may differ from gateway to gateway.
  const etag = `W/"${services.get.carTag(end, params)}"`
  const headers = entityHeaders(exchange, etag, end.roots.join(','))
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  const last = request.path.segments.at(-1)
  const name = request.query.filename ?? `${request.path.root}${last === undefined ? '' : `_${last}`}.car`
  // What is sent, whatever was asked for: depth first is an order too for those who asked for none.
  headers.push('Content-Type', `application/vnd.ipld.car; version=1; order=dfs; dups=${params.dups ? 'y' : 'n'}`)
  headers.push('Accept-Ranges', 'none', 'Content-Disposition', contentDisposition('attachment', name))
  const source = services.readAhead.over((readAheadBytes) => services.get.car(end, params, { signal, readAheadBytes }))
  return { status: 200, headers, body: { kind: 'stream', bytes: undefined, source } }
}
