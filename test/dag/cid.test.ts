import { createHash } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import { blake3 } from '@noble/hashes/blake3.js'
import { base10 } from 'multiformats/bases/base10'
import { base16, base16upper } from 'multiformats/bases/base16'
import { base32, base32pad, base32upper } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64, base64pad, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { parseCid } from '../../src/dag/cid.ts'
import { isAppError } from '../../src/errors.ts'

const sha256 = createHash('sha256').update('hello').digest()
const digest = Digest.create(0x12, sha256)
const v1 = CID.createV1(0x55, digest)
const v0 = CID.createV0(digest).toString()
const text = v1.toString()
const hash = (code: number, bytes: Uint8Array) => CID.createV1(0x55, Digest.create(code, bytes)).toString()
const bytesAs32 = (...bytes: number[]) => base32.encode(Uint8Array.from(bytes))

const refused: readonly (readonly [string, string])[] = [
  ['1: nothing', ''],
  ['2: foo', 'foo'],
  ['3: Qm and 43 characters', `Qm${'a'.repeat(43)}`],
  ['3: Qm and 45 characters', `Qm${'a'.repeat(45)}`],
  ['4: lower-cased Qm', v0.toLowerCase()],
  ['6: a wrong last character', `${text.slice(0, -1)}${text.endsWith('7') ? '3' : '7'}`],
  ['7: one character longer', `${text}a`],
  ['7: one character shorter', text.slice(0, -1)],
  ['8: 8 KiB of base32', `b${'a'.repeat(8191)}`],
  ['9: 50 KB of base58', `z${'2'.repeat(50_000)}`],
  ['9: 50 KB of Qm', `Qm${'2'.repeat(50_000)}`],
  ['10: base10', base10.encode(v1.bytes)],
  ['10: padded base64', base64pad.encode(v1.bytes)],
  ['10: padded base32', base32pad.encode(v1.bytes)],
  ['11: version 2', bytesAs32(2, 0x55, ...digest.bytes)],
  ['11: version 3', bytesAs32(3, 0x55, ...digest.bytes)],
  ['11: version 1, not minimal', bytesAs32(0x81, 0, 0x55, ...digest.bytes)],
  ['12: a codec varint of 10 bytes', bytesAs32(1, ...Array<number>(9).fill(0xff), 1, ...digest.bytes)],
  ['12: a codec varint above 2^53', bytesAs32(1, ...Array<number>(8).fill(0xff), 0x7f, ...digest.bytes)],
  ['14: a digest that is shorter than it says', bytesAs32(1, 0x55, 0x12, 33, ...sha256)],
  ['14: a digest that is longer than it says', bytesAs32(1, 0x55, 0x12, 31, ...sha256)],
  ['15: sha2-256 cut to 4 bytes', hash(0x12, sha256.subarray(0, 4))],
  ['15: sha2-256 with 33 bytes', hash(0x12, Buffer.concat([sha256, Buffer.of(0)]))],
  ['16: md5', hash(0xd5, createHash('md5').update('a').digest())],
  ['16: sha1 of 10 bytes', hash(0x11, createHash('sha1').update('a').digest().subarray(0, 10))],
  ['16: murmur3', hash(0x22, sha256.subarray(0, 8))],
  ['18: identity of 129 bytes', hash(0, new Uint8Array(129))],
  ['20: version 0 inside base58btc', `z${v0}`],
  ['20: version 0 inside base32', base32.encode(digest.bytes)],
  ['20: version 0 with a codec', bytesAs32(0, 0x71, ...digest.bytes)],
  ['spaces', ` ${text}`],
  ['a path', `${text}/a`],
  ['not ASCII', 'bäfy'],
]

test.each(refused)('%s is CID_INVALID, with a message of bounded length', (_, given) => {
  const thrown = (() => {
    try {
      return parseCid(given)
    } catch (error) {
      return error
    }
  })()
  expect(isAppError(thrown, 'CID_INVALID') && thrown.message.length < 250).toBe(true)
})

const read: readonly (readonly [string, string, string])[] = [
  ['version 0', v0, v0],
  ['version 1', text, text],
  ['5: b and upper case', `b${text.slice(1).toUpperCase()}`, text],
  ['base32 upper', base32upper.encode(v1.bytes), text],
  ['base58btc', base58btc.encode(v1.bytes), text],
  ['base36', base36.encode(v1.bytes), text],
  ['10: base16', base16.encode(v1.bytes), text],
  ['10: base16 upper', base16upper.encode(v1.bytes), text],
  ['10: base64', base64.encode(v1.bytes), text],
  ['10: base64url', base64url.encode(v1.bytes), text],
  ['19: the empty identity CID', 'bafkqaaa', 'bafkqaaa'],
  ['21: libp2p-key', CID.createV1(0x72, digest).toString(), CID.createV1(0x72, digest).toString()],
  ['13: an unknown codec', CID.createV1(0x300001, digest).toString(), CID.createV1(0x300001, digest).toString()],
  ['17: sha2-512', hash(0x13, createHash('sha512').update('a').digest()), ''],
  ['17: blake3', hash(0x1e, blake3(Buffer.from('a'))), ''],
  ['17: blake2b-256', hash(0xb220, blake2b(Buffer.from('a'), { dkLen: 32 })), ''],
  ['18: identity of 128 bytes', hash(0, new Uint8Array(128)), ''],
  [
    '18: identity of 128 bytes in base16',
    base16.encode(CID.parse(hash(0, new Uint8Array(128))).bytes),
    hash(0, new Uint8Array(128)),
  ],
]

test.each(read)('%s is read, and written canonically', (_, given, canonical) => {
  expect(parseCid(given).toString()).toBe(canonical === '' ? given : canonical)
})

test('what is too long is refused by its length, before a quadratic decoder sees it', () => {
  for (const prefix of ['z', 'b', 'Qm', 'k']) {
    expect(() => parseCid(prefix + '2'.repeat(50_000))).toThrowError(/has 5000[12] characters/)
  }
})
