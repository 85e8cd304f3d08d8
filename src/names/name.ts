import { base16 } from 'multiformats/bases/base16'
import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'

export const nameBytesMax = 1024
/** Beyond this no text is a CID that we read (dag/cid.ts). */
const cidLengthMax = 300

/**
 * A name: 1 to 1,024 bytes of UTF-8 in NFC, segments between `/`, none of them empty, `.` or `..`; no control characters.
 * Its first segment is no CID, so that `<name or CID>/path` has one meaning; it does not end in `@<revision>` or `@<time>`,
 * so that `name@…` has one.
 * @throws AppError NAME_INVALID
 */
export function checkName(name: string): void {
  const problem = problemOf(name)
  if (problem === undefined) return
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name
  throw new AppError('NAME_INVALID', `${JSON.stringify(shown)} is not a name: ${problem}`, {
    hint: 'a name looks like docs/a.txt',
  })
}

export function isName(name: string): boolean {
  return problemOf(name) === undefined
}

function problemOf(name: string): string | undefined {
  if (name.length === 0) return 'it is empty'
  if (name.length > nameBytesMax || Buffer.byteLength(name) > nameBytesMax)
    return `it is longer than ${nameBytesMax} bytes`
  if (/\p{Surrogate}/u.test(name)) return 'it is not valid UTF-8'
  if (/\p{Cc}/u.test(name)) return 'it has a control character'
  if (name.normalize('NFC') !== name) return 'it is not in Unicode normal form C'
  const segments = name.split('/')
  if (segments.includes('')) return 'it has an empty segment (a "/" too many)'
  if (segments.includes('.') || segments.includes('..')) return 'it has a "." or ".." segment'
  if (isCid(segments[0] ?? '')) return 'it begins with a CID'
  if (versionOf(name) !== undefined) return 'it ends like a reference to a version (name@revision or name@time)'
  return undefined
}

const bases = [base32, base36, base16, base58btc, base64, base64url]

/** In any of the spellings that dag/cid.ts reads, and those that it refuses for their hash function. */
function isCid(text: string): boolean {
  if (text.length < 4 || text.length > cidLengthMax) return false
  if (text.startsWith('Qm')) return text.length === 46 && decodes(() => CID.parse(text))
  const caseless = 'bkfBKF'.includes(text.charAt(0))
  const spelled = caseless ? text.toLowerCase() : text
  const base = bases.find(({ prefix }) => prefix === spelled.charAt(0))
  return base !== undefined && decodes(() => CID.decode(base.decode(spelled)))
}

function decodes(decode: () => unknown): boolean {
  try {
    decode()
    return true
  } catch {
    return false
  }
}

/**
 * Of events about a name or another key that do not change what it stands for: `!` is in no name's key, so that no filter of a
 * name's own events matches it, and it does not move the revision.
 */
export const besideKey = (key: string): string => `${key}.!`

/**
 * The name in NATS subjects and KV keys: `/` → `.`; `A-Za-z0-9_-` stay; every other byte of UTF-8 → `=XX`. So it can be
 * read in `nats kv ls`, prefixes can be watched, and no two names share a key.
 */
export function nameKey(name: string): string {
  return name.replace(/[^\w-]+/gu, (run) => spelled(run, keySpelling))
}

/** Any text as one token of a subject or KV key. */
export function keyToken(text: string): string {
  return text.replace(/[^\w-]+/gu, (run) => spelled(run, tokenSpelling))
}

const slash = 0x2f
/** By byte. */
const tokenSpelling = Array.from({ length: 256 }, (_, byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`)
const keySpelling = tokenSpelling.map((spelling, byte) => (byte === slash ? '.' : spelling))

function spelled(run: string, spelling: readonly string[]): string {
  const code = run.charCodeAt(0)
  if (run.length === 1 && code < 0x80) return spelling[code] ?? ''
  let text = ''
  for (const byte of Buffer.from(run)) text += spelling[byte] ?? ''
  return text
}

/** The name that has this key; undefined when none has. */
export function nameOfKey(key: string): string | undefined {
  const text = key.replaceAll('.', '/')
  // A character a byte; what was no key to begin with does not come back as itself.
  const bytes = text.replace(/=(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  const name = /^[ -~]*$/.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8')
  return nameKey(name) === key ? name : undefined
}

export type Version = { readonly revision: number } | { readonly time: Date }

export interface NameReference {
  readonly name: string
  /** Undefined = as it is now. */
  readonly version: Version | undefined
}

/**
 * `docs/a.txt`, `docs/a.txt@17` (the revision that was 17), `docs/a.txt@2026-01-31T12:00:00Z` (as it was then). Any other
 * `@` belongs to the name: `ann@example.org` is one. @throws AppError NAME_INVALID
 */
export function parseReference(reference: string): NameReference {
  const version = versionOf(reference)
  const name = version === undefined ? reference : reference.slice(0, reference.lastIndexOf('@'))
  checkName(name)
  return { name, version }
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/

function versionOf(reference: string): Version | undefined {
  const at = reference.lastIndexOf('@')
  if (at < 1) return undefined
  const text = reference.slice(at + 1)
  if (/^\d{1,15}$/.test(text)) return { revision: Number(text) }
  if (!rfc3339.test(text)) return undefined
  const time = new Date(text)
  return Number.isNaN(time.getTime()) ? undefined : { time }
}
