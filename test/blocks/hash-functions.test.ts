import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { checkCid, verifyBlock } from '../../src/blocks/block.ts'
import { hashFunctions } from '../../src/blocks/hash-functions.ts'

const cidOf = (code: number, hex: string) => CID.createV1(0x55, Digest.create(code, Buffer.from(hex, 'hex')))

/** FIPS 180-4, FIPS 202, RFC 7693, the Keccak team's known answers, and the official vectors of BLAKE2 and BLAKE3. */
const known: readonly (readonly [name: string, code: number, text: string, digest: string])[] = [
  ['sha1', 0x11, 'abc', 'a9993e364706816aba3e25717850c26c9cd0d89d'],
  ['sha2-256', 0x12, 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ['dbl-sha2-256', 0x56, 'hello', '9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50'],
  ['sha3-256', 0x16, '', 'a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a'],
  ['shake-128', 0x18, '', '7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26'],
  [
    ...(['shake-256', 0x19, ''] as const),
    '46b9dd2b0ba88d13233b3feb743eeb243fcd52ea62b81b82b50c27646ed5762fd75dc4ddd8c0f200cb05019d67b592f6fc821c49479ab48640292eacb3b7c4be',
  ],
  ['keccak-224', 0x1a, '', 'f71837502ba8e10837bdd8d365adb85591895602fc552b48b7390abd'],
  ['keccak-256', 0x1b, '', 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470'],
  [
    ...(['keccak-384', 0x1c, ''] as const),
    '2c23146a63a29acf99e73b88f8c24eaa7dc60aa771780ccc006afbfa8fe2479b2dd2b21362337441ac12b515911957ff',
  ],
  [
    ...(['keccak-512', 0x1d, ''] as const),
    '0eab42de4c3ceb9235fc91acffe746b29c29a8c366b7c60e4e67c466f36a4304c00fa9caf9d87976ba469bcbe06713b435f091ef2769fb160cdab33d3670680e',
  ],
  ['blake3', 0x1e, '', 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
  [
    ...(['blake3', 0x1e, ''] as const),
    'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262e00f03e7b69af26b7faaf09fcd333050338ddfe085b8cc869ca98b206c08243a',
  ],
  ['blake2b-160', 0xb214, '', '3345524abf6bbe1809449224b5972c41790b6cf2'],
  ['blake2b-256', 0xb220, 'abc', 'bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319'],
  [
    ...(['blake2b-384', 0xb230, ''] as const),
    'b32811423377f52d7862286ee1a72ee540524380fda1724a6f25d7978c6fd3244a6caf0498812673c5e05ef583825100',
  ],
  [
    ...(['blake2b-512', 0xb240, 'abc'] as const),
    'ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923',
  ],
  ['blake2s-160', 0xb254, '', '354c9c33f735962418bdacb9479873429c34916f'],
  ['blake2s-224', 0xb25c, '', '1fa1291e65248b37b3433475b2a0dd63d54a11ecc4e3e034e7bc1ef4'],
  ['blake2s-256', 0xb260, 'abc', '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982'],
]

test.each(known)('%s (0x%s) of %j is verified, and one bit more or less is not', (name, code, text, digest) => {
  const bytes = Buffer.from(text)
  expect(hashFunctions.get(code)?.name).toBe(name)
  expect(verifyBlock(cidOf(code, digest), bytes).cid.multihash.code).toBe(code)
  const other = Buffer.from(digest, 'hex')
  other[other.byteLength - 1] = (other.at(-1) ?? 0) ^ 1
  expect(() => verifyBlock(cidOf(code, other.toString('hex')), bytes)).toThrowError(/do not hash/)
  expect(() => verifyBlock(cidOf(code, digest), Buffer.concat([bytes, Buffer.of(0)]))).toThrowError(/do not hash/)
})

test('a digest may be the beginning of the full one, from 20 bytes on', () => {
  for (const [, code, text, digest] of known) {
    const bytes = Buffer.from(text)
    expect(verifyBlock(cidOf(code, digest.slice(0, 40)), bytes).cid.multihash.size).toBe(20)
    expect(() => verifyBlock(cidOf(code, digest.slice(0, 38)), bytes)).toThrowError(/digest of 19 bytes/)
  }
})

test('a digest longer than its function gives is refused, also of one whose output goes on', () => {
  for (const [code, { bytesMax }] of hashFunctions) {
    expect(() => checkCid(cidOf(code, '00'.repeat(bytesMax)))).not.toThrow()
    expect(() => checkCid(cidOf(code, '00'.repeat(bytesMax + 1)))).toThrowError(/digest of/)
  }
})

test.each([
  ['md5', 0xd5, 16],
  ['murmur3', 0x22, 16],
  ['sha2-256-trunc254-padded', 0x1012, 32],
  ['poseidon', 0xb401, 32],
  ['blake2b-152', 0xb213, 19],
  ['blake2s-152', 0xb253, 19],
  ['skein256-256', 0xb320, 32],
])('%s is refused: it cannot be verified, or can be forged', (_, code, bytes) => {
  expect(() => checkCid(cidOf(code, '00'.repeat(bytes)))).toThrowError(/is not supported/)
})
