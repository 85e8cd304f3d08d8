import { encode } from '@ipld/dag-cbor'
import type { Signer } from './ipns-keys.ts'
import { type IpnsRecord, signaturePrefix } from './ipns-record.ts'

export interface Unsigned {
  readonly value: string
  readonly sequence: bigint
  readonly lifetimeSeconds: number
  readonly ttlSeconds: number
}

/**
 * A record with the V2 signature alone: all readers since 2022 take it. The key is in its name, so the record has none.
 */
export function signIpnsRecord(signer: Signer, { value, sequence, lifetimeSeconds, ttlSeconds }: Unsigned): IpnsRecord {
  const validUntilMs = Date.now() + lifetimeSeconds * 1000
  const validity = new Date(validUntilMs).toISOString()
  const data = encode({
    Sequence: sequence,
    TTL: BigInt(ttlSeconds) * 1_000_000_000n,
    Validity: Buffer.from(validity),
    ValidityType: 0,
    Value: Buffer.from(value),
  })
  const signature = signer.sign(Buffer.concat([signaturePrefix, data]))
  const bytes = Buffer.concat([field(8, signature), field(9, data)])
  return { value, sequence, validity, validUntilMs, ttlSeconds, bytes }
}

/** A field of the protobuf with up to 16,383 bytes. */
function field(number: number, bytes: Uint8Array): Buffer {
  const length = bytes.byteLength
  const prefix = length < 128 ? [length] : [(length & 0x7f) | 0x80, length >>> 7]
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...prefix]), bytes])
}
