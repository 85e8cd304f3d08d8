import { AppError } from '../errors.ts'

export const tarRecordBytes = 512

export interface TarHeader {
  readonly path: string
  /** Of a link. */
  readonly target: string
  readonly size: number
  /** Permission bits. */
  readonly mode: number
  /** Seconds since 1970. */
  readonly mtime: number
  /** The type flag; that of old files without one is `0`. */
  readonly type: string
}

/**
 * One header record: POSIX ustar, GNU or V7.
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 * @throws AppError REQUEST_INVALID
 */
export function parseTarHeader(record: Uint8Array): TarHeader {
  checkSum(record)
  const type = String.fromCharCode(record[156] || 0x30)
  const posix = Buffer.from(record.subarray(257, 263)).toString('latin1') === 'ustar\0'
  const name = tarText(record.subarray(0, 100))
  const prefix = posix ? tarText(record.subarray(345, 500)) : ''
  const hasContent = type === '0' || type === '7' || 'xgLKV'.includes(type)
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    target: tarText(record.subarray(157, 257)),
    // Links and directories may give a size, but have no content.
    size: hasContent ? tarSize(record.subarray(124, 136)) : 0,
    mode: tarNumber(record.subarray(100, 108)) & 0o7777,
    mtime: tarNumber(record.subarray(136, 148)),
    type,
  }
}

/** The sum of all bytes, its own field counted as spaces. */
function checkSum(record: Uint8Array): void {
  if (record[0] === 0x1f && record[1] === 0x8b) {
    throw new AppError('REQUEST_INVALID', 'the tar is compressed', { hint: 'send it uncompressed' })
  }
  let sum = 0
  for (const [index, byte] of record.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte
  if (sum !== tarNumber(record.subarray(148, 156))) throw notATar()
}

const notATar = () =>
  new AppError('REQUEST_INVALID', 'the body is not a tar, or a damaged one', {
    hint: 'raw bytes of one file go without the content type of a tar',
  })

/** Octal digits, or base 256 when the first bit is set (GNU). */
function tarNumber(field: Uint8Array): number {
  const first = field[0] ?? 0
  if ((first & 0x80) !== 0) {
    let value = first === 0xff ? -1 : first & 0x7f
    for (const byte of field.subarray(1)) value = value * 256 + byte
    if (Number.isSafeInteger(value)) return value
    throw new AppError('REQUEST_INVALID', 'the tar has a number beyond all bounds')
  }
  const text = Buffer.from(field)
    .toString('latin1')
    .replace(/[\0 ]+$/g, '')
    .trimStart()
  if (text === '') return 0
  if (/^[0-7]+$/.test(text)) return Number.parseInt(text, 8)
  throw notATar()
}

/** Base 256 knows negative numbers; only times may be that. */
function tarSize(field: Uint8Array): number {
  const size = tarNumber(field)
  if (size >= 0) return size
  throw new AppError('REQUEST_INVALID', 'the tar has a negative number for a size')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A text field up to its NUL. @throws AppError REQUEST_INVALID when it is not UTF-8 */
export function tarText(field: Uint8Array): string {
  const end = field.indexOf(0)
  return decodeText(end === -1 ? field : field.subarray(0, end))
}

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'a name in the tar is not UTF-8', { cause })
  }
}

/** The records of a pax header: `<length> <key>=<value>\n`, the length in bytes and counting itself. */
export function parsePax(bytes: Uint8Array): Map<string, string> {
  const records = new Map<string, string>()
  for (let at = 0; at < bytes.byteLength; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = space === -1 ? '' : Buffer.from(bytes.subarray(at, space)).toString('latin1')
    const end = at + Number(digits)
    const equals = bytes.indexOf(0x3d, space)
    if (!/^\d{1,7}$/.test(digits) || end > bytes.byteLength || equals <= space || equals >= end) {
      // GNU tar pads some headers with NULs.
      if (bytes.subarray(at).every((byte) => byte === 0)) break
      throw new AppError('REQUEST_INVALID', 'the tar has a damaged pax header')
    }
    records.set(decodeText(bytes.subarray(space + 1, equals)), decodeText(bytes.subarray(equals + 1, end - 1)))
    at = end
  }
  return records
}

/** @throws AppError REQUEST_INVALID */
export function paxNumber(pax: ReadonlyMap<string, string>, key: string): number {
  const text = pax.get(key) ?? ''
  const value = /^-?\d{1,16}(\.\d{1,20})?$/.test(text) ? Number(text) : Number.NaN
  if (Number.isFinite(value) && (key !== 'size' || (Number.isSafeInteger(value) && value >= 0))) return value
  throw new AppError('REQUEST_INVALID', `the tar has a damaged pax header: ${key}`)
}
