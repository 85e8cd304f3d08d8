import { formatSeconds, type UnixTime } from './unix-time.ts'

export const tarRecordBytes = 512

/** Two empty records: where a tar ends. */
export const tarEndBytes = 2 * tarRecordBytes

const typeFlags = { file: '0', symlink: '2', directory: '5', pax: 'x' } as const

/** The largest size that eleven octal digits hold. */
const octalMax = 0o77777777777n

export interface TarEntry {
  readonly kind: 'file' | 'directory' | 'symlink'
  /** `/` between segments. Of a directory without the slash that ends it in the archive. */
  readonly path: string
  /** Bytes of a file; 0 for others. */
  readonly size: bigint
  /** Permission bits. */
  readonly mode: number
  /** Since 1970; may be negative, or have a fraction. */
  readonly mtimeSeconds: UnixTime
  /** Symlink only. */
  readonly target?: string | undefined
}

/**
 * The records before an entry's content: POSIX ustar, with a pax header where a path, a link, a size or a time does not fit
 * it (IEEE Std 1003.1, "pax"). No owner, no group.
 */
export function tarHeaders(entry: TarEntry): Buffer {
  const path = entry.kind === 'directory' ? `${entry.path}/` : entry.path
  const target = entry.target ?? ''
  const { secs, nsecs } = entry.mtimeSeconds
  const records: [string, string][] = []
  if (!fits(path, 100)) records.push(['path', path])
  if (!fits(target, 100)) records.push(['linkpath', target])
  if (entry.size > octalMax) records.push(['size', String(entry.size)])
  // Whole seconds fit the header; the rest of a time needs pax, and so do times before 1970.
  if (secs < 0n || secs > octalMax || nsecs !== 0) records.push(['mtime', formatSeconds(entry.mtimeSeconds)])
  const own = header(typeFlags[entry.kind], path, { ...entry, secs }, target)
  if (records.length === 0) return own
  const body = Buffer.from(records.map(([key, value]) => paxRecord(key, value)).join(''))
  const pax = header(typeFlags.pax, 'pax', { size: BigInt(body.byteLength), mode: 0o644, secs: 0n }, '')
  return Buffer.concat([pax, body, Buffer.alloc(tarPadding(body.byteLength)), own])
}

/** Zeros after content of so many bytes. */
export function tarPadding(bytes: number | bigint): number {
  const over = Number(BigInt(bytes) % BigInt(tarRecordBytes))
  return over === 0 ? 0 : tarRecordBytes - over
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

interface Fields {
  readonly size: bigint
  readonly mode: number
  readonly secs: bigint
}

function header(typeFlag: string, path: string, { size, mode, secs }: Fields, target: string): Buffer {
  const block = Buffer.alloc(tarRecordBytes)
  block.write(fits(path, 100) ? path : asciiOf(path), 0, 100, 'latin1')
  block.write(octal(BigInt(mode & 0o7777), 7), 100, 'latin1')
  block.write(octal(0n, 7), 108, 'latin1')
  block.write(octal(0n, 7), 116, 'latin1')
  block.write(octal(size > octalMax ? 0n : size, 11), 124, 'latin1')
  block.write(octal(secs < 0n || secs > octalMax ? 0n : secs, 11), 136, 'latin1')
  block.write('        ', 148, 'latin1')
  block.write(typeFlag, 156, 'latin1')
  block.write(fits(target, 100) ? target : asciiOf(target), 157, 100, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${octal(BigInt(sum), 6)}\0 `, 148, 'latin1')
  return block
}

/** What a reader without pax sees: recognisable, and never an escape sequence. */
function asciiOf(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '_').slice(0, 100)
}

function octal(value: bigint, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
