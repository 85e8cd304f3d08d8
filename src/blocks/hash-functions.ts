import { createHash } from 'node:crypto'
import { blake2b, blake2s } from '@noble/hashes/blake2.js'
import { blake3 } from '@noble/hashes/blake3.js'
import { keccak_224, keccak_256, keccak_384, keccak_512 } from '@noble/hashes/sha3.js'

/** A hash function that blocks can be verified with. */
export interface HashFunction {
  /** As the multicodec table has it. */
  readonly name: string
  /** Of the full digest; a multihash may hold the beginning of it. */
  readonly bytes: number
  /** The longest digest that is read: more than `bytes` for a function whose output goes on. */
  readonly bytesMax: number
  /** At least as many bytes as asked for, up to `bytesMax`. */
  digest(bytes: Uint8Array, digestBytes: number): Uint8Array
}

export const sha256Code = 0x12

/** Least bytes of a digest: shorter ones can be forged (ipfs/boxo verifcid). */
export const digestBytesMin = 20
/** Most bytes of a digest whose function gives any number of them: longer ones are in no CID that others read. */
const extendedBytesMax = 128

/** A hash function whose digests have one length. */
function fixed(name: string, bytes: number, digest: (bytes: Uint8Array) => Uint8Array): HashFunction {
  return { name, bytes, bytesMax: bytes, digest }
}

function native(name: string, bytes: number, algorithm: string): HashFunction {
  return fixed(name, bytes, (block) => createHash(algorithm).update(block).digest())
}

/** A hash function of OpenSSL that gives as many bytes as it is asked for. */
function nativeShake(name: string, bytes: number, algorithm: string): HashFunction {
  return fixed(name, bytes, (block) => createHash(algorithm, { outputLength: bytes }).update(block).digest())
}

function doubleSha256(block: Uint8Array): Uint8Array {
  return createHash('sha256').update(createHash('sha256').update(block).digest()).digest()
}

/** One function for each length of a digest: a shorter one is no beginning of a longer one. */
function* blake2(): Generator<readonly [code: number, HashFunction]> {
  for (let bytes = digestBytesMin; bytes <= 64; bytes++) {
    const name = `blake2b-${bytes * 8}`
    const digest = (block: Uint8Array) => blake2b(block, { dkLen: bytes })
    yield [0xb200 + bytes, bytes === 64 ? native(name, bytes, 'blake2b512') : fixed(name, bytes, digest)]
  }
  for (let bytes = digestBytesMin; bytes <= 32; bytes++) {
    const name = `blake2s-${bytes * 8}`
    const digest = (block: Uint8Array) => blake2s(block, { dkLen: bytes })
    yield [0xb240 + bytes, bytes === 32 ? native(name, bytes, 'blake2s256') : fixed(name, bytes, digest)]
  }
}

/**
 * What Kubo verifies with (ipfs/boxo verifcid, as far as go-multihash computes it), and SHAKE-128. SHA-1 is in it for Git's
 * objects: it is read and stored where somebody brings it, and nothing is written with it.
 */
export const hashFunctions: ReadonlyMap<number, HashFunction> = new Map([
  [0x11, native('sha1', 20, 'sha1')],
  [sha256Code, native('sha2-256', 32, 'sha256')],
  [0x13, native('sha2-512', 64, 'sha512')],
  [0x14, native('sha3-512', 64, 'sha3-512')],
  [0x15, native('sha3-384', 48, 'sha3-384')],
  [0x16, native('sha3-256', 32, 'sha3-256')],
  [0x17, native('sha3-224', 28, 'sha3-224')],
  [0x18, nativeShake('shake-128', 32, 'shake128')],
  [0x19, nativeShake('shake-256', 64, 'shake256')],
  [0x1a, fixed('keccak-224', 28, (block) => keccak_224(block))],
  [0x1b, fixed('keccak-256', 32, (block) => keccak_256(block))],
  [0x1c, fixed('keccak-384', 48, (block) => keccak_384(block))],
  [0x1d, fixed('keccak-512', 64, (block) => keccak_512(block))],
  [
    0x1e,
    {
      ...{ name: 'blake3', bytes: 32, bytesMax: extendedBytesMax },
      digest: (block, digestBytes) => blake3(block, { dkLen: Math.max(32, digestBytes) }),
    },
  ],
  [0x56, fixed('dbl-sha2-256', 32, doubleSha256)],
  ...blake2(),
])
