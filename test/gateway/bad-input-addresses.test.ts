import { createHash } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import { blake3 } from '@noble/hashes/blake3.js'
import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import { putRaw, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'
import { exchange, expectErrorShape, request } from '../support/raw-http.ts'

// CIDs, paths, names and queries, over a bare socket to a running gateway.

const hello = Buffer.from('hello world')
const cid = hashBlock(hello, 0x55).cid
const text = cid.toString()
const sha256 = createHash('sha256').update(hello).digest()
const rawCid = (code: number, digest: Uint8Array) => CID.createV1(0x55, Digest.create(code, digest))
const bytesOfVersion = (...version: number[]) => base32.encode(Uint8Array.of(...version, 0x55, 0x12, 32, ...sha256))
const others = [
  rawCid(0x13, createHash('sha512').update(hello).digest()),
  rawCid(0x1e, blake3(hello)),
  rawCid(0xb220, blake2b(hello, { dkLen: 32 })),
]
const identity = (bytes: number) => rawCid(0, Buffer.alloc(bytes, 'x'))
const unknown = hashBlock(hello, 0x300001).cid
const key = hashBlock(hello, 0x72).cid
const tenBytes = [...Array<number>(9).fill(0xff), 1]

let gateway: OpenGateway
let close: () => unknown
beforeAll(async () => {
  gateway = await openGateway((ended) => {
    close = () => ended({} as never)
  })
  const { store } = gateway
  await putRaw(store, hello)
  for (const other of others) await store.put(verifyBlock(other, hello), { signal })
})
afterAll(() => close())

type Row = readonly [group: number, what: string, target: string, status: number | readonly number[]]

const ok = (group: number, what: string, path: string): Row => [group, what, path, 200]
const bad = (group: number, what: string, path: string): Row => [group, what, path, 400]

const cids: readonly Row[] = [
  bad(1, 'nothing', '/ipfs/'),
  bad(1, 'nothing, twice', '/ipfs//'),
  bad(2, 'foo', '/ipfs/foo'),
  bad(3, 'Qm and 43 characters', `/ipfs/Qm${'a'.repeat(43)}`),
  bad(3, 'Qm and 45 characters', `/ipfs/Qm${'a'.repeat(45)}`),
  bad(4, 'a lower-cased Qm', '/ipfs/qmf412jqziuvutdgnb36fxfx7xg5v6kebsj4dpquhklyfd'),
  ok(5, 'b and upper case', `/ipfs/b${text.slice(1).toUpperCase()}`),
  ok(5, 'mixed case', `/ipfs/b${text.slice(1, 9).toUpperCase()}${text.slice(9)}`),
  ok(5, 'the prefix B', `/ipfs/${text.toUpperCase()}`),
  bad(6, 'a wrong last character', `/ipfs/${text.slice(0, -1)}f`),
  bad(7, 'one character longer', `/ipfs/${text}a`),
  bad(7, 'one character shorter', `/ipfs/${text.slice(0, -1)}`),
  bad(8, '8 KiB of base32', `/ipfs/ba${'f'.repeat(8000)}`),
  [8, '20 KiB of base32', `/ipfs/ba${'f'.repeat(20_000)}`, 431],
  bad(9, 'base58 of 8 KB', `/ipfs/z${'2'.repeat(8000)}`),
  [9, 'base58 of 50 KB', `/ipfs/z${'2'.repeat(50_000)}`, 431],
  ok(10, 'base16', `/ipfs/f${Buffer.from(cid.bytes).toString('hex')}`),
  ok(10, 'base58', `/ipfs/${base58btc.encode(cid.bytes)}`),
  ok(10, 'base36', `/ipfs/${base36.encode(cid.bytes)}`),
  ok(10, 'base64url', `/ipfs/${base64url.encode(cid.bytes)}`),
  [10, 'base64', `/ipfs/${encodeURIComponent(base64.encode(cid.bytes))}`, [200, 400]],
  bad(10, 'base10', '/ipfs/9123456'),
  bad(10, 'a prefix alone', '/ipfs/b'),
  bad(11, 'version 0 in base32', `/ipfs/${base32.encode(Uint8Array.of(0, 0x55, 0x12, 32, ...sha256))}`),
  bad(11, 'version 2', `/ipfs/${bytesOfVersion(2)}`),
  bad(11, 'version 3', `/ipfs/${bytesOfVersion(3)}`),
  bad(11, 'version 1, not minimal', `/ipfs/${bytesOfVersion(0x81, 0)}`),
  bad(12, 'a codec varint of 10 bytes', `/ipfs/${base32.encode(Uint8Array.of(1, ...tenBytes, 0x12, 32, ...sha256))}`),
  bad(12, 'a codec varint without an end', `/ipfs/${base32.encode(Uint8Array.of(1, 0xff, 0xff))}`),
  [13, 'an unknown codec', `/ipfs/${unknown}`, 406],
  ok(13, 'an unknown codec, raw', `/ipfs/${unknown}?format=raw`),
  [13, 'an unknown codec, as a tar', `/ipfs/${unknown}?format=tar`, 406],
  bad(
    14,
    'a digest that is longer than it says',
    `/ipfs/${base32.encode(Uint8Array.of(1, 0x55, 0x12, 20, ...sha256))}`,
  ),
  bad(
    14,
    'a digest that is shorter than it says',
    `/ipfs/${base32.encode(Uint8Array.of(1, 0x55, 0x12, 64, ...sha256))}`,
  ),
  bad(15, 'sha2-256 cut to 4 bytes', `/ipfs/${rawCid(0x12, sha256.subarray(0, 4))}`),
  bad(15, 'sha2-256 of 33 bytes', `/ipfs/${rawCid(0x12, Buffer.concat([sha256, Buffer.of(1)]))}`),
  bad(16, 'md5', `/ipfs/${rawCid(0xd5, createHash('md5').update(hello).digest())}`),
  bad(16, 'sha1 cut to 10 bytes', `/ipfs/${rawCid(0x11, createHash('sha1').update(hello).digest().subarray(0, 10))}`),
  bad(16, 'murmur3', `/ipfs/${rawCid(0x22, Buffer.alloc(8, 1))}`),
  ...others.map((other) => ok(17, `hash function 0x${other.multihash.code.toString(16)}`, `/ipfs/${other}`)),
  ok(18, 'identity of 128 bytes', `/ipfs/${identity(128)}`),
  bad(18, 'identity of 129 bytes', `/ipfs/${identity(129)}`),
  bad(18, 'identity of 129 bytes, raw', `/ipfs/${identity(129)}?format=raw`),
  ok(19, 'the probe', '/ipfs/bafkqaaa'),
  ok(19, 'the probe, raw', '/ipfs/bafkqaaa?format=raw'),
  ok(19, 'the probe as a CAR', '/ipfs/bafkqaaa?format=car'),
  bad(20, 'version 0 inside base32', `/ipfs/${base32.encode(Uint8Array.of(0x12, 32, ...sha256))}`),
  [21, 'a libp2p-key', `/ipfs/${key}`, 406],
  ok(21, 'a libp2p-key, raw', `/ipfs/${key}?format=raw`),
]

const paths: readonly Row[] = [
  bad(22, 'dots', `/ipfs/${text}/../x`),
  bad(22, 'one dot', `/ipfs/${text}/./x`),
  bad(22, 'dots above the root', '/ipfs/../../etc/passwd'),
  bad(23, 'encoded dots', `/ipfs/${text}/%2e%2e`),
  bad(23, 'half encoded dots', `/ipfs/${text}/.%2e/x`),
  bad(24, 'an encoded slash after dots', `/ipfs/${text}/..%2fx`),
  bad(24, 'an encoded slash', `/ipfs/${text}/a%2Fb`),
  [25, 'dots, encoded twice: a name', `/ipfs/${text}/%252e%252e`, 404],
  bad(26, 'NUL', `/ipfs/${text}/a%00b`),
  bad(26, 'NUL in the CID', '/ipfs/ba%00'),
  bad(27, 'a bad escape', `/ipfs/${text}/%zz`),
  bad(27, 'half an escape', `/ipfs/${text}/%4`),
  bad(28, 'an overlong slash', `/ipfs/${text}/%c0%af`),
  bad(28, 'a bare byte', `/ipfs/${text}/\xff`),
  bad(29, 'a lone surrogate', `/ipfs/${text}/%ed%a0%80`),
  bad(30, 'an empty segment', `/ipfs/${text}//x`),
  bad(30, 'two slashes at the end', `/ipfs/${text}//`),
  [30, 'another host in front', '//evil.example/ipfs/x', 404],
  [30, 'backslashes', '/\\evil.example/x', [400, 404]],
  bad(31, '300 segments', `/ipfs/${text}${'/a'.repeat(300)}`),
  [31, '10,000 segments', `/ipfs/${text}${'/a'.repeat(10_000)}`, [400, 414, 431]],
  bad(32, 'a URL of 12 KiB', `/${'a'.repeat(12_000)}`),
  [32, 'a URL of 64 KiB', `/${'a'.repeat(65_536)}`, 431],
  [33, 'the absolute form of another host', `http://evil.example/ipfs/${text}`, 200],
  [33, 'the absolute form of another host, with a bad CID', 'http://evil.example/ipfs/x', 400],
  [33, 'another scheme', `ftp://evil.example/ipfs/${text}`, [400, 404]],
  [33, 'an authority alone', 'evil.example:80', [400, 404]],
]

const queries: readonly Row[] = [
  ok(34, 'CR and LF in a file name', `/ipfs/${text}?filename=a%0d%0aX:%201`),
  ok(35, 'quotes in a file name', `/ipfs/${text}?filename=a%22;x=%22b`),
  ok(36, 'an emoji', `/ipfs/${text}?filename=%F0%9F%98%80`),
  ok(36, 'right to left', `/ipfs/${text}?filename=%E2%80%AEfdp.exe`),
  ok(36, 'control characters', `/ipfs/${text}?filename=%00%01%7f`),
  ok(36, 'half a character', `/ipfs/${text}?filename=%F0%9F`),
  ok(37, 'a file name of 4 KB', `/ipfs/${text}?filename=${'x'.repeat(4000)}`),
  [37, 'a file name of 64 KB', `/ipfs/${text}?filename=${'x'.repeat(64_000)}`, 431],
  ok(38, 'bytes shown as a page', `/ipfs/${text}?filename=x.html`),
  [39, 'an unknown format', `/ipfs/${text}?format=exe`, [400, 406]],
  [39, 'a format of 4 KB', `/ipfs/${text}?format=${'x'.repeat(4000)}`, [400, 406]],
  bad(40, 'an unknown scope', `/ipfs/${text}?format=car&dag-scope=bogus`),
  bad(41, 'backwards', `/ipfs/${text}?format=car&entity-bytes=5:1`),
  bad(41, 'letters', `/ipfs/${text}?format=car&entity-bytes=a:b`),
  bad(41, 'before the first byte', `/ipfs/${text}?format=car&entity-bytes=-9999999999999999999:*`),
  bad(41, 'nothing', `/ipfs/${text}?format=car&entity-bytes=:`),
  bad(42, 'a script', '/?uri=javascript:alert(1)'),
  bad(42, 'another host', '/?uri=//evil.example'),
  bad(42, 'another scheme', '/ipfs/?uri=https://evil.example'),
  bad(42, 'no root', '/?uri=ipfs://'),
  ok(44, 'a format given twice', `/ipfs/${text}?format=raw&format=exe`),
  [44, 'a format given twice, the other way', `/ipfs/${text}?format=exe&format=raw`, [400, 406]],
]

test.each([...cids, ...paths, ...queries])('%i: %s', async (_, what, target, status) => {
  for (const method of ['GET', 'HEAD']) {
    // As browsers send it: the JSON of errors would be asked for as the format of content.
    const headers = target.includes('format=')
      ? { Accept: 'application/problem+json' }
      : { Accept: '*/*, application/problem+json' }
    const answer = await exchange(gateway.port, [request(target, { method, headers })])
    expect([method, what, answer.status]).toEqual([method, what, expect.toBeOneOf([status].flat())])
    const location = answer.headers.get('location')
    if (location !== undefined) expect(location).toMatch(/^\/(?![/\\])/)
    // What Node does not take for a request is answered before its method is known.
    const understood = answer.headers.has('access-control-allow-origin')
    if (method === 'HEAD' && understood) expect(answer.body.byteLength).toBe(0)
    if (method === 'GET') expectErrorShape(answer)
    expect(answer.headers.has('x')).toBe(false)
  }
  expect(gateway.logged).toEqual([])
})

test('5: every spelling of a CID has the tag of the canonical one', async () => {
  for (const spelling of [`b${text.slice(1).toUpperCase()}`, base58btc.encode(cid.bytes), base36.encode(cid.bytes)]) {
    const answer = await exchange(gateway.port, [request(`/ipfs/${spelling}`, { headers: { Accept: '*/*' } })])
    expect(answer.headers.get('etag')).toBe(`"${text}"`)
  }
})

test.each([
  ['1,000 types', 'application/x, '.repeat(1000), 406],
  ['2,000 types', 'application/x, '.repeat(2000), 431],
  ['a weight that is none', 'application/vnd.ipld.raw;q=x', 200],
  ['semicolons', `text/plain${';'.repeat(3000)}`, 200],
])('43: an Accept of %s', async (_, accept, status) => {
  const answer = await exchange(gateway.port, [request(`/ipfs/${text}`, { headers: { Accept: accept } })])
  expect(answer.status).toBe(status)
})
