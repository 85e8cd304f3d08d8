import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { codecs, linksOf } from '../../src/dag/codecs.ts'
import { limits, putFile, putRaw, signal } from '../support/dags.ts'

const a = hashBlock(Buffer.from('a'), codecs.raw).cid
const b = hashBlock(Buffer.from('b'), codecs.dagPb).cid
const links = (codec: number, bytes: Uint8Array) =>
  linksOf(CID.createV1(codec, Digest.create(0x12, new Uint8Array(32))), bytes, limits).map(({ cid }) => cid.toString())
const invalid = expect.objectContaining({ code: 'DAG_INVALID' })

test('the links of dag-pb, dag-cbor and dag-json are found in the order of the block, duplicates included', async () => {
  const value = { first: [a, { deep: b }], z: a, text: 'x', bytes: Buffer.from('y'), none: null }
  const expected = [a, b, a].map(String)
  expect(links(codecs.dagCbor, dagCbor.encode(value)).toSorted()).toEqual(expected.toSorted())
  expect(links(codecs.dagJson, dagJson.encode(value))).toEqual(expected)
  const store = new MemoryBlockstore()
  const file = await putFile(store, [
    { cid: await putRaw(store, Buffer.from('a')), size: 1n },
    { cid: b, size: 1n },
    { cid: a, size: 1n },
  ])
  expect(links(codecs.dagPb, await store.get(file.cid, { signal }))).toEqual([a, b, a].map(String))
})

test('blocks of other codecs have no links, whatever their bytes say', () => {
  for (const codec of [codecs.raw, codecs.cbor, codecs.json, codecs.libp2pKey, 0x300001]) {
    expect(links(codec, dagCbor.encode([a]))).toEqual([])
  }
})

test('99: 100,000 nested arrays, maps or tags are refused before they are decoded', () => {
  for (const byte of [0x81, 0xc1]) {
    expect(() => links(codecs.dagCbor, Buffer.alloc(100_000, byte))).toThrowError(invalid)
  }
  expect(() => links(codecs.dagCbor, Buffer.concat(Array(50_000).fill(Buffer.of(0xa1, 0x60))))).toThrowError(invalid)
  expect(() => links(codecs.dagJson, Buffer.alloc(100_000, '['))).toThrowError(invalid)
  expect(() => links(codecs.dagJson, Buffer.from('{"":'.repeat(50_000)))).toThrowError(invalid)
})

test('nesting is counted as depth: 256 levels pass, 257 do not, and wide values cost none', () => {
  const nested = (depth: number) => {
    let value: unknown = 1
    for (let level = 0; level < depth; level++) value = [value]
    return value
  }
  expect(links(codecs.dagCbor, dagCbor.encode(nested(256)))).toEqual([])
  expect(links(codecs.dagJson, dagJson.encode(nested(256)))).toEqual([])
  expect(() => links(codecs.dagCbor, dagCbor.encode(nested(257)))).toThrowError(invalid)
  expect(() => links(codecs.dagJson, dagJson.encode(nested(257)))).toThrowError(invalid)
  const wide = Array.from({ length: 5000 }, (_, index) => ({ index, brackets: '[[[{"\\"[[' }))
  expect(links(codecs.dagCbor, dagCbor.encode(wide))).toEqual([])
  expect(links(codecs.dagJson, dagJson.encode(wide))).toEqual([])
})

test.each([
  ['100: an array that claims 2^56 items', '9b00ffffffffffffff'],
  ['100: bytes that claim 2^56', '5b00ffffffffffffff'],
  ['100: a map that claims 2^63 entries', 'bb8000000000000000'],
  ['101: indefinite length', '9f01ff'],
  ['101: NaN', 'fb7ff8000000000000'],
  ['101: tag 43', 'd82b40'],
  ['101: a number that is not minimal', '1801'],
  ['101: bytes after the value', '0000'],
  ['101: a key twice', 'a2616101616102'],
  ['nothing', ''],
  ['a head without its argument', '19'],
])('%s is DAG_INVALID', (_, hex) => {
  expect(() => links(codecs.dagCbor, Buffer.from(hex, 'hex'))).toThrowError(invalid)
})

test('102: a __proto__ key pollutes nothing', () => {
  const bytes = Buffer.concat([Buffer.from('a169', 'hex'), Buffer.from('__proto__'), Buffer.from('a16178f5', 'hex')])
  expect(links(codecs.dagCbor, bytes)).toEqual([])
  expect(Reflect.get({}, 'x')).toBeUndefined()
})

test('a node with more links than allowed is LIMIT_EXCEEDED', () => {
  const cid = CID.createV1(codecs.dagCbor, Digest.create(0x12, new Uint8Array(32)))
  const bytes = dagCbor.encode(Array(11).fill(a))
  expect(linksOf(cid, bytes, { nodeLinksMax: 11 })).toHaveLength(11)
  expect(() => linksOf(cid, bytes, { nodeLinksMax: 10 })).toThrowError(
    expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
  )
})
