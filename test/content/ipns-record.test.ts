import { encode } from '@ipld/dag-cbor'
import { createIPNSRecord, marshalIPNSRecord, multihashToIPNSRoutingKey } from 'ipns'
import { ipnsValidator } from 'ipns/validator'
import { expect, test } from 'vitest'
import { parseIpnsName } from '../../src/content/ipns-name.ts'
import { hasExpired, readIpnsRecord, recordBytesMax } from '../../src/content/ipns-record.ts'
import { type RecordOptions, type TestKey, testKey, testRecord } from '../support/ipns.ts'

const value = '/ipfs/bafkqablimvwgy3y'
const key = testKey()
const other = testKey()

const read = (bytes: Uint8Array, of: TestKey = key) => readIpnsRecord(bytes, of.cid.multihash)

/** What the published library says of it; it also looks at the time. */
async function judge(bytes: Uint8Array, of: TestKey): Promise<string | undefined> {
  try {
    await ipnsValidator(multihashToIPNSRoutingKey(of.cid.multihash as never), bytes)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : 'refused'
  }
}

const signedOf = (fields: object) =>
  encode({
    Value: Buffer.from(value),
    Validity: Buffer.from('2100-01-01T00:00:00Z'),
    ValidityType: 0,
    Sequence: 1,
    TTL: 1,
    ...fields,
  })

const good: Readonly<Record<string, [TestKey, Omit<RecordOptions, 'value'>]>> = {
  'V2 alone': [key, {}],
  'V1 and V2': [key, { v1: {} }],
  'a broken V1 signature beside a good V2': [key, { v1: { signature: Buffer.alloc(64) } }],
  'the public key beside a name that holds it': [key, { publicKey: key.protobuf }],
  RSA: [testKey('rsa'), {}],
  'RSA, V1 and V2': [testKey('rsa'), { v1: {} }],
  secp256k1: [testKey('secp256k1'), {}],
  ECDSA: [testKey('ecdsa'), {}],
  'the greatest sequence': [key, { sequence: 2n ** 64n - 1n }],
  'a time in nanoseconds': [key, { validity: '2099-01-01T00:00:00.123456789Z' }],
  'a field of the future': [key, { padding: 10 }],
}

for (const [label, [of, options]] of Object.entries(good)) {
  test(`a record is taken: ${label}`, async () => {
    const bytes = testRecord(of, { value, ...options })
    const record = read(bytes, of)
    expect(record).toMatchObject({ value, sequence: options.sequence ?? 0n, ttlSeconds: 60 })
    expect(hasExpired(record)).toBe(false)
    // It has a form of its own for ECDSA keys, and wants of two equal secp256k1 signatures the smaller one.
    if (!['ECDSA', 'secp256k1'].includes(label)) expect(await judge(bytes, of)).toBeUndefined()
  })
}

const rsa = testKey('rsa')
const inlinedHash = { ...key, cid: testKey('rsa').cid }

const bad: Readonly<Record<string, [TestKey, () => Uint8Array, RegExp]>> = {
  'V1 alone': [key, () => testRecord(key, { value, v1: {}, signatureV2: null, data: null }), /V1 signature only/],
  'V1 beside what V2 signs, without the V2 signature': [
    key,
    () => testRecord(key, { value, v1: {}, signatureV2: null }),
    /V1 signature only/,
  ],
  'no signature at all': [key, () => testRecord(key, { value, signatureV2: null }), /no signature/],
  'a broken V2 signature': [key, () => testRecord(key, { value, signatureV2: Buffer.alloc(64) }), /signature is wrong/],
  'a good V1 beside a broken V2': [
    key,
    () => testRecord(key, { value, v1: {}, signatureV2: Buffer.alloc(64, 1) }),
    /signature is wrong/,
  ],
  'a V1 value that differs from what is signed': [
    key,
    () => testRecord(key, { value, v1: { value: '/ipfs/bafkqaaa' } }),
    /V1 fields differ/,
  ],
  'the record of another key': [key, () => testRecord(other, { value }), /signature is wrong/],
  'the record and the public key of another key': [
    key,
    () => testRecord(other, { value, publicKey: other.protobuf }),
    /not that of the name/,
  ],
  'an RSA name without its key': [rsa, () => testRecord(rsa, { value, publicKey: null }), /no public key/],
  'an RSA name with another key': [
    rsa,
    () => testRecord(key, { value, publicKey: key.protobuf }),
    /not that of the name/,
  ],
  'a name that is the hash of something else': [
    inlinedHash,
    () => testRecord(inlinedHash, { value }),
    /not that of the name/,
  ],
  garbage: [key, () => Buffer.from('not a record at all'), /no protobuf|no signature/],
  nothing: [key, () => new Uint8Array(), /no signature/],
  'a length beyond its end': [key, () => Buffer.from([0x4a, 0xff, 0x7f, 0x00]), /no protobuf/],
  'more than 10 KiB': [key, () => testRecord(key, { value, padding: recordBytesMax }), /more than 10240 bytes/],
  'CBOR that nests without end': [
    key,
    () => testRecord(key, { value, data: Buffer.concat([Buffer.alloc(9000, 0x81), Buffer.of(0)]) }),
    /no DAG-CBOR/,
  ],
  'CBOR that is no map': [key, () => testRecord(key, { value, data: encode([1]) }), /missing/],
  'another type of validity': [
    key,
    () => testRecord(key, { value, data: signedOf({ ValidityType: 1 }) }),
    /another type/,
  ],
  'a negative sequence': [key, () => testRecord(key, { value, data: signedOf({ Sequence: -1 }) }), /Sequence/],
  'no validity': [key, () => testRecord(key, { value, data: encode({ Value: Buffer.from(value) }) }), /missing/],
  'a validity that is no time': [key, () => testRecord(key, { value, validity: 'tomorrow' }), /no RFC 3339/],
  'a value that is no path': [key, () => testRecord(key, { value: 'hello' }), /no path/],
}

for (const [label, [of, bytes, why]] of Object.entries(bad)) {
  test(`a record is refused: ${label}`, () => {
    expect(() => read(bytes(), of)).toThrowError(
      expect.objectContaining({ code: 'IPNS_INVALID', message: expect.stringMatching(why) }),
    )
  })
}

/** What the library lets through: it believes any sequence, and any text as a time. */
const laxer = ['a negative sequence', 'a validity that is no time', 'V1 beside what V2 signs, without the V2 signature']

test('what we refuse, the published library refuses as well', async () => {
  const taken: string[] = []
  for (const [label, [of, bytes]] of Object.entries(bad)) {
    if ((await judge(bytes(), of)) === undefined) taken.push(label)
  }
  expect(taken.filter((label) => !laxer.includes(label))).toEqual([])
})

test('a record that has expired is read, and known to have expired', async () => {
  const bytes = testRecord(key, { value, lifetimeSeconds: -1 })
  expect(hasExpired(read(bytes))).toBe(true)
  expect(await judge(bytes, key)).toMatch(/expired/)
})

test('a record that was changed in any one byte is refused, or says the same', () => {
  const bytes = testRecord(key, { value, v1: {} })
  const expected = read(bytes)
  for (let at = 0; at < bytes.byteLength; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 0x01
    try {
      const { bytes: _changed, ...said } = read(changed)
      const { bytes: _bytes, ...original } = expected
      expect(said).toEqual(original)
    } catch (error) {
      expect(error).toMatchObject({ code: 'IPNS_INVALID' })
    }
  }
})

test('records that the published library makes are read', async () => {
  const { generateKeyPair } = await import('@libp2p/crypto/keys')
  for (const type of ['Ed25519', 'RSA', 'secp256k1'] as const) {
    const made = await generateKeyPair(type as 'Ed25519')
    for (const v1Compatible of [true, false]) {
      const record = await createIPNSRecord(made, value, 7, 60_000, { ttlNs: 5_000_000_000n, v1Compatible } as never)
      const name = parseIpnsName(made.publicKey.toCID().toString())
      if (name.kind !== 'key') throw new Error('no key')
      const read_ = readIpnsRecord(marshalIPNSRecord(record as never), name.multihash)
      expect(read_).toMatchObject({ value, sequence: 7n, ttlSeconds: 5 })
    }
  }
})

test('a value may be a CID alone, as bytes or as text', () => {
  expect(read(testRecord(key, { value: 'bafkqaaa' })).value).toBe('/ipfs/bafkqaaa')
  const data = signedOf({ Value: Buffer.from('0155000568656c6c6f', 'hex') })
  expect(read(testRecord(key, { value, data })).value).toBe('/ipfs/bafkqablimvwgy3y')
})
