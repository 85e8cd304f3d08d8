import { AppError } from '../errors.ts'
import { decodeText } from './tar-header.ts'

/** What pax headers say about an entry; absent where none does. All else in them is skipped unread: it may be no text. */
export interface PaxFields {
  path?: string
  linkpath?: string
  size?: number
  /** Decimal seconds since 1970, as they stand there. */
  mtime?: string
  /** The entry is sparse: what follows is not its content. */
  sparse?: true
}

/**
 * Takes in the records of a pax header, `<length> <key>=<value>\n`, the length in bytes and counting itself; the last of
 * several counts. An empty value takes back what an earlier header said.
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 * @throws AppError REQUEST_INVALID
 */
export function readPax(bytes: Uint8Array, fields: PaxFields): void {
  for (let at = 0; at < bytes.byteLength; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = space === -1 ? '' : Buffer.from(bytes.subarray(at, space)).toString('latin1')
    const end = at + Number(digits)
    const equals = bytes.indexOf(0x3d, space)
    const whole = /^\d{1,7}$/.test(digits) && end <= bytes.byteLength && bytes[end - 1] === 0x0a
    if (!whole || equals <= space || equals >= end) {
      // GNU tar pads some headers with NULs.
      if (bytes.subarray(at).every((byte) => byte === 0)) return
      throw damaged('a record')
    }
    const key = Buffer.from(bytes.subarray(space + 1, equals)).toString('latin1')
    takeRecord(key, bytes.subarray(equals + 1, end - 1), fields)
    at = end
  }
}

/** Keys that mark a sparse file: of GNU tar in all its forms, of star and of Solaris. */
const sparseKeys = /^(?:GNU\.sparse\.|SCHILY\.realsize$|SUN\.holesdata$)/

function takeRecord(key: string, value: Uint8Array, fields: PaxFields): void {
  if (sparseKeys.test(key)) fields.sparse = true
  if (key !== 'path' && key !== 'linkpath' && key !== 'size' && key !== 'mtime') return
  if (value.byteLength === 0) delete fields[key]
  else if (key === 'size') fields.size = sizeOf(decodeText(value))
  else fields[key] = decodeText(value)
}

function sizeOf(text: string): number {
  const size = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(size)) return size
  throw damaged('size')
}

const damaged = (what: string) => new AppError('REQUEST_INVALID', `the tar has a damaged pax header: ${what}`)
