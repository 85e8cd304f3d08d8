import { createHash, type Hash } from 'node:crypto'
import { AppError } from '../errors.ts'
import type { HeaderOf } from './content-headers.ts'

/** What headers say that content hashes to. */
export interface ContentDigests {
  update(chunk: Uint8Array): void
  /**
   * To be called once, when all of the content has come.
   * @param trailer what came behind the content @throws AppError DIGEST_MISMATCH; REQUEST_INVALID for a trailer that cannot be read
   */
  check(trailer?: HeaderOf): void
}

/** The algorithms that are checked; others are left alone, as RFC 9530 §5 lets a recipient do. */
const hashes: ReadonlyMap<string, { readonly hash: string; readonly bytes: number }> = new Map([
  ['md5', { hash: 'md5', bytes: 16 }],
  ['sha', { hash: 'sha1', bytes: 20 }],
  ['sha-256', { hash: 'sha256', bytes: 32 }],
  ['sha-512', { hash: 'sha512', bytes: 64 }],
])

interface Claim {
  readonly header: string
  readonly algorithm: string
  readonly text: string
}

/**
 * What is to be checked of `Content-MD5` (RFC 1864), `Digest` (RFC 3230), `Content-Digest` and `Repr-Digest` (RFC 9530), which
 * mean the same where content has no coding and is whole. Undefined where none of them says anything that can be checked, nor
 * is announced as a trailer.
 * @throws AppError REQUEST_INVALID for one that cannot be read
 */
export function contentDigests(header: HeaderOf): ContentDigests | undefined {
  const before = checksOf(header)
  const follows = /\b(content-md5|digest)\b/i.test(header('trailer') ?? '')
  if (before.length === 0 && !follows) return undefined
  const needed = follows ? [...hashes.values()] : before.map(({ known }) => known)
  const running = new Map<string, Hash>(needed.map(({ hash }) => [hash, createHash(hash)]))
  return {
    update: (chunk) => {
      for (const hash of running.values()) hash.update(chunk)
    },
    check: (trailer) => {
      const results = new Map(Array.from(running, ([name, hash]) => [name, hash.digest()]))
      const behind = follows && trailer !== undefined ? checksOf(trailer) : []
      for (const { header, algorithm, known, expected } of [...before, ...behind]) {
        if (results.get(known.hash)?.equals(expected)) continue
        throw new AppError('DIGEST_MISMATCH', `the content does not have the ${algorithm} that ${header} names`, {
          hint: 'it was changed on its way, or before: send it again',
        })
      }
    },
  }
}

/** Those whose algorithm is known here. */
function checksOf(header: HeaderOf) {
  const claims = [
    ...claimsOf(header, 'Content-MD5', (text) => [['md5', text.trim()]]),
    ...claimsOf(header, 'Digest', listed),
    ...claimsOf(header, 'Content-Digest', dictionary),
    ...claimsOf(header, 'Repr-Digest', dictionary),
  ]
  return claims.flatMap((claim) => {
    const known = hashes.get(claim.algorithm)
    return known === undefined ? [] : [{ ...claim, known, expected: bytesOf(claim, known.bytes) }]
  })
}

type Parse = (text: string) => readonly (readonly [algorithm: string, text: string])[] | undefined

function claimsOf(header: HeaderOf, name: string, parse: Parse): readonly Claim[] {
  const text = header(name.toLowerCase())
  if (text === undefined) return []
  const claims = parse(text)
  if (claims === undefined) throw unreadable(name)
  return claims.map(([algorithm, value]) => ({ header: name, algorithm, text: value }))
}

/** `SHA-256=<base64>,MD5=<base64>`; the algorithm in any case. */
const listed: Parse = (text) => {
  const items = text.split(',').map((item) => /^\s*([\w-]+)=(\S+)\s*$/.exec(item))
  return items.every((item) => item !== null)
    ? items.map(([, algorithm = '', value = '']) => [algorithm.toLowerCase(), value])
    : undefined
}

/** `sha-256=:<base64>:, sha-512=:<base64>:`, a dictionary of byte sequences (RFC 9651) without parameters. */
const dictionary: Parse = (text) => {
  const items = text.split(',').map((item) => /^\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*$/.exec(item))
  return items.every((item) => item !== null)
    ? items.map(([, algorithm = '', value = '']) => [algorithm, value])
    : undefined
}

function bytesOf({ header, text }: Claim, length: number): Buffer {
  // NATS writes digests in the alphabet of URLs.
  const bytes = /^[A-Za-z0-9+/_-]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
  if (bytes?.byteLength !== length) throw unreadable(header)
  return bytes
}

const unreadable = (header: string) =>
  new AppError('REQUEST_INVALID', `the ${header} header cannot be read`, {
    hint: 'base64 of the digest: Content-Digest: sha-256=:<base64>:',
  })
