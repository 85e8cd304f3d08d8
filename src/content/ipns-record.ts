import { decode } from '@ipld/dag-cbor'
import { CID, type MultihashDigest } from 'multiformats/cid'
import { checkCborNesting } from '../dag/nesting.ts'
import { ProtobufReader } from '../dag/protobuf.ts'
import { AppError } from '../errors.ts'
import { publicKeyOf } from './ipns-public-key.ts'

/** https://specs.ipfs.tech/ipns/ipns-record/#record-size-limit */
export const recordBytesMax = 10 * 1024

/** What a key's holder has signed. */
export interface IpnsRecord {
  /** `/ipfs/<cid>[/path]` or `/ipns/<name>[/path]`; it may be any other text that begins with `/`. */
  readonly value: string
  /** Uint64: of two records the higher one counts. */
  readonly sequence: bigint
  /** Until when it holds, RFC 3339 with up to nanoseconds. */
  readonly validity: string
  readonly validUntilMs: number
  /** How long it may be kept without asking again; undefined = it does not say. */
  readonly ttlSeconds: number | undefined
  readonly bytes: Uint8Array
}

/** The fields of the protobuf, by number. */
interface Fields {
  value?: Uint8Array
  signatureV1?: Uint8Array
  validityType?: bigint
  validity?: Uint8Array
  sequence?: bigint
  ttl?: bigint
  publicKey?: Uint8Array
  signatureV2?: Uint8Array
  data?: Uint8Array
}

/** The signed map. */
interface Signed {
  readonly value: Uint8Array
  readonly validity: Uint8Array
  readonly sequence: bigint
  readonly ttl: bigint | undefined
}

export const signaturePrefix = Buffer.from('ipns-signature:')
const utf8 = new TextDecoder('utf-8', { fatal: true })
const uint64Max = 2n ** 64n - 1n

/**
 * Reads and verifies a record of the key with this multihash; whether it has expired is another question. Only the V2
 * signature counts (IPIP-428): V1 alone is refused, and where V1 fields are there they must say what is signed.
 * @throws AppError IPNS_INVALID
 */
export function readIpnsRecord(bytes: Uint8Array, multihash: MultihashDigest): IpnsRecord {
  if (bytes.byteLength > recordBytesMax) throw invalid(`it has more than ${recordBytesMax} bytes`)
  const fields = readFields(bytes)
  const { data, signatureV2 } = fields
  if (data === undefined || signatureV2 === undefined) {
    throw invalid(fields.signatureV1 === undefined ? 'it has no signature' : 'it has a V1 signature only')
  }
  const key = publicKeyOf(multihash, fields.publicKey)
  if (!key.verifies(Buffer.concat([signaturePrefix, data]), signatureV2)) throw invalid('its signature is wrong')
  const signed = readSigned(data)
  checkUnsigned(fields, signed)
  const validity = textOf(signed.validity, 'validity')
  return {
    value: valueTextOf(signed.value),
    sequence: signed.sequence,
    validity,
    validUntilMs: timeOf(validity),
    ttlSeconds: signed.ttl === undefined ? undefined : Number(signed.ttl / 1_000_000_000n),
    bytes,
  }
}

export const hasExpired = ({ validUntilMs }: Pick<IpnsRecord, 'validUntilMs'>, nowMs = Date.now()): boolean =>
  validUntilMs <= nowMs

function readFields(bytes: Uint8Array): Fields {
  const fields: Fields = {}
  try {
    const reader = new ProtobufReader(bytes)
    while (!reader.done) {
      const tag = reader.varint()
      switch (tag) {
        case 0x0a:
          fields.value = reader.field()
          break
        case 0x12:
          fields.signatureV1 = reader.field()
          break
        case 0x18:
          fields.validityType = reader.uint64()
          break
        case 0x22:
          fields.validity = reader.field()
          break
        case 0x28:
          fields.sequence = reader.uint64()
          break
        case 0x30:
          fields.ttl = reader.uint64()
          break
        case 0x3a:
          fields.publicKey = reader.field()
          break
        case 0x42:
          fields.signatureV2 = reader.field()
          break
        case 0x4a:
          fields.data = reader.field()
          break
        default:
          reader.skip(tag & 7)
      }
    }
  } catch (cause) {
    throw invalid('it is no protobuf of an IPNS record', cause)
  }
  return fields
}

function readSigned(data: Uint8Array): Signed {
  let map: Readonly<Record<string, unknown>>
  try {
    checkCborNesting(data)
    map = decode<Record<string, unknown>>(data)
  } catch (cause) {
    throw invalid('what is signed is no DAG-CBOR', cause)
  }
  if (typeof map !== 'object' || map === null) throw invalid('what is signed is no map')
  const { Value: value, Validity: validity, ValidityType: validityType, Sequence, TTL } = map
  if (!(value instanceof Uint8Array) || !(validity instanceof Uint8Array)) throw invalid('Value or Validity is missing')
  if (validityType !== 0) throw invalid('its validity is of another type than EOL')
  return {
    value,
    validity,
    sequence: uint64Of(Sequence, 'Sequence'),
    ttl: TTL === undefined ? undefined : uint64Of(TTL, 'TTL'),
  }
}

/** The V1 fields lie outside of the V2 signature: others would be taken for the publisher's words. */
function checkUnsigned(fields: Fields, signed: Signed): void {
  if (fields.signatureV1 === undefined && fields.value === undefined) return
  const same =
    sameBytes(fields.value, signed.value) &&
    sameBytes(fields.validity, signed.validity) &&
    (fields.validityType ?? 0n) === 0n &&
    (fields.sequence ?? 0n) === signed.sequence &&
    (fields.ttl ?? 0n) === (signed.ttl ?? 0n)
  if (!same) throw invalid('its V1 fields differ from what is signed')
}

/** A path, or a CID alone (in bytes or as text), which is content. */
function valueTextOf(bytes: Uint8Array): string {
  const text = textOrNone(bytes)?.trim()
  if (text?.startsWith('/')) return text
  const cid = cidOrNone(() => CID.decode(bytes)) ?? cidOrNone(() => CID.parse(text ?? ''))
  if (cid === undefined) throw invalid('its value is no path')
  return `/ipfs/${cid.toV1()}`
}

const timePattern = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/

function timeOf(text: string): number {
  const ms = timePattern.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalid('its validity is no RFC 3339 time')
  return ms
}

function cidOrNone(read: () => CID): CID | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function textOrNone(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

function textOf(bytes: Uint8Array, what: string): string {
  const text = textOrNone(bytes)
  if (text === undefined) throw invalid(`its ${what} is no UTF-8`)
  return text
}

function uint64Of(value: unknown, what: string): bigint {
  const number = typeof value === 'bigint' || Number.isSafeInteger(value) ? BigInt(value as bigint | number) : -1n
  if (number < 0n || number > uint64Max) throw invalid(`its ${what} is no unsigned 64-bit number`)
  return number
}

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array): boolean => Buffer.compare(a ?? new Uint8Array(), b) === 0

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('IPNS_INVALID', `not a valid IPNS record: ${why}`, cause === undefined ? {} : { cause })
}
