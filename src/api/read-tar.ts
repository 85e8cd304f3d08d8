import type { Abortable, Attributes, ImportEntry } from '../content/put.ts'
import { AppError } from '../errors.ts'
import { ByteReader } from '../lib/byte-reader.ts'
import { KiB, MiB } from '../lib/units.ts'
import { parseSeconds, type UnixTime } from '../lib/unix-time.ts'
import { type PaxFields, readPax } from './pax-header.ts'
import { compressed, parseTarHeader, type TarHeader, tarRecordBytes, tarText } from './tar-header.ts'

/** Of a pax header or a GNU long name. */
const metaBytesMax = MiB
const contentPartBytes = 64 * KiB

export interface Keep {
  readonly mode: boolean
  readonly mtime: boolean
}

/** What the headers before an entry say about it. */
interface Extension {
  readonly pax: PaxFields
  longPath?: string
  longTarget?: string
}

/**
 * The entries of a tar, pulled: ustar, pax and GNU long names. A hard link is a copy of the entry it names. The stream is
 * read to its very end before the entries end, so nothing is taken for complete that was cut short.
 * @throws AppError REQUEST_INVALID for what is no tar, is cut short, or holds devices, pipes or sparse files
 */
export async function* readTar(
  source: AsyncIterable<Uint8Array>,
  keep: Keep,
  { signal }: Abortable,
): AsyncGenerator<ImportEntry> {
  const reader = new ByteReader(source, signal)
  const global: PaxFields = {}
  try {
    let extension: Extension = { pax: { ...global } }
    for (let header = await nextHeader(reader); header !== undefined; header = await nextHeader(reader)) {
      if (await readExtension(reader, header, extension, global)) continue
      const size = extension.pax.size ?? header.size
      const content = new EntryContent(reader, header.hasContent ? size : 0)
      const entry = entryOf(header, extension, keep, content)
      if (entry !== undefined) yield entry
      await content.finish()
      extension = { pax: { ...global } }
    }
    while (await reader.fill(1)) await reader.skip(reader.available)
  } finally {
    await reader.close()
  }
}

async function nextHeader(reader: ByteReader): Promise<TarHeader | undefined> {
  // An archive should end with zeros; one that just stops between two entries is complete as well.
  if (!(await reader.fill(1))) {
    if (reader.position === 0) throw new AppError('REQUEST_INVALID', 'the tar is empty')
    return undefined
  }
  if (!(await reader.fill(tarRecordBytes))) {
    throw (reader.position === 0 ? compressed(reader.peek(reader.available)) : undefined) ?? cutShort()
  }
  const record = await reader.take(tarRecordBytes)
  if (record === undefined) throw cutShort()
  return record.every((byte) => byte === 0) ? undefined : parseTarHeader(record)
}

const cutShort = () => new AppError('REQUEST_INVALID', 'the tar is cut short')

/** Takes in a header that is about other entries. @returns false when it is an entry itself */
async function readExtension(
  reader: ByteReader,
  header: TarHeader,
  extension: Extension,
  global: PaxFields,
): Promise<boolean> {
  if (!'xgLKV'.includes(header.type)) return false
  if (header.size > metaBytesMax) throw new AppError('REQUEST_INVALID', 'the tar has an oversized header')
  const bytes = await reader.take(header.size)
  if (bytes === undefined || !(await reader.skip(padding(header.size)))) throw cutShort()
  if (header.type === 'L') extension.longPath = tarText(bytes)
  if (header.type === 'K') extension.longTarget = tarText(bytes)
  if (header.type === 'x' || header.type === 'g') {
    readPax(bytes, extension.pax)
    if (header.type === 'g') readPax(bytes, global)
  }
  return true
}

function entryOf(
  header: TarHeader,
  { pax, longPath, longTarget }: Extension,
  keep: Keep,
  content: EntryContent,
): ImportEntry | undefined {
  const path = pax.path ?? longPath ?? header.path
  const target = pax.linkpath ?? longTarget ?? header.target
  const attributes: Attributes = {
    ...(keep.mode ? { mode: header.mode } : {}),
    ...(keep.mtime ? { mtime: timeOf(pax.mtime ?? String(header.mtime)) } : {}),
  }
  if (pax.sparse === true || header.type === 'S') throw sparse(path)
  switch (header.type) {
    case '0':
    case '7':
      // Old archives mark a directory by its slash alone.
      return path.endsWith('/') ? { kind: 'directory', path, attributes } : { kind: 'file', path, content, attributes }
    case '1':
      return { kind: 'copy', path, source: target }
    case '2':
      return { kind: 'symlink', path, target, attributes }
    case '5':
      return { kind: 'directory', path, attributes }
    default:
      throw new AppError(
        'REQUEST_INVALID',
        `tar entry ${JSON.stringify(path.slice(0, 200))} is of type ${header.type}`,
        {
          hint: 'files, directories, symlinks and hard links can be imported',
        },
      )
  }
}

/** What follows its header is a map of its parts and those parts: as content it would be another file. */
function sparse(path: string): AppError {
  return new AppError('REQUEST_INVALID', `tar entry ${JSON.stringify(path.slice(0, 200))} is a sparse file`, {
    hint: 'make the tar without holes: tar without --sparse (-S), bsdtar with --no-read-sparse',
  })
}

/** @throws AppError REQUEST_INVALID */
function timeOf(seconds: string): UnixTime {
  const time = parseSeconds(seconds)
  if (time !== undefined) return time
  throw new AppError('REQUEST_INVALID', `the tar has a time beyond all bounds, or none: ${seconds.slice(0, 50)}`)
}

const padding = (bytes: number): number => (tarRecordBytes - (bytes % tarRecordBytes)) % tarRecordBytes

class EntryContent implements AsyncIterable<Uint8Array> {
  readonly #reader: ByteReader
  #left: number
  readonly #padding: number

  constructor(reader: ByteReader, size: number) {
    this.#reader = reader
    this.#left = size
    this.#padding = padding(size)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) {
      if (!(await this.#reader.fill(1))) throw cutShort()
      const bytes = Math.min(this.#left, Math.max(this.#reader.available, 1), contentPartBytes)
      const part = await this.#reader.take(bytes)
      if (part === undefined) throw cutShort()
      this.#left -= bytes
      yield part
    }
  }

  /** Skips what was not read, and the padding. */
  async finish(): Promise<void> {
    const skipped = await this.#reader.skip(this.#left + this.#padding)
    this.#left = 0
    if (!skipped) throw cutShort()
  }
}
