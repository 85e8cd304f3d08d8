import { fileTypeFromBuffer } from 'file-type'
import { lookup } from 'mime-types'
import { ByteLru } from '../lib/lru.ts'
import { octetStream } from '../lib/media-type.ts'
import { KiB, MiB } from '../lib/units.ts'

/** What file-type looks at, and enough to tell text from bytes. */
export const sniffBytes = 4100

/**
 * Names that the registry gives to something rare: `.ts` is an MPEG stream there, `.rs` an XML service list. The bytes
 * decide (an MPEG stream has its marks).
 */
const ambiguousExtensions: ReadonlySet<string> = new Set(['ts', 'mts', 'cts', 'rs'])

/** By the extension; undefined when it tells nothing. Text is UTF-8. */
export function mediaTypeOfName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  const dot = name.lastIndexOf('.')
  if (dot < 0) return undefined
  const extension = name.slice(dot + 1).toLowerCase()
  if (ambiguousExtensions.has(extension)) return undefined
  const type = lookup(extension)
  if (type === false) return undefined
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type
}

/** `first` are the first bytes of the content, `complete` tells that there are no more. */
export async function mediaTypeOfBytes(first: Uint8Array, complete: boolean): Promise<string> {
  if (first.byteLength === 0) return 'text/plain; charset=utf-8'
  const detected = await fileTypeFromBuffer(first.subarray(0, sniffBytes))
  if (detected !== undefined && detected.mime !== 'application/xml') return detected.mime
  const text = textOf(first, complete)
  if (text === undefined) return detected?.mime ?? octetStream
  const start = text.trimStart().slice(0, 256).toLowerCase()
  if (start.startsWith('<!doctype html') || start.startsWith('<html')) return 'text/html; charset=utf-8'
  if (start.startsWith('<svg') || (detected !== undefined && /<svg[\s>]/i.test(text))) return 'image/svg+xml'
  if (detected !== undefined) return detected.mime
  return looksLikeJson(text, complete) ? 'application/json' : 'text/plain; charset=utf-8'
}

/** Undefined when it is not UTF-8 text; a character that the window cuts through does not count. */
function textOf(first: Uint8Array, complete: boolean): string | undefined {
  const window = first.subarray(0, sniffBytes)
  if (window.some(isBinary)) return undefined
  const partial = !complete || first.byteLength > sniffBytes
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(window, { stream: partial })
  } catch {
    return undefined
  }
}

/** Control characters that no text holds: white space and escape (which colours logs) are fine. */
function isBinary(byte: number): boolean {
  return byte < 0x20 && (byte < 0x09 || byte > 0x0d) && byte !== 0x1b
}

function looksLikeJson(text: string, complete: boolean): boolean {
  if (!/^\s*[[{]/.test(text)) return false
  if (!complete || text.length >= sniffBytes) {
    return /^\s*(\{\s*"|\[\s*(["[{\d-]|true\b|false\b|null\b))/.test(text)
  }
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Remembers what bytes turned out to be: content never changes, and looking costs more than sending a small file. */
export class MediaTypes {
  readonly #byCid = new ByteLru<string>(1 * MiB)

  known(cid: string): string | undefined {
    return this.#byCid.get(cid)
  }

  async learn(cid: string, first: Uint8Array, complete: boolean): Promise<string> {
    const type = await mediaTypeOfBytes(first, complete)
    this.#byCid.set(cid, type, KiB / 4)
    return type
  }
}
