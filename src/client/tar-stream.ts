import { KiB } from '../lib/units.ts'
import { readFile, readSmallFile } from './local-file.ts'
import type { LocalEntry } from './local-tree.ts'

const recordBytes = 512
/** Small files gather in a buffer of this size before they are handed on. */
const gatherBytes = 256 * KiB
const smallFileBytesMax = 64 * KiB

const typeFlags = { file: '0', symlink: '2', directory: '5', pax: 'x' } as const

export interface TarOptions {
  /** Keep times, to the millisecond. It costs 1 KiB an entry, and without it the same tree is the same bytes. */
  readonly mtime: boolean
}

/**
 * The entries as a tar: POSIX ustar, with a pax header where a path, a link, a size or a time does not fit it (IEEE Std
 * 1003.1, "pax"). No owner, no group, nothing of this machine.
 * Memory: one gathering buffer and one read buffer. @throws AppError FILE_UNUSABLE when a file changes under it
 */
export async function* tarStream(entries: Iterable<LocalEntry>, options: TarOptions): AsyncGenerator<Uint8Array> {
  let gathered = Buffer.allocUnsafeSlow(gatherBytes)
  let filled = 0
  const take = (): Uint8Array => {
    const part = gathered.subarray(0, filled)
    gathered = Buffer.allocUnsafeSlow(gatherBytes)
    filled = 0
    return part
  }
  for (const entry of entries) {
    const headers = headersOf(entry, options)
    const small = entry.size <= smallFileBytesMax
    const inline = headers.byteLength + (small ? padded(entry.size) : 0)
    if (filled + inline > gathered.byteLength && filled > 0) yield take()
    if (inline > gathered.byteLength) {
      // A path of many kilobytes: rare, and correct.
      yield headers
    } else {
      filled += headers.copy(gathered, filled)
    }
    if (entry.kind !== 'file') continue
    if (small) {
      readSmallFile(entry, gathered, filled)
      gathered.fill(0, filled + entry.size, filled + padded(entry.size))
      filled += padded(entry.size)
    } else {
      if (filled > 0) yield take()
      yield* readFile(entry)
      yield Buffer.alloc(padded(entry.size) - entry.size)
    }
  }
  if (filled > 0) yield take()
  yield Buffer.alloc(2 * recordBytes)
}

/** Bytes that the tar of these entries has, so that its length can be announced. */
export function tarBytes(entries: Iterable<LocalEntry>, options: TarOptions): number {
  let bytes = 2 * recordBytes
  for (const entry of entries) bytes += headersOf(entry, options).byteLength + padded(entry.size)
  return bytes
}

function padded(bytes: number): number {
  return Math.ceil(bytes / recordBytes) * recordBytes
}

function headersOf(source: LocalEntry, options: TarOptions): Buffer {
  const entry = options.mtime ? source : { ...source, mtimeMs: 0 }
  const path = entry.kind === 'directory' ? `${entry.path === '' ? '.' : entry.path}/` : entry.path
  const target = entry.target ?? ''
  const records: [string, string][] = []
  if (!fits(path, 100)) records.push(['path', path])
  if (!fits(target, 100)) records.push(['linkpath', target])
  if (entry.size > 0o77777777777) records.push(['size', String(entry.size)])
  // Whole seconds fit the header; the rest of a time needs pax, and so do times before 1970.
  const wholeSeconds = entry.mtimeMs >= 0 && entry.mtimeMs % 1000 === 0
  if (!wholeSeconds) records.push(['mtime', (entry.mtimeMs / 1000).toFixed(3)])
  const own = header(typeFlags[entry.kind], path, entry, target)
  if (records.length === 0) return own
  const body = Buffer.from(records.map(([key, value]) => paxRecord(key, value)).join(''))
  const pax = header(typeFlags.pax, 'pax', { size: body.byteLength, mode: 0o644, mtimeMs: 0 }, '')
  return Buffer.concat([pax, body, Buffer.alloc(padded(body.byteLength) - body.byteLength), own])
}

/** Whether an ustar field of `bytesMax` holds the text; other than ASCII goes to pax, which is UTF-8 by definition. */
function fits(text: string, bytesMax: number): boolean {
  return text.length <= bytesMax && /^[\x20-\x7e]*$/.test(text)
}

/** `<length> <key>=<value>\n`, where the length counts itself, in bytes. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`)
  let length = rest + String(rest).length
  if (String(length).length > String(rest).length) length = rest + String(length).length
  return `${length} ${key}=${value}\n`
}

function header(
  typeFlag: string,
  path: string,
  attributes: Pick<LocalEntry, 'size' | 'mode' | 'mtimeMs'>,
  target: string,
): Buffer {
  const block = Buffer.alloc(recordBytes)
  const { size, mode, mtimeMs } = attributes
  block.write(fits(path, 100) ? path : asciiOf(path), 0, 100, 'latin1')
  block.write(octal(mode & 0o7777, 7), 100, 'latin1')
  block.write(octal(0, 7), 108, 'latin1')
  block.write(octal(0, 7), 116, 'latin1')
  block.write(octal(size > 0o77777777777 ? 0 : size, 11), 124, 'latin1')
  block.write(octal(Math.max(0, Math.floor(mtimeMs / 1000)), 11), 136, 'latin1')
  block.write('        ', 148, 'latin1')
  block.write(typeFlag, 156, 'latin1')
  block.write(fits(target, 100) ? target : asciiOf(target), 157, 100, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${octal(sum, 6)}\0 `, 148, 'latin1')
  return block
}

/** What a reader without pax sees: recognisable, and never an escape sequence. */
function asciiOf(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '_').slice(0, 100)
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
