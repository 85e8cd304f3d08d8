import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { AppError, isAppError } from '../errors.ts'
import { digestBytesMin, hashFunctions, sha256Code } from './hash-functions.ts'

declare const hashed: unique symbol

/**
 * A block whose bytes are known to hash to its CID. Only this file makes one, so a store cannot be handed anything else:
 * `hashBlock` computes the CID from the bytes, `verifyBlock` checks the bytes against it.
 */
export interface HashedBlock {
  readonly cid: CID
  readonly bytes: Uint8Array
  /**
   * Called by the writer once the block is durable and nobody reads `bytes` any more: they may be overwritten then. Never
   * after a failure, when some socket may still hold them.
   */
  readonly release?: (() => void) | undefined
  readonly [hashed]: true
}

const identityCode = 0x00

/** IPIP-512. */
export const identityBytesMax = 128

export function isIdentity(cid: CID): boolean {
  return cid.multihash.code === identityCode
}

/**
 * Whether the CID is one that we serve and store at all: a hash we can verify, a digest that is long enough.
 * @throws AppError CID_INVALID
 */
export function checkCid(cid: CID): void {
  const { code, digest } = cid.multihash
  if (code === identityCode) {
    if (digest.byteLength <= identityBytesMax) return
    throw new AppError('CID_INVALID', `identity CID of ${digest.byteLength} bytes; the limit is ${identityBytesMax}`)
  }
  const known = hashFunctions.get(code)
  if (known === undefined) {
    throw new AppError('CID_INVALID', `hash function 0x${code.toString(16)} is not supported`)
  }
  if (digest.byteLength < digestBytesMin || digest.byteLength > known.bytesMax) {
    throw new AppError('CID_INVALID', `${known.name} digest of ${digest.byteLength} bytes`)
  }
}

/** The full digest of a multihash function; undefined when we do not have it. */
export function digestOf(code: number, bytes: Uint8Array): Uint8Array | undefined {
  const known = hashFunctions.get(code)
  return known?.digest(bytes, known.bytes)
}

/** The block of `bytes` under sha2-256. `codec` is a multicodec code (0x55 raw, 0x70 dag-pb, …); version 0 is dag-pb only. */
export function hashBlock(
  bytes: Uint8Array,
  codec: number,
  version: 0 | 1 = 1,
  release?: (() => void) | undefined,
): HashedBlock {
  const digest = Digest.create(sha256Code, createHash('sha256').update(bytes).digest())
  return made(version === 0 ? CID.createV0(digest) : CID.createV1(codec, digest), bytes, release)
}

/**
 * Checks that the bytes are those that the CID names.
 * @throws AppError BLOCK_CORRUPT when they are not, CID_INVALID when the hash cannot be verified
 */
export function verifyBlock(cid: CID, bytes: Uint8Array): HashedBlock {
  checkCid(cid)
  const { code, digest } = cid.multihash
  const actual =
    code === identityCode ? bytes : (hashFunctions.get(code)?.digest(bytes, digest.byteLength) ?? new Uint8Array())
  const compared = code === identityCode ? actual : actual.subarray(0, digest.byteLength)
  if (!sameBytes(compared, digest)) {
    throw new AppError('BLOCK_CORRUPT', `the bytes stored for ${cid} do not hash to it`)
  }
  return made(cid, bytes)
}

/** Whether `verifyBlock` takes it. A hash that we do not have tells nothing: true, since it is nothing that we stored. */
export function isWhole(cid: CID, bytes: Uint8Array): boolean {
  try {
    verifyBlock(cid, bytes)
    return true
  } catch (error) {
    if (isAppError(error, 'BLOCK_CORRUPT')) return false
    if (isAppError(error, 'CID_INVALID')) return true
    throw error
  }
}

function made(cid: CID, bytes: Uint8Array, release?: (() => void) | undefined): HashedBlock {
  return { cid, bytes, release } as HashedBlock
}

/** The multihash bytes as a map key: one key per block, however its CID is spelled. */
export function multihashKey(cid: CID): string {
  const { bytes } = cid.multihash
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0
}
