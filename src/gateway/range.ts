import type { ByteRange } from '../content/get.ts'

/** RFC 9110 §14: the part to send, `whole` where the header is to be ignored, or 416. */
export type RangeChoice = 'whole' | 'unsatisfiable' | ByteRange

/** A longer header is ignored: nobody needs it, and the digits below are parsed at full precision. */
const headerBytesMax = 8192

/**
 * `size` in bytes. What is not a valid list of byte ranges is ignored, as the RFC demands (`5-2`, `items=0-1`, `x`).
 * Of several ranges the first that can be met is sent, alone; so the reply is never longer than the content.
 * A range of empty content is ignored: some clients add one to every request.
 */
export function chooseRange(header: string | undefined, size: bigint): RangeChoice {
  if (header === undefined || header.length > headerBytesMax) return 'whole'
  const list = /^bytes=(.*)$/i.exec(header.trim())?.[1]
  if (list === undefined || size === 0n) return 'whole'
  let choice: RangeChoice | undefined
  for (const item of list.split(',')) {
    const range = rangeOf(item.trim(), size)
    if (range === undefined) return 'whole'
    if (choice === undefined && range !== 'unsatisfiable') choice = range
  }
  return choice ?? 'unsatisfiable'
}

/** Undefined when it is not a range. */
function rangeOf(text: string, size: bigint): ByteRange | 'unsatisfiable' | undefined {
  const match = /^(\d*)-(\d*)$/.exec(text)
  if (match === null) return undefined
  const [, first = '', last = ''] = match
  if (first === '') {
    if (last === '') return undefined
    const length = BigInt(last)
    if (length === 0n) return 'unsatisfiable'
    return { start: length > size ? 0n : size - length, end: size - 1n }
  }
  const start = BigInt(first)
  const end = last === '' ? size - 1n : BigInt(last)
  if (last !== '' && end < start) return undefined
  if (start >= size) return 'unsatisfiable'
  return { start, end: end < size ? end : size - 1n }
}

/** If-Range holds only for the strong entity tag of what would be sent; a weak tag or a date means: send all. */
export function ifRangeHolds(header: string | undefined, etag: string): boolean {
  return header === undefined || (header.trim() === etag && !etag.startsWith('W/'))
}

export function contentRange(range: ByteRange, size: bigint): string {
  return `bytes ${range.start}-${range.end}/${size}`
}
