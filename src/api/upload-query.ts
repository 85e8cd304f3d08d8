import { type Attributes, chunkBytesMax, chunkBytesMin, type Profile, profiles } from '../content/put.ts'
import { AppError } from '../errors.ts'
import { parseBytes } from '../lib/units.ts'
import { parseRfc3339, parseSeconds, type UnixTime } from '../lib/unix-time.ts'

export type UploadKind = 'file' | 'archive' | 'car'

/** What a query says about an upload; the same names as in the query. */
export interface UploadQuery {
  readonly profile: Profile
  readonly chunkBytes?: number
  readonly rawLeaves?: boolean
  readonly trickle?: boolean
  readonly wrap?: boolean
  readonly hidden?: boolean
  readonly filename?: string
  /** Of a CAR: it is only a bag of blocks. */
  readonly partial: boolean
  /** Of a single file. */
  readonly attributes: Attributes
  /** Whether an archive's own attributes are kept. */
  readonly keep: { readonly mode: boolean; readonly mtime: boolean }
}

/** What each name takes, in words, by the kind of upload that knows it. */
const takes: Readonly<Record<UploadKind, Readonly<Record<string, string>>>> = {
  file: {
    profile: profiles.join(' or '),
    chunk: `bytes of a chunk, ${chunkBytesMin} to ${chunkBytesMax}, like 262144 or 256KiB`,
    'raw-leaves': 'true or false',
    trickle: 'true or false',
    wrap: 'true or false; true needs filename',
    filename: 'one name, without slashes; needs wrap=true',
    hidden: 'true or false',
    mode: 'octal permission bits, like 0644',
    mtime: 'an RFC 3339 time or seconds since 1970, with up to nine digits of a fraction',
  },
  archive: {
    profile: profiles.join(' or '),
    chunk: `bytes of a chunk, ${chunkBytesMin} to ${chunkBytesMax}, like 262144 or 256KiB`,
    'raw-leaves': 'true or false',
    trickle: 'true or false',
    wrap: 'true or false',
    hidden: 'true or false',
    mode: 'true or false: keep the permission bits of the entries',
    mtime: 'true or false: keep the times of the entries',
  },
  car: { partial: 'true or false; true stores the blocks without asking whether anything is missing' },
}

/**
 * @param also what is allowed beside and was taken out before: for the hint
 * @throws AppError REQUEST_INVALID that says what is allowed
 */
export function parseUploadQuery(query: URLSearchParams, kind: UploadKind, also: readonly string[] = []): UploadQuery {
  const value = readerOf(query, kind, also)
  const flag = (name: string) => value(name, flagOf)
  const keeps = kind === 'archive'
  const filename = kind === 'file' ? value('filename', filenameOf) : undefined
  const wrap = flag('wrap')
  if (kind === 'file' && (wrap === true) !== (filename !== undefined)) {
    throw new AppError('REQUEST_INVALID', 'wrap=true and filename=<name> belong together')
  }
  const mode = keeps || kind === 'car' ? undefined : value('mode', modeOf)
  const mtime = keeps || kind === 'car' ? undefined : value('mtime', timeOf)
  const keep = { mode: keeps && flag('mode') === true, mtime: keeps && flag('mtime') === true }
  const hasAttributes = mode !== undefined || mtime !== undefined || keep.mode || keep.mtime
  return {
    profile: value('profile', (text) => profiles.find((profile) => profile === text)) ?? 'unixfs-v1-2025',
    ...defined({
      chunkBytes: value('chunk', chunkOf),
      // As in Kubo, where attributes switch raw leaves off.
      rawLeaves: flag('raw-leaves') ?? (hasAttributes ? false : undefined),
      trickle: flag('trickle'),
      wrap,
      hidden: flag('hidden'),
      filename,
    }),
    attributes: defined({ mode, mtime }),
    partial: kind === 'car' && flag('partial') === true,
    keep,
  }
}

/** Reads one name of the query; refuses what is unknown, given twice, or not read by `parse`. */
function readerOf(query: URLSearchParams, kind: UploadKind, also: readonly string[]) {
  const allowed = takes[kind]
  const names = Object.keys(allowed)
  for (const name of new Set(query.keys())) {
    if (!names.includes(name)) {
      throw new AppError('REQUEST_INVALID', `unknown parameter or field ${shown(name)} for this content type`, {
        hint: `allowed here: ${[...also, ...names].join(', ')}`,
      })
    }
    if (query.getAll(name).length > 1) throw new AppError('REQUEST_INVALID', `parameter ${name} is given twice`)
  }
  return <T>(name: string, parse: (text: string) => T | undefined): T | undefined => {
    const text = query.get(name)
    if (text === null) return undefined
    const value = parse(text)
    if (value !== undefined) return value
    throw new AppError('REQUEST_INVALID', `${name}=${shown(text)} is not allowed`, {
      hint: `${name}: ${allowed[name]}`,
    })
  }
}

const shown = (text: string) => JSON.stringify(text.slice(0, 100))

/** A name alone means true, as `?wrap` does. */
function flagOf(text: string): boolean | undefined {
  if (text === '' || text === 'true' || text === '1') return true
  return text === 'false' || text === '0' ? false : undefined
}

function chunkOf(text: string): number | undefined {
  const bytes = parseBytes(text)
  return bytes !== undefined && bytes >= chunkBytesMin && bytes <= chunkBytesMax ? bytes : undefined
}

function filenameOf(text: string): string | undefined {
  const bytes = Buffer.byteLength(text)
  const safe = bytes > 0 && bytes <= 255 && text !== '.' && text !== '..' && !/[/\0]/.test(text)
  return safe ? text : undefined
}

function modeOf(text: string): number | undefined {
  return /^[0-7]{3,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777 ? Number.parseInt(text, 8) : undefined
}

/** Digits that would be lost are refused: the CID would be that of another time. */
function timeOf(text: string): UnixTime | undefined {
  return /\.\d{10}/.test(text) ? undefined : (parseSeconds(text) ?? parseRfc3339(text))
}

/** The same without what is undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
