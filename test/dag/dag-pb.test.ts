import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { decodeDagPb } from '../../src/dag/dag-pb.ts'
import { limits } from '../support/dags.ts'

const cid = hashBlock(Buffer.from('a'), 0x55).cid
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const link = (...fields: Uint8Array[]) => field(0x12, Buffer.concat(fields))
const field = (tag: number, bytes: Uint8Array) => Buffer.concat([Buffer.of(tag, bytes.byteLength), bytes])
const hash = field(0x0a, cid.bytes)
const name = (text: string) => field(0x12, Buffer.from(text))

const anyCid = fc
  .record({
    version: fc.boolean(),
    codec: fc.constantFrom(0x55, 0x70, 0x71, 0x0129, 0x300001),
    code: fc.constantFrom(0x12, 0x00, 0x13),
    digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  })
  .map(({ version, codec, code, digest }) =>
    version ? CID.createV1(codec, Digest.create(code, digest)) : CID.createV0(Digest.create(0x12, digest)),
  )
const anyNode = fc.record({
  data: fc.option(fc.uint8Array({ maxLength: 40 })),
  links: fc.array(
    fc.record({ cid: anyCid, name: fc.string({ unit: 'grapheme', maxLength: 8 }), size: fc.maxSafeNat() }),
    { maxLength: 12 },
  ),
})

function encoded({ data, links }: typeof anyNode extends fc.Arbitrary<infer T> ? T : never): Uint8Array {
  return dagPb.encode(
    dagPb.prepare({
      ...(data === null ? {} : { Data: data }),
      Links: links.map((one) => ({ Hash: one.cid, Name: one.name, Tsize: one.size })),
    }),
  )
}

function read(bytes: Uint8Array) {
  const { data, links } = decodeDagPb(bytes, limits)
  const read = []
  for (let index = 0; index < links.count; index++) {
    expect(links.codec(index)).toBe(links.cid(index).code)
    read.push([links.cid(index).toString(), links.name(index), links.dagBytes(index)])
  }
  return { data: data === undefined ? undefined : Buffer.from(data), links: read }
}

function readByLibrary(bytes: Uint8Array) {
  const { Data, Links } = dagPb.decode(bytes)
  return {
    data: Data === undefined ? undefined : Buffer.from(Data),
    links: Links.map(({ Hash, Name, Tsize }) => [
      Hash.toString(),
      Name ?? '',
      Tsize === undefined ? undefined : BigInt(Tsize),
    ]),
  }
}

test('every node that @ipld/dag-pb writes is read as it reads it', () => {
  fc.assert(
    fc.property(anyNode, (node) => {
      const bytes = encoded(node)
      expect(read(bytes)).toEqual(readByLibrary(bytes))
    }),
    { numRuns: 300 },
  )
})

test('a block with one byte changed is refused by both or by us alone, never read where @ipld/dag-pb refuses', () => {
  fc.assert(
    fc.property(anyNode, fc.nat(), fc.integer({ min: 1, max: 255 }), (node, at, change) => {
      const bytes = Uint8Array.from(encoded(node))
      fc.pre(bytes.byteLength > 0)
      const position = at % bytes.byteLength
      bytes[position] = (bytes[position] ?? 0) ^ change
      const library = outcome(() => dagPb.decode(bytes).Links.length)
      const ours = outcome(() => decodeDagPb(bytes, limits).links.count)
      if (ours !== 'refused') expect(ours).toBe(library)
    }),
    { numRuns: 2000 },
  )
})

function outcome(run: () => number): number | 'refused' {
  try {
    return run()
  } catch {
    return 'refused'
  }
}

test.each([
  ['a field that is no field of a node', hex('1a00')],
  ['a wrong wire type', hex('0801')],
  ['Data twice', Buffer.concat([field(0x0a, Buffer.from('a')), field(0x0a, Buffer.from('b'))])],
  ['Links on both sides of Data', Buffer.concat([link(hash), field(0x0a, Buffer.from('a')), link(hash)])],
  ['a link without Hash', link(name('a'))],
  ['an empty link', hex('1200')],
  ['Hash that is no CID', link(field(0x0a, Buffer.from('not a cid')))],
  ['Hash of version 2', link(field(0x0a, Buffer.concat([Buffer.of(2), cid.bytes.subarray(1)])))],
  ['Hash with bytes after it', link(field(0x0a, Buffer.concat([cid.bytes, Buffer.of(0)])))],
  ['Hash twice', link(hash, hash)],
  ['Name before Hash', link(name('a'), hash)],
  ['Name twice', link(hash, name('a'), name('b'))],
  ['Tsize before Name', link(hash, hex('1801'), name('a'))],
  ['Tsize as bytes', link(hash, hex('1a0101'))],
  ['an unknown field of a link', link(hash, hex('2001'))],
  ['a length beyond the end', hex('12ff01 00')],
  ['a length of 2^40', hex('0a 80 80 80 80 80 20')],
  ['a varint without end', Buffer.alloc(20, 0xff)],
])('85: %s is DAG_INVALID', (_, bytes) => {
  expect(() => decodeDagPb(bytes, limits)).toThrowError(expect.objectContaining({ code: 'DAG_INVALID' }))
})

test('86: unsorted and repeated names and a Tsize of 2^64-1 are read as they are', () => {
  const sized = Buffer.concat([
    link(hash, name('b'), hex('18ffffffffffffffffff01')),
    link(hash, name('a')),
    link(hash, name('a')),
  ])
  expect(read(sized).links.map(([, ...rest]) => rest)).toEqual([
    ['b', 2n ** 64n - 1n],
    ['a', undefined],
    ['a', undefined],
  ])
})

test('87: a name that is no UTF-8 keeps its bytes', () => {
  const { links } = decodeDagPb(link(hash, field(0x12, Buffer.of(0x61, 0xff))), limits)
  expect([...links.nameBytes(0)]).toEqual([0x61, 0xff])
  expect(links.name(0)).toBe('a\ufffd')
})

test('a node with more links than allowed is LIMIT_EXCEEDED', () => {
  const bytes = Buffer.concat(Array<Buffer>(11).fill(link(hash)))
  expect(decodeDagPb(bytes, { nodeLinksMax: 11 }).links.count).toBe(11)
  expect(() => decodeDagPb(bytes, { nodeLinksMax: 10 })).toThrowError(
    expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
  )
})
