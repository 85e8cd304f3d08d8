import type { Abortable, Attributes, ImportEntry } from '../content/put.ts'
import { AppError } from '../errors.ts'
import { ByteReader } from '../lib/byte-reader.ts'
import { collect } from '../lib/streams.ts'
import { KiB } from '../lib/units.ts'
import { type PartHeaders, parsePartHeaders } from './part-headers.ts'
import type { Keep } from './read-tar.ts'

/** RFC 2046 §5.1.1. */
const boundaryCharactersMax = 70
const headerBytesMax = 32 * KiB
const targetBytesMax = 4 * KiB
const endOfHeaders = Buffer.from('\r\n\r\n')

/** Of a text field's value: enough for all that mean something. */
const fieldBytesMax = 8 * KiB
const fieldsMax = 64

export interface Multipart {
  /** The text fields before the first file, in their order. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** Once. */
  entries(keep: Keep): AsyncGenerator<ImportEntry>
}

/**
 * The parts of a multipart/form-data body, pulled: each is a file at the path that its `filename` gives. Parts of type
 * application/x-directory and application/symlink are what they say (as Kubo's clients send them). What has no filename is a
 * text field; these come before the files, as what they say of them has to be known by then. A file of no name and no bytes
 * is what a browser sends where none was chosen, and left out. The body is read to its very end before the entries end, so
 * nothing is taken for complete that was cut short.
 * Our own, because busboy (3.2.6) shows no headers of a part but three, and pushes.
 * @throws AppError REQUEST_INVALID; so does reading the entries
 */
export async function readMultipart(
  source: AsyncIterable<Uint8Array>,
  boundary: string | undefined,
  { signal }: Abortable,
): Promise<Multipart> {
  if (boundary === undefined || boundary === '' || boundary.length > boundaryCharactersMax) {
    throw new AppError('REQUEST_INVALID', 'multipart/form-data without a boundary')
  }
  const reader = new ByteReader(source, signal)
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  const fields: [string, string][] = []
  const next = async (): Promise<Part | undefined> => {
    if (!(await startsPart(reader))) return undefined
    return { headers: parsePartHeaders(await takeHeaders(reader)), content: new PartContent(reader, delimiter) }
  }
  try {
    await skipPreamble(reader, delimiter)
    let part = await next()
    for (; part?.headers.field !== undefined; part = await next()) fields.push(await fieldOf(part, fields.length))
    return { fields, entries: (keep) => entriesOf(reader, part, next, keep) }
  } catch (error) {
    await reader.close()
    throw error
  }
}

interface Part {
  readonly headers: PartHeaders
  readonly content: PartContent
}

async function* entriesOf(
  reader: ByteReader,
  first: Part | undefined,
  next: () => Promise<Part | undefined>,
  keep: Keep,
): AsyncGenerator<ImportEntry> {
  try {
    for (let part = first; part !== undefined; part = await next()) {
      const { headers, content } = part
      if (headers.field !== undefined) throw fieldBehindFile(headers.field)
      if (headers.path !== '' || !(await content.isEmpty())) yield await entryOf(headers, content, keep)
      await content.finish()
    }
    while (await reader.fill(1)) await reader.skip(reader.available)
  } finally {
    await reader.close()
  }
}

async function fieldOf({ headers: { field = '' }, content }: Part, before: number): Promise<[string, string]> {
  const shown = JSON.stringify(field.slice(0, 100))
  if (before >= fieldsMax) throw new AppError('REQUEST_INVALID', `the form has more than ${fieldsMax} text fields`)
  const bytes = await collect(content, fieldBytesMax).catch((error: unknown) => {
    if (!(error instanceof RangeError)) throw error
    throw new AppError('REQUEST_INVALID', `the field ${shown} is longer than ${fieldBytesMax} bytes`, {
      cause: error,
      hint: 'what is to be stored needs a filename (curl: -F file=@path)',
    })
  })
  await content.finish()
  try {
    return [field, new TextDecoder('utf-8', { fatal: true }).decode(bytes)]
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', `the field ${shown} is not UTF-8`, { cause })
  }
}

const fieldBehindFile = (field: string) =>
  new AppError('REQUEST_INVALID', `the field ${JSON.stringify(field.slice(0, 100))} comes behind a file`, {
    hint: 'text fields come before the files; what is to be stored needs a filename',
  })

const cutShort = () => new AppError('REQUEST_INVALID', 'the multipart body is cut short')

/** Up to and with the first delimiter, which has no line before it when the body starts with it. */
async function skipPreamble(reader: ByteReader, delimiter: Buffer): Promise<void> {
  const first = delimiter.subarray(2)
  if ((await reader.fill(first.byteLength)) && first.equals(reader.peek(first.byteLength))) {
    await reader.skip(first.byteLength)
    return
  }
  await new PartContent(reader, delimiter).finish()
}

/** After a delimiter: `--` ends the body, a line end starts a part. */
async function startsPart(reader: ByteReader): Promise<boolean> {
  const mark = await reader.take(2)
  if (mark === undefined) throw cutShort()
  if (mark[0] === 0x2d && mark[1] === 0x2d) return false
  let rest: Uint8Array | undefined = mark
  // RFC 2046: white space may follow the boundary.
  while (rest !== undefined && (rest[0] === 0x20 || rest[0] === 0x09)) {
    const next = await reader.take(1)
    rest = next === undefined ? undefined : Buffer.concat([rest.subarray(1), next])
  }
  if (rest?.[0] === 0x0d && rest[1] === 0x0a) return true
  throw new AppError('REQUEST_INVALID', 'the multipart body has a malformed delimiter')
}

function viewOf(reader: ByteReader, bytes: number): Buffer {
  const view = reader.peek(bytes)
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}

async function takeHeaders(reader: ByteReader): Promise<Uint8Array> {
  for (;;) {
    const here = viewOf(reader, Math.min(reader.available, headerBytesMax))
    const end = here.indexOf(endOfHeaders)
    if (end !== -1) {
      const headers = await reader.take(end)
      await reader.skip(endOfHeaders.byteLength)
      if (headers === undefined) throw cutShort()
      return headers
    }
    if (here.byteLength === headerBytesMax) throw new AppError('REQUEST_INVALID', 'a part has oversized headers')
    if (!(await reader.fill(here.byteLength + 1))) throw cutShort()
  }
}

async function entryOf(headers: PartHeaders, content: PartContent, keep: Keep): Promise<ImportEntry> {
  const { path } = headers
  const attributes: Attributes = {
    ...(keep.mode && headers.mode !== undefined ? { mode: headers.mode } : {}),
    ...(keep.mtime && headers.mtime !== undefined ? { mtime: headers.mtime } : {}),
  }
  switch (headers.mediaType) {
    case 'application/x-directory':
      return { kind: 'directory', path, attributes }
    case 'application/symlink': {
      const target = Buffer.from(await collect(content, targetBytesMax).catch(targetTooLong)).toString('utf8')
      return { kind: 'symlink', path, target, attributes }
    }
    default:
      return { kind: 'file', path, content, attributes }
  }
}

function targetTooLong(error: unknown): never {
  if (!(error instanceof RangeError)) throw error
  throw new AppError('REQUEST_INVALID', `a symlink's target is longer than ${targetBytesMax} bytes`, { cause: error })
}

/** The bytes up to the next delimiter, which is used up too. */
class PartContent implements AsyncIterable<Uint8Array> {
  readonly #reader: ByteReader
  readonly #delimiter: Buffer
  #ended = false

  constructor(reader: ByteReader, delimiter: Buffer) {
    this.#reader = reader
    this.#delimiter = delimiter
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (let bytes = await this.#here(); bytes > 0; bytes = await this.#here()) {
      const part = await this.#reader.take(bytes)
      if (part === undefined) throw cutShort()
      yield part
    }
  }

  async isEmpty(): Promise<boolean> {
    return (await this.#here()) === 0
  }

  async finish(): Promise<void> {
    for (let bytes = await this.#here(); bytes > 0; bytes = await this.#here()) await this.#reader.skip(bytes)
  }

  /** How many bytes of content are here; 0 at the end of the part. */
  async #here(): Promise<number> {
    while (!this.#ended) {
      if (!(await this.#reader.fill(this.#delimiter.byteLength))) throw cutShort()
      const here = viewOf(this.#reader, this.#reader.available)
      const at = here.indexOf(this.#delimiter)
      if (at > 0) return at
      if (at === -1) return here.byteLength - this.#delimiter.byteLength + 1
      await this.#reader.skip(this.#delimiter.byteLength)
      this.#ended = true
    }
    return 0
  }
}
