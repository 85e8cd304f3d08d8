import type { CarParams } from '../content/get.ts'
import { carSearch } from './car-params.ts'
import type { ContentRequest } from './request.ts'

type Asked = Pick<ContentRequest, 'href' | 'trailingSlash' | 'search'>

/** What `carSearch` says again, of what may stand in a URL. */
const carKeys: ReadonlySet<string> = new Set([
  'format',
  'dag-scope',
  'entity-bytes',
  'car-version',
  'car-order',
  'car-dups',
])
const formatKey: ReadonlySet<string> = new Set(['format'])

/** The URL that gives this CAR, whatever Accept says: the one that was asked for, with its other parameters. */
export function carLocation(asked: Asked, params: CarParams): string {
  return locationOf(asked, carSearch(params), carKeys)
}

/** The URL that gives this format, whatever Accept says: the one that was asked for, with its other parameters. */
export function formatLocation(asked: Asked, format: string): string {
  return locationOf(asked, `format=${format}`, formatKey)
}

function locationOf({ href, trailingSlash, search }: Asked, own: string, ownKeys: ReadonlySet<string>): string {
  const others = search
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '' && !ownKeys.has(keyOf(pair)))
    .map((pair) => `&${pair.replace(/[^\x21-\x7e]/g, escaped)}`)
  return `${href}${trailingSlash ? '/' : ''}?${own}${others.join('')}`
}

const keyOf = (pair: string): string => [...new URLSearchParams(pair).keys()][0] ?? ''

/** Node hands over the bytes of a URL as latin1: one character, one byte. */
const escaped = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
