import { AppError } from '../errors.ts'
import type { UnixTime } from '../lib/unix-time.ts'

export interface PartHeaders {
  /** Of a text field, which has no filename: its name. Undefined of a file. */
  readonly field?: string
  readonly path: string
  readonly mediaType: string
  readonly mode: number | undefined
  readonly mtime: UnixTime | undefined
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** What Kubo's clients send percent-encoded by rule; other senders encode no more than WHATWG's form data asks for. */
const kuboTypes: readonly string[] = ['application/x-directory', 'application/symlink']

/**
 * The headers of one part, without the empty line after them.
 * @throws AppError REQUEST_INVALID
 */
export function parsePartHeaders(bytes: Uint8Array): PartHeaders {
  const headers = headerMap(bytes)
  const disposition = headers.get('content-disposition') ?? ''
  if (!/^form-data\s*(;|$)/i.test(disposition)) {
    throw new AppError('REQUEST_INVALID', 'a part of the body has no Content-Disposition: form-data')
  }
  const parameters = parseParameters(disposition)
  const mediaType = (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (!parameters.has('filename') && !parameters.has('filename*')) {
    return { field: parameters.get('name') ?? '', path: '', mediaType, mode: undefined, mtime: undefined }
  }
  const encoded = kuboTypes.includes(mediaType) || headers.has('abspath-encoded') || headers.has('abspath')
  const path = pathOf(parameters, encoded)
  const transfer = headers.get('content-transfer-encoding')?.toLowerCase() ?? 'binary'
  if (!['binary', '8bit', '7bit'].includes(transfer)) {
    throw new AppError('REQUEST_INVALID', `part ${JSON.stringify(path)} has a Content-Transfer-Encoding`)
  }
  return { path, mediaType, ...attributesOf(parameters.get('name') ?? '') }
}

function pathOf(parameters: ReadonlyMap<string, string>, encoded: boolean): string {
  const extended = parameters.get('filename*')
  const plain = parameters.get('filename')
  const language = extended === undefined ? undefined : /^utf-8'[^']*'(.*)$/i.exec(extended)
  if (language?.[1] !== undefined) return percentDecoded(language[1])
  if (plain === undefined) throw new AppError('REQUEST_INVALID', 'the filename* of a part is not UTF-8')
  if (encoded) return percentDecoded(plain.replaceAll('+', ' '))
  return plain.replace(/%22|%0d|%0a/gi, (sequence) => decodeURIComponent(sequence))
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'the filename of a part has a percent-encoding that is not UTF-8', { cause })
  }
}

function headerMap(bytes: Uint8Array): Map<string, string> {
  const headers = new Map<string, string>()
  for (const line of decoded(bytes).split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  return headers
}

function decoded(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'the headers of a part are not UTF-8', { cause })
  }
}

/** `; name="value"` or `; name=value`; in quotes a backslash makes the next quote or backslash literal, as curl sends it. */
export function parseParameters(header: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const match of header.matchAll(/;\s*([^=;\s"]+)\s*=\s*(?:"((?:\\["\\]|[^"])*)"|([^;\s]*))/g)) {
    const [, name = '', quoted, bare = ''] = match
    const value = quoted === undefined ? bare : quoted.replace(/\\(["\\])/g, '$1')
    parameters.set(name.toLowerCase(), value)
  }
  return parameters
}

/** Kubo's clients put them behind the name of the field: `file?mode=0644&mtime=1700000000&mtime-nsecs=5`. */
function attributesOf(name: string): Pick<PartHeaders, 'mode' | 'mtime'> {
  const query = new URLSearchParams(name.includes('?') ? name.slice(name.indexOf('?') + 1) : '')
  const mode = query.get('mode') ?? ''
  const seconds = query.get('mtime') ?? ''
  const nanoseconds = query.get('mtime-nsecs') ?? ''
  const nsecs = /^\d{1,9}$/.test(nanoseconds) ? Number(nanoseconds) : 0
  return {
    mode: /^[0-7]{3,6}$/.test(mode) ? Number.parseInt(mode, 8) & 0o7777 : undefined,
    mtime: /^-?\d{1,12}$/.test(seconds) ? { secs: BigInt(seconds), nsecs } : undefined,
  }
}
