import type { Target } from '../content/get.ts'
import { AppError } from '../errors.ts'
import { unsatisfiable } from './errors.ts'
import { contentDisposition, matchesEtag } from './headers.ts'
import type { CodecFormat } from './negotiate.ts'
import { chooseRange, contentRange, ifRangeHolds } from './range.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { entityHeaders } from './reply-file.ts'

/** The bytes of one block, as a client that checks hashes wants them. */
export interface Block {
  readonly cid: string
  readonly bytes: Uint8Array
  readonly roots: string
}

interface Form {
  readonly mediaType: string
  readonly etagSuffix: string
  readonly extension: string
  readonly disposition: 'inline' | 'attachment'
}

const rawForm: Form = {
  mediaType: 'application/vnd.ipld.raw',
  etagSuffix: '.raw',
  extension: 'bin',
  disposition: 'attachment',
}

/** What a codec is called and which of the formats its bytes already are (IPIP-524: nothing is converted). */
const codecForms: ReadonlyMap<number, Form & { readonly formats: readonly CodecFormat[] }> = new Map([
  [0x0129, codecForm('dag-json', 'application/vnd.ipld.dag-json', 'json', ['dag-json', 'json'])],
  [0x71, codecForm('dag-cbor', 'application/vnd.ipld.dag-cbor', 'cbor', ['dag-cbor', 'cbor'])],
  [0x0200, codecForm('json', 'application/json', 'json', ['json'])],
  [0x51, codecForm('cbor', 'application/cbor', 'cbor', ['cbor'])],
])

const mediaTypeOfFormat: Readonly<Record<CodecFormat, string>> = {
  json: 'application/json',
  cbor: 'application/cbor',
  'dag-json': 'application/vnd.ipld.dag-json',
  'dag-cbor': 'application/vnd.ipld.dag-cbor',
}

function codecForm(name: CodecFormat, mediaType: string, extension: 'json' | 'cbor', formats: readonly CodecFormat[]) {
  const disposition: 'inline' | 'attachment' = extension === 'json' ? 'inline' : 'attachment'
  return { mediaType, etagSuffix: `.${name}`, extension, disposition, formats }
}

/** `?format=raw`: any codec, whether we can read it or not. */
export function rawReply(exchange: Exchange, block: Block): Reply {
  return blockReply(exchange, block, rawForm)
}

/**
 * A node that is not UnixFS, as it is. `format` undefined: in its own codec's type.
 * @throws AppError FORMAT_UNSUPPORTED when another codec was asked for, DAG_INVALID for a damaged UnixFS node, CODEC_UNSUPPORTED when the codec has no type of its own
 */
export function nodeReply(exchange: Exchange, target: Target, format: CodecFormat | undefined): Reply {
  const form = codecForms.get(target.cid.code)
  if (format !== undefined && !isInCodec(target, format)) throw notConverted()
  if (target.problem !== undefined) throw target.problem
  if (form === undefined) {
    throw new AppError(
      'CODEC_UNSUPPORTED',
      `this block is no file and no directory (codec 0x${target.cid.code.toString(16)})`,
      {
        hint: 'ask for ?format=raw or ?format=car',
      },
    )
  }
  const shown =
    format === undefined ? form : { ...form, mediaType: mediaTypeOfFormat[format], etagSuffix: `.${format}` }
  return blockReply(exchange, blockOf(target), shown)
}

/** Whether the block's bytes are in that format as they are. */
export function isInCodec({ cid }: Pick<Target, 'cid'>, format: CodecFormat): boolean {
  return codecForms.get(cid.code)?.formats.includes(format) ?? false
}

export function notConverted(): AppError {
  return new AppError(
    'FORMAT_UNSUPPORTED',
    'this content is stored in another codec, and nothing is converted (IPIP-524)',
    {
      hint: 'leave format out, or ask for ?format=raw or ?format=car',
    },
  )
}

export function blockOf(target: Target): Block {
  const last = target.trail.at(-1)
  if (last === undefined) throw new AppError('INTERNAL', 'a target without a block')
  return { cid: target.cid.toString(), bytes: last.bytes, roots: target.roots.join(',') }
}

function blockReply(exchange: Exchange, block: Block, form: Form): Reply {
  const { conditions, request } = exchange
  const etag = `"${block.cid}${form.etagSuffix}"`
  const headers = entityHeaders(exchange, etag, block.roots)
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  const size = BigInt(block.bytes.byteLength)
  const choice = ifRangeHolds(conditions.ifRange, etag) ? chooseRange(conditions.range, size) : 'whole'
  if (choice === 'unsatisfiable') return unsatisfiable(size, conditions.accept)
  const name = request.query.filename ?? `${block.cid}.${form.extension}`
  const disposition = request.query.download ? 'attachment' : form.disposition
  headers.push('Content-Type', form.mediaType, 'Accept-Ranges', 'bytes')
  headers.push('Content-Disposition', contentDisposition(disposition, name))
  if (choice === 'whole') {
    headers.push('Content-Length', size.toString())
    return { status: 200, headers, body: { kind: 'whole', bytes: block.bytes } }
  }
  const part = block.bytes.subarray(Number(choice.start), Number(choice.end) + 1)
  headers.push('Content-Length', String(part.byteLength), 'Content-Range', contentRange(choice, size))
  return { status: 206, headers, body: { kind: 'whole', bytes: part } }
}
