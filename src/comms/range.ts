import type { ByteRange } from '../content/get.ts'
import { AppError } from '../errors.ts'

/**
 * `bytes=0-99`, `bytes=100-`, `bytes=-100`: one range, as over HTTP, but what is none is an error and not ignored.
 * @throws AppError REQUEST_INVALID | RANGE_UNSATISFIABLE
 */
export function rangeOf(text: string | undefined, size: bigint): ByteRange | undefined {
  if (text === undefined) return undefined
  const match = /^bytes=(\d{0,18})-(\d{0,18})$/.exec(text.trim())
  const [, first = '', last = ''] = match ?? []
  if (
    match === null ||
    (first === '' && last === '') ||
    (first !== '' && last !== '' && BigInt(last) < BigInt(first))
  ) {
    throw new AppError('REQUEST_INVALID', 'the range is not like bytes=0-99, bytes=100- or bytes=-100')
  }
  const start = first === '' ? (BigInt(last) > size ? 0n : size - BigInt(last)) : BigInt(first)
  const end = first === '' || last === '' || BigInt(last) >= size ? size - 1n : BigInt(last)
  if (start > end) {
    throw new AppError('RANGE_UNSATISFIABLE', `the range lies outside of the content, which has ${size} bytes`)
  }
  return { start, end }
}

export const bytesIn = ({ start, end }: ByteRange): number => Number(end - start + 1n)
