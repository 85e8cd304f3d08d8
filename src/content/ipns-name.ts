import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { CID, type MultihashDigest } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { parseCid } from '../dag/cid.ts'
import { codecs } from '../dag/codecs.ts'
import { AppError, isAppError } from '../errors.ts'

/** What can stand after `/ipns/`. */
export type IpnsName =
  /** `name` is the CIDv1 with the libp2p-key codec in base36: it fits a DNS label. */
  | { readonly kind: 'key'; readonly name: string; readonly multihash: MultihashDigest }
  /** In lower case, without a dot at the end. */
  | { readonly kind: 'domain'; readonly name: string }

/** Of a peer id in base58: an inlined key has 52 characters; decoding is quadratic. */
const peerIdLengthMax = 100
const shownLengthMax = 100

const identity = 0x00
const sha2256 = 0x12

/**
 * A key as people write it (`12D3Koo…`, `Qm…`, CIDv1 in any base with the codec libp2p-key, or dag-pb as old ones have it),
 * or a domain name, which has a dot. @throws AppError NAME_INVALID
 */
export function parseIpnsName(text: string): IpnsName {
  return text.includes('.') ? parseDomain(text) : parseKey(text)
}

export function keyNameOf(multihash: MultihashDigest): string {
  return base36.encode(CID.createV1(codecs.libp2pKey, multihash).bytes)
}

function parseKey(text: string): IpnsName {
  const cid = keyCid(text)
  const known = cid.code === codecs.libp2pKey || cid.code === codecs.dagPb
  if (!known) throw invalid(text, `it is a CID of content (codec 0x${cid.code.toString(16)}), not of a key`)
  const { multihash } = cid
  if (multihash.code !== identity && multihash.code !== sha2256) throw invalid(text, 'it has an unknown hash function')
  return { kind: 'key', name: keyNameOf(multihash), multihash }
}

function keyCid(text: string): CID {
  try {
    if (!text.startsWith('1')) return parseCid(text)
    if (text.length > peerIdLengthMax) throw new RangeError('too long')
    return CID.createV1(codecs.libp2pKey, Digest.decode(base58btc.decode(`z${text}`)))
  } catch (cause) {
    const why = isAppError(cause) && text !== '' ? cause.message : 'it cannot be decoded'
    throw invalid(text, why, cause)
  }
}

const labelPattern = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/

function parseDomain(text: string): IpnsName {
  const name = text.toLowerCase().replace(/\.$/, '')
  const labels = name.length > 253 ? [] : name.split('.')
  // The last label of an address is a number, that of a domain is none.
  const whole =
    labels.length > 1 && labels.every((label) => labelPattern.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '')
  if (whole) return { kind: 'domain', name }
  throw invalid(text, 'it has a dot like a domain name, but is none')
}

function invalid(text: string, why: string, cause?: unknown): AppError {
  const shown = text.length > shownLengthMax ? `${text.slice(0, shownLengthMax)}…` : text
  return new AppError('NAME_INVALID', `${JSON.stringify(shown)} is no IPNS name: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'an IPNS name is a key like k51… or 12D3Koo…, or a domain name',
  })
}
