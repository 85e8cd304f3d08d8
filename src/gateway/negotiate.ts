import type { CarParams } from '../content/get.ts'
import { AppError } from '../errors.ts'
import { carParams, dependsOnAccept } from './car-params.ts'
import type { Query } from './request.ts'

/** The IPLD codecs that can be asked for by name (IPIP-328, without the conversions that IPIP-524 took away). */
export type CodecFormat = 'json' | 'cbor' | 'dag-json' | 'dag-cbor'

/** `fromAccept`: the URL alone would give another answer, so the reply tells its own URL in Content-Location. */
export type Format =
  | { readonly kind: 'unixfs' /** Asked for as a page: dag-json and dag-cbor are shown. */; readonly html: boolean }
  | { readonly kind: 'raw'; readonly fromAccept: boolean }
  | { readonly kind: 'car'; readonly params: CarParams; readonly fromAccept: boolean }
  | { readonly kind: 'codec'; readonly codec: CodecFormat; readonly fromAccept: boolean }
  | { readonly kind: 'tar'; readonly fromAccept: boolean }
  | { readonly kind: 'ipns-record'; readonly fromAccept: boolean }

type FormatName = 'raw' | 'car' | CodecFormat

const formatOfMediaType: ReadonlyMap<string, FormatName | 'tar' | 'ipns-record'> = new Map([
  ['application/vnd.ipld.raw', 'raw'],
  ['application/vnd.ipld.car', 'car'],
  ['application/vnd.ipld.dag-json', 'dag-json'],
  ['application/vnd.ipld.dag-cbor', 'dag-cbor'],
  ['application/json', 'json'],
  ['application/cbor', 'cbor'],
  ['application/x-tar', 'tar'],
  ['application/vnd.ipfs.ipns-record', 'ipns-record'],
])
const formatNames: ReadonlySet<string> = new Set(formatOfMediaType.values())

/** More than any browser sends; parsing is linear, but nobody means it (bad-input 43). */
const acceptBytesMax = 4096

const unixfs: Format = Object.freeze({ kind: 'unixfs', html: false })
const unixfsPage: Format = Object.freeze({ kind: 'unixfs', html: true })

/**
 * What to send. `format=` beats `Accept` (IPIP-523); of the types in `Accept` the best-loved one that names a format, the
 * first of equals; anything else, `*` types included, leaves the choice to the content.
 * @throws AppError FORMAT_UNSUPPORTED
 */
export function negotiate(query: Query, accept: string | undefined): Format {
  if (query.format === 'car') return carOfUrl(query, accept)
  if (query.format !== undefined) return ofName(query.format, query, new Map(), false)
  if (accept === undefined || accept === '*/*') return unixfs
  checkLength(accept)
  const html = /text\/html/i.test(accept)
  if (!html && !/application\//i.test(accept)) return unixfs
  const best = preferred(accept)
  if (best === undefined || best.name === 'html') return html ? unixfsPage : unixfs
  return ofName(best.name, query, best.params, true)
}

/** `format=car` leaves it to Accept which CAR, where the URL does not say. */
function carOfUrl(query: Query, accept: string | undefined): Format {
  if (accept === undefined || !/vnd\.ipld\.car/i.test(accept)) return ofName('car', query, new Map(), false)
  checkLength(accept)
  const params = preferred(accept, 'car')?.params ?? new Map()
  return ofName('car', query, params, dependsOnAccept(query, params))
}

function checkLength(accept: string): void {
  if (accept.length <= acceptBytesMax) return
  throw new AppError(
    'FORMAT_UNSUPPORTED',
    `the Accept header has ${accept.length} bytes; the limit is ${acceptBytesMax}`,
  )
}

interface Choice {
  readonly name: string
  readonly params: ReadonlyMap<string, string>
}

/** The best-loved of the types, or of those of the one format `only`. */
function preferred(accept: string, only?: FormatName): Choice | undefined {
  let best: Choice | undefined
  let bestWeight = 0
  for (const item of accept.split(',')) {
    const [mediaType = '', ...rest] = item.split(';').map((part) => part.trim().toLowerCase())
    // `text/html` first and `application/json` further down is a browser-like client that wants the page.
    const name = mediaType === 'text/html' ? 'html' : formatOfMediaType.get(mediaType)
    if (name === undefined || (only !== undefined && name !== only)) continue
    const params = new Map(rest.map((part) => pair(part)))
    const weight = Number(params.get('q') ?? '1')
    if (weight > bestWeight) {
      best = { name, params }
      bestWeight = weight
    }
  }
  return best
}

function pair(part: string): [string, string] {
  const equals = part.indexOf('=')
  return equals < 0
    ? [part, '']
    : [
        part.slice(0, equals).trim(),
        part
          .slice(equals + 1)
          .trim()
          .replace(/^"|"$/g, ''),
      ]
}

function ofName(name: string, query: Query, params: ReadonlyMap<string, string>, fromAccept: boolean): Format {
  if (!formatNames.has(name)) {
    throw new AppError('FORMAT_UNSUPPORTED', 'this format is not known', { hint: 'use format=raw or format=car' })
  }
  switch (name as FormatName | 'tar' | 'ipns-record') {
    case 'raw':
      return { kind: 'raw', fromAccept }
    case 'car':
      return { kind: 'car', params: carParams(query, params), fromAccept }
    case 'json':
    case 'cbor':
    case 'dag-json':
    case 'dag-cbor':
      return { kind: 'codec', codec: name as CodecFormat, fromAccept }
    case 'ipns-record':
      return { kind: 'ipns-record', fromAccept }
    case 'tar':
      return { kind: 'tar', fromAccept }
  }
}
