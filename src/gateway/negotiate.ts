import type { CarParams } from '../content/get.ts'
import { AppError, isAppError } from '../errors.ts'
import { carParams, dependsOnAccept } from './car-params.ts'
import type { Query } from './request.ts'

/** The IPLD codecs that can be asked for by name (IPIP-328, without the conversions that IPIP-524 took away). */
export type CodecFormat = 'json' | 'cbor' | 'dag-json' | 'dag-cbor'

/** `fromAccept`: the URL alone would give another answer, so the reply tells its own URL in Content-Location. */
type Form =
  | {
      readonly kind: 'unixfs'
      /** A page is welcome: dag-json and dag-cbor are shown. */
      readonly html: boolean
      /** The only media types that it may have; left out where any will do. */
      readonly only?: 'text' | 'application'
    }
  | { readonly kind: 'raw'; readonly fromAccept: boolean }
  | { readonly kind: 'car'; readonly params: CarParams; readonly fromAccept: boolean }
  | { readonly kind: 'codec'; readonly codec: CodecFormat; readonly fromAccept: boolean }
  | { readonly kind: 'tar'; readonly fromAccept: boolean }
  | { readonly kind: 'ipns-record'; readonly fromAccept: boolean }

/** `orElse`: what the client takes next, where the content is not to be had in this form. */
export type Format = Form & { readonly orElse?: Format }

type FormatName = 'raw' | 'car' | 'tar' | 'ipns-record' | CodecFormat

const formatOfMediaType: ReadonlyMap<string, FormatName> = new Map([
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

/** Ranges that the content's own form may be in: what a client takes where it does not get a format by name. */
const ownForms: ReadonlyMap<string, Extract<Form, { kind: 'unixfs' }>> = new Map([
  ['text/html', { kind: 'unixfs', html: true }],
  ['*/*', { kind: 'unixfs', html: false }],
  ['text/*', { kind: 'unixfs', html: false, only: 'text' }],
  ['application/*', { kind: 'unixfs', html: false, only: 'application' }],
])

/** More than any browser sends; parsing is linear, but nobody means it (bad-input 43). */
const acceptBytesMax = 4096

const unixfs: Format = Object.freeze({ kind: 'unixfs', html: false })

/**
 * What to send. `format=` beats `Accept` (IPIP-523); the media types of `Accept` go by their weights, of equals the first one,
 * and those that name a format before `*` ones. What says nothing of formats leaves the choice to the content.
 * @throws AppError FORMAT_UNSUPPORTED | REQUEST_INVALID
 */
export function negotiate(query: Query, accept: string | undefined): Format {
  if (query.format === 'car') return carOfUrl(query, accept)
  if (query.format !== undefined) return ofName(query.format, query, new Map(), false)
  if (accept === undefined || accept === '*/*') return unixfs
  checkLength(accept)
  if (!/text\/html|application\//i.test(accept)) return unixfs
  return inOrder(wishesOf(accept), query)
}

/** The first of the wishes, and behind it those that are still to be had where it does not fit. */
function inOrder(wishes: readonly Wish[], query: Query): Format {
  const html = wishes.some(({ range }) => range === 'text/html')
  const formats: Format[] = []
  let refused: unknown
  for (const { range, params } of wishes) {
    const own = ownForms.get(range)
    try {
      formats.push(
        own === undefined ? ofName(formatOfMediaType.get(range) ?? '', query, params, true) : { ...own, html },
      )
    } catch (error) {
      // A CAR of another version is none; a URL that cannot be read is an error, unless it is about something else.
      if (!isAppError(error, 'FORMAT_UNSUPPORTED') && formats.length === 0) throw error
      refused ??= error
    }
  }
  const last = formats.pop()
  if (last !== undefined) return formats.reduceRight<Format>((orElse, format) => ({ ...format, orElse }), last)
  if (refused !== undefined) throw refused
  return unixfs
}

/** `format=car` leaves it to Accept which CAR, where the URL does not say. */
function carOfUrl(query: Query, accept: string | undefined): Format {
  if (accept === undefined || !/vnd\.ipld\.car/i.test(accept)) return ofName('car', query, new Map(), false)
  checkLength(accept)
  const car = wishesOf(accept).find(({ range }) => formatOfMediaType.get(range) === 'car')
  const params = car?.params ?? new Map()
  return ofName('car', query, params, dependsOnAccept(query, params))
}

function checkLength(accept: string): void {
  if (accept.length <= acceptBytesMax) return
  throw new AppError(
    'FORMAT_UNSUPPORTED',
    `the Accept header has ${accept.length} bytes; the limit is ${acceptBytesMax}`,
  )
}

/** A media type of `Accept`. */
interface Wish {
  readonly range: string
  readonly params: ReadonlyMap<string, string>
  readonly weight: number
}

/** The media types that say something of the format, the best-loved first. */
function wishesOf(accept: string): readonly Wish[] {
  const wishes: Wish[] = []
  for (const item of accept.split(',')) {
    const [range = '', ...rest] = item.split(';').map((part) => part.trim().toLowerCase())
    if (!formatOfMediaType.has(range) && !ownForms.has(range)) continue
    const params = new Map(rest.map((part) => pair(part)))
    const weight = Math.min(1, Number(params.get('q') ?? '1'))
    // What is no number is no wish either.
    if (weight > 0) wishes.push({ range, params, weight })
  }
  return wishes.sort((a, b) => b.weight - a.weight || Number(isOpen(a)) - Number(isOpen(b)))
}

const isOpen = ({ range }: Wish): boolean => range.endsWith('*')

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
  switch (name as FormatName) {
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
