import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import type { MultihashDigest } from 'multiformats/cid'
import { ProtobufReader } from '../dag/protobuf.ts'
import { AppError } from '../errors.ts'

/** libp2p key types; https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md */
const keyTypes = { rsa: 0, ed25519: 1, secp256k1: 2, ecdsa: 3 } as const

/** A public key's protobuf up to this size is the identity multihash of its name; a larger one is hashed. */
const inlinedBytesMax = 42
const rsaBitsMin = 2048
const rsaBitsMax = 8192

/** Verifies what a name's key has signed. */
export interface PublicKey {
  verifies(data: Uint8Array, signature: Uint8Array): boolean
}

/**
 * The key behind a name: in the name itself, or in the record, whose hash the name then is.
 * @param embedded what the record has for a key, as protobuf
 * @throws AppError IPNS_INVALID
 */
export function publicKeyOf(multihash: MultihashDigest, embedded: Uint8Array | undefined): PublicKey {
  if (multihash.code === 0) {
    if (embedded !== undefined && !equal(embedded, multihash.digest)) throw otherKey()
    return readPublicKey(multihash.digest)
  }
  if (embedded === undefined) throw invalid('it has no public key, and the name is only the hash of one')
  const digest = createHash('sha256').update(embedded).digest()
  if (embedded.byteLength <= inlinedBytesMax || !equal(digest, multihash.digest)) throw otherKey()
  return readPublicKey(embedded)
}

/** The protobuf of an Ed25519 public key of 32 bytes. */
export function ed25519Protobuf(raw: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([0x08, keyTypes.ed25519, 0x12, 32]), raw])
}

function readPublicKey(protobuf: Uint8Array): PublicKey {
  let type: number | undefined
  let data: Uint8Array | undefined
  try {
    const reader = new ProtobufReader(protobuf)
    while (!reader.done) {
      const tag = reader.varint()
      if (tag === 0x08) type = reader.varint()
      else if (tag === 0x12) data = reader.field()
      else reader.skip(tag & 7)
    }
    if (type === undefined || data === undefined) throw new TypeError('no type or no data')
    return keyOf(type, data)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw invalid('its public key cannot be read', cause)
  }
}

function keyOf(type: number, data: Uint8Array): PublicKey {
  switch (type) {
    case keyTypes.ed25519:
      return verifier(spki(ed25519Prefix, data, 32), 'ed25519', null)
    case keyTypes.rsa: {
      const key = createPublicKey({ key: Buffer.from(data), format: 'der', type: 'spki' })
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
      if (bits < rsaBitsMin || bits > rsaBitsMax) throw invalid(`its RSA key has ${bits} bits`)
      return verifier(key, 'rsa', 'sha256')
    }
    case keyTypes.secp256k1:
      return verifier(spki(secp256k1Prefix, data, 33), 'ec', 'sha256')
    case keyTypes.ecdsa:
      return verifier(createPublicKey({ key: Buffer.from(data), format: 'der', type: 'spki' }), 'ec', 'sha256')
    default:
      throw invalid(`its key is of an unknown type (${type})`)
  }
}

/** DER SubjectPublicKeyInfo up to the key itself. */
const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex')
/** For a compressed point: 02 or 03 and 32 bytes. */
const secp256k1Prefix = Buffer.from('3036301006072a8648ce3d020106052b8104000a032200', 'hex')

function spki(prefix: Buffer, raw: Uint8Array, bytes: number): KeyObject {
  if (raw.byteLength !== bytes) throw invalid(`its public key has ${raw.byteLength} bytes instead of ${bytes}`)
  return createPublicKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'spki' })
}

function verifier(key: KeyObject, type: string, hash: string | null): PublicKey {
  if (key.asymmetricKeyType !== type) throw invalid('its public key is of another type than it says')
  return { verifies: (data, signature) => verify(hash, data, key, signature) }
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

const otherKey = () => invalid('its public key is not that of the name')

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('IPNS_INVALID', `not a valid IPNS record: ${why}`, cause === undefined ? {} : { cause })
}
