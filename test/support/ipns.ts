import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { encode } from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { keyNameOf } from '../../src/content/ipns-name.ts'

/** A key and its name, made by the test. */
export interface TestKey {
  readonly name: string
  /** Its multihash in base58 or as CIDv1: other spellings of the name. */
  readonly cid: CID
  readonly protobuf: Buffer
  sign(bytes: Uint8Array): Buffer
}

type KeyType = 'ed25519' | 'rsa' | 'secp256k1' | 'ecdsa'

export function testKey(type: KeyType = 'ed25519'): TestKey {
  const { privateKey, publicKey } = pairOf(type)
  const data = publicBytes(type, publicKey)
  const number = { rsa: 0, ed25519: 1, secp256k1: 2, ecdsa: 3 }[type]
  const protobuf = Buffer.concat([uintField(1, BigInt(number)), bytesField(2, data)])
  const inlined = protobuf.byteLength <= 42
  const multihash = inlined
    ? Digest.create(0, protobuf)
    : Digest.create(0x12, createHash('sha256').update(protobuf).digest())
  return {
    name: keyNameOf(multihash),
    cid: CID.createV1(0x72, multihash),
    protobuf,
    sign: (bytes) => sign(type === 'ed25519' ? null : 'sha256', bytes, privateKey),
  }
}

function pairOf(type: KeyType) {
  switch (type) {
    case 'ed25519':
      return generateKeyPairSync('ed25519')
    case 'rsa':
      return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'secp256k1':
      return generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
    case 'ecdsa':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  }
}

function publicBytes(type: KeyType, key: KeyObject): Buffer {
  const der = key.export({ format: 'der', type: 'spki' })
  if (type === 'ed25519') return der.subarray(-32)
  if (type !== 'secp256k1') return der
  const point = der.subarray(-64)
  return Buffer.concat([Buffer.from([(point.at(-1) ?? 0) % 2 === 0 ? 2 : 3]), point.subarray(0, 32)])
}

export interface RecordOptions {
  readonly value: string
  readonly sequence?: bigint
  readonly ttlSeconds?: number
  /** From now; negative = expired. */
  readonly lifetimeSeconds?: number
  /** RFC 3339, instead of a lifetime. */
  readonly validity?: string
  /** Undefined = V2 alone. */
  readonly v1?: { readonly signature?: Uint8Array; readonly value?: string }
  /** In place of the right ones. */
  readonly signatureV2?: Uint8Array | null
  readonly data?: Uint8Array | null
  readonly publicKey?: Uint8Array | null
  /** Bytes to add, in a field that nobody knows. */
  readonly padding?: number
}

/** A record of the key, right in all that the options do not say. */
export function testRecord(key: TestKey, options: RecordOptions): Buffer {
  const { value, sequence = 0n, ttlSeconds = 60, lifetimeSeconds = 3600, v1, padding = 0 } = options
  const validity = options.validity ?? new Date(Date.now() + lifetimeSeconds * 1000).toISOString()
  const ttl = BigInt(ttlSeconds) * 1_000_000_000n
  const signed =
    options.data ??
    encode({
      Value: Buffer.from(value),
      Validity: Buffer.from(validity),
      ValidityType: 0,
      Sequence: sequence,
      TTL: ttl,
    })
  const signature = options.signatureV2 ?? key.sign(Buffer.concat([Buffer.from('ipns-signature:'), signed]))
  const inlined = key.cid.multihash.code === 0
  const publicKey = options.publicKey === undefined ? (inlined ? null : key.protobuf) : options.publicKey
  const parts: Buffer[] = []
  if (v1 !== undefined) {
    const unsigned = Buffer.from(v1.value ?? value)
    const v1Signature = v1.signature ?? key.sign(Buffer.concat([unsigned, Buffer.from(validity), Buffer.from('EOL')]))
    parts.push(bytesField(1, unsigned), bytesField(2, v1Signature), uintField(3, 0n))
    parts.push(bytesField(4, Buffer.from(validity)), uintField(5, sequence), uintField(6, ttl))
  }
  if (publicKey !== null) parts.push(bytesField(7, publicKey))
  if (options.signatureV2 !== null) parts.push(bytesField(8, signature))
  if (options.data !== null) parts.push(bytesField(9, signed))
  if (padding > 0) parts.push(bytesField(15, Buffer.alloc(padding)))
  return Buffer.concat(parts)
}

function varint(value: bigint): Buffer {
  const bytes: number[] = []
  for (let left = value; ; left >>= 7n) {
    if (left < 128n) return Buffer.from([...bytes, Number(left)])
    bytes.push(Number(left & 127n) | 128)
  }
}

const uintField = (field: number, value: bigint): Buffer => Buffer.concat([varint(BigInt(field << 3)), varint(value)])
const bytesField = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint(BigInt((field << 3) | 2)), varint(BigInt(value.byteLength)), value])
