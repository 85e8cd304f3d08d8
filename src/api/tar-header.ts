import { AppError } from '../errors.ts'

export const tarRecordBytes = 512

export interface TarHeader {
  readonly path: string
  /** Of a link. */
  readonly target: string
  readonly size: number
  /** Permission bits. */
  readonly mode: number
  /** Whole seconds since 1970. */
  readonly mtime: number
  /** Whether content follows: links and directories may give a size, but have none. */
  readonly hasContent: boolean
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
    hasContent,
    size: hasContent ? tarSize(record.subarray(124, 136)) : 0,
    mode: tarNumber(record.subarray(100, 108)) & 0o7777,
    mtime: tarNumber(record.subarray(136, 148)),
    type,
  }
}

/** The sum of all bytes, its own field counted as spaces. */
function checkSum(record: Uint8Array): void {
  let sum = 8 * 0x20
  for (let index = 0; index < tarRecordBytes; index++) sum += index >= 148 && index < 156 ? 0 : (record[index] ?? 0)
  if (sum !== sumIn(record)) throw compressed(record) ?? notATar()
}

/** Undefined where the field holds no number, so that it is no header at all. */
function sumIn(record: Uint8Array): number | undefined {
  try {
    return tarNumber(record.subarray(148, 156))
  } catch {
    return undefined
  }
}

/** What compressed tars begin with. A tar may as well, by the name of its first file: so this is asked of what is none. */
const magics: readonly (readonly [string, Buffer])[] = [
  ['gzip', Buffer.from('1f8b', 'hex')],
  ['zstd', Buffer.from('28b52ffd', 'hex')],
  ['xz', Buffer.from('fd377a585a00', 'hex')],
  ['bzip2', Buffer.from('BZh')],
  ['lz4', Buffer.from('04224d18', 'hex')],
  ['lzip', Buffer.from('LZIP')],
  ['compress', Buffer.from('1f9d', 'hex')],
  ['zip', Buffer.from('PK\x03\x04', 'latin1')],
]

/** Undefined where the bytes begin like no compressed file. */
export function compressed(bytes: Uint8Array): AppError | undefined {
  const found = magics.find(([, magic]) => magic.equals(bytes.subarray(0, magic.byteLength)))
  if (found === undefined) return undefined
  return new AppError('REQUEST_INVALID', `the tar is compressed (${found[0]})`, { hint: 'send it uncompressed' })
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

/** @throws AppError REQUEST_INVALID when it is not UTF-8 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'a name in the tar is not UTF-8', { cause })
  }
}
