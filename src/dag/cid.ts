import { base16, base16upper } from 'multiformats/bases/base16'
import { base32, base32upper } from 'multiformats/bases/base32'
import { base36, base36upper } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { checkCid } from '../blocks/block.ts'
import { AppError } from '../errors.ts'

/** An identity CID of 128 bytes in base16 has 271 characters; base58 decoding is quadratic, so length comes first. */
const textLengthMax = 300
const shownLengthMax = 48

interface Base {
  readonly decode: (text: string) => Uint8Array
  readonly encode: (bytes: Uint8Array) => string
  /** Its alphabet is read in either case. */
  readonly caseless: boolean
}

function baseOf(
  codec: { decode(text: string): Uint8Array; encode(bytes: Uint8Array): string },
  caseless: boolean,
): Base {
  return { decode: (text) => codec.decode(text), encode: (bytes) => codec.encode(bytes), caseless }
}

/** The multibases that are read, by prefix. What is written is base32 (and base58btc for version 0). */
const bases: ReadonlyMap<string, Base> = new Map([
  ['b', baseOf(base32, true)],
  ['B', baseOf(base32upper, true)],
  ['k', baseOf(base36, true)],
  ['K', baseOf(base36upper, true)],
  ['f', baseOf(base16, true)],
  ['F', baseOf(base16upper, true)],
  ['z', baseOf(base58btc, false)],
  ['u', baseOf(base64url, false)],
  ['m', baseOf(base64, false)],
])

/**
 * Reads a CID as people and links write it: `Qm…`, or version 1 in one of the bases above. `toString()` of the result is
 * canonical whatever the spelling was, and the CID is one that we serve (`checkCid`).
 * @throws AppError CID_INVALID
 */
export function parseCid(text: string): CID {
  if (text.length === 0) throw invalid(text, 'is empty')
  if (text.length > textLengthMax)
    throw invalid(text, `has ${text.length} characters; a CID has at most ${textLengthMax}`)
  const cid = text.startsWith('Qm') ? parseVersion0(text) : parseVersion1(text)
  checkCid(cid)
  return cid
}

function parseVersion0(text: string): CID {
  if (text.length !== 46) throw invalid(text, `starts like a CIDv0 but has ${text.length} characters instead of 46`)
  const bytes = decoded(text, () => base58btc.decode(`z${text}`))
  if (bytes.byteLength !== 34 || bytes[0] !== 0x12 || bytes[1] !== 0x20)
    throw invalid(text, 'is not a sha2-256 multihash')
  return CID.createV0(Digest.create(0x12, bytes.subarray(2)))
}

function parseVersion1(text: string): CID {
  const base = bases.get(text.charAt(0))
  if (base === undefined) throw invalid(text, 'does not start like a CID')
  // One alphabet, two cases: `b` followed by capitals is read, and is the same CID.
  const lower = base.caseless ? text.charAt(0) + matchCase(text.charAt(0), text.slice(1)) : text
  const bytes = decoded(text, () => base.decode(lower))
  const read = decoded(text, () => CID.decode(bytes))
  if (read.version !== 1) throw invalid(text, 'is version 0 inside a multibase; write it as Qm… or as version 1')
  const cid = CID.createV1(read.code, Digest.create(read.multihash.code, read.multihash.digest))
  // Another spelling of the same bits (a wrong last character, a varint beyond 2^53) is a typing error, not an alias.
  const canonical = lower.charAt(0) === 'b' ? cid.toString() : base.encode(cid.bytes)
  if (canonical !== lower) throw invalid(text, 'has stray bits; a character may be wrong')
  return cid
}

function matchCase(prefix: string, digits: string): string {
  return prefix === prefix.toLowerCase() ? digits.toLowerCase() : digits.toUpperCase()
}

function decoded<T>(text: string, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw invalid(
      text,
      `cannot be decoded: ${cause instanceof Error ? cause.message.slice(0, 80) : 'unknown reason'}`,
      cause,
    )
  }
}

function invalid(text: string, why: string, cause?: unknown): AppError {
  const shown = text.length > shownLengthMax ? `${text.slice(0, shownLengthMax)}…` : text
  return new AppError('CID_INVALID', `${JSON.stringify(shown)} is not a CID: it ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'a CID looks like bafybei… or Qm…',
  })
}
