import { decodeData, type Target } from '../content/get.ts'
import { KiB } from '../lib/units.ts'
import { withText } from './errors.ts'
import { generated, matchesEtag } from './headers.ts'
import { pagePolicy } from './page.ts'
import { previewHash, previewHtml } from './preview.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { blockOf } from './reply-block.ts'
import { entityHeaders } from './reply-file.ts'

/** Decoded, a block takes up to 60 times its size. A larger one is offered, not shown. */
const decodedBytesMax = 512 * KiB

const codecNames: ReadonlyMap<number, 'dag-json' | 'dag-cbor'> = new Map([
  [0x0129, 'dag-json'],
  [0x71, 'dag-cbor'],
])

/** Whether there is a page for it. */
export const hasPreview = ({ cid, problem }: Target): boolean => codecNames.has(cid.code) && problem === undefined

/** A dag-json or dag-cbor block as a page. @throws AppError DAG_INVALID when the block is not what its codec says */
export function previewReply(exchange: Exchange, target: Target): Reply {
  const { request, conditions } = exchange
  const { cid, bytes, roots } = blockOf(target)
  const etag = `"DagIndex-${previewHash}_CID-${cid}"`
  const headers = entityHeaders(exchange, etag, roots, generated)
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  headers.push('Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy)
  const codec = codecNames.get(target.cid.code) ?? 'dag-cbor'
  const value = bytes.byteLength > decodedBytesMax ? undefined : { of: decodeData(target.cid, bytes) }
  return withText(200, headers, previewHtml(request, { cid, codec, blockBytes: bytes.byteLength, value }))
}
