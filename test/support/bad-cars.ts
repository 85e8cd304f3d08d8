import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { carV1, carV2, header, lengthed, node, pragma, raw, section, varint } from './cars.ts'

export const leafA = raw('first leaf')
export const leafB = raw('second leaf')
export const root = node([leafA, leafB])
export const whole = carV1([root.cid], [root, leafA, leafB])
export const corrupt = { cid: leafB.cid, bytes: Buffer.from('not the second leaf') }
export const identity = (bytes: Uint8Array) => CID.createV1(0x55, Digest.create(0x00, bytes))

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts)
}

/** A CAR that is not one, and how it is refused. */
export interface BadCar {
  readonly group: string
  readonly car: () => Uint8Array | AsyncIterable<Uint8Array>
  readonly code: string
  readonly status: number
  readonly message?: RegExp
  /** As the metrics count it. */
  readonly limit?: string
}

export const invalid = { code: 'CAR_INVALID', status: 400 } as const
export const rootsOf = (count: number) => Array.from({ length: count }, () => root.cid)

export const badCars: readonly BadCar[] = [
  { group: 'nothing at all', car: () => join(), ...invalid },
  { group: '67 a header of length zero', car: () => join(varint(0), section(root)), ...invalid },
  { group: '68 a header that claims 2^40 bytes', car: () => endless(varint(2n ** 40n)), ...invalid },
  { group: '68 a header that claims 2^63 bytes', car: () => endless(varint(2n ** 63n)), ...invalid },
  { group: '68 a header length of 11 bytes', car: () => endless(Buffer.alloc(11, 0xff)), ...invalid },
  {
    group: '68 a header that claims 1 MiB + 1',
    car: () => endless(varint(2 ** 20 + 1)),
    ...invalid,
    limit: 'car_header_bytes',
  },
  { group: '68 a header that is cut short', car: () => whole.subarray(0, 20), ...invalid },
  { group: '69 a header that is not CBOR', car: () => lengthed(Buffer.from('not cbor at all')), ...invalid },
  {
    group: '69 a header with bytes after its CBOR',
    car: () => lengthed(header({ version: 1, roots: [] }).subarray(1), Buffer.from([0])),
    ...invalid,
  },
  { group: '69 a header of 100,000 nested lists', car: () => lengthed(Buffer.alloc(100_000, 0x81)), ...invalid },
  { group: '70 a header that is a list', car: () => header([1, []]), ...invalid },
  { group: '70 a header that is null', car: () => header(null), ...invalid },
  {
    group: '70 a header with an extra key',
    car: () => header({ version: 1, roots: [root.cid], extra: 1 }),
    ...invalid,
    message: /"extra"/,
  },
  { group: '70 a header without a version', car: () => header({ roots: [root.cid] }), ...invalid },
  { group: '70 a header without roots', car: () => header({ version: 1 }), ...invalid },
  { group: '70 version 3', car: () => header({ version: 3, roots: [] }), ...invalid },
  { group: '70 version "1"', car: () => header({ version: '1', roots: [] }), ...invalid },
  { group: '70 version 2 without a body', car: () => pragma, ...invalid },
  { group: '70 version 2 with roots', car: () => header({ version: 2, roots: [root.cid] }), ...invalid },
  { group: '70 roots that are a map', car: () => header({ version: 1, roots: { 0: root.cid } }), ...invalid },
  { group: '70 roots that are null', car: () => header({ version: 1, roots: null }), ...invalid },
  { group: '70 a root that is no CID', car: () => header({ version: 1, roots: ['root'] }), ...invalid },
  {
    group: '70 a root of a hash we cannot verify',
    car: () => header({ version: 1, roots: [CID.createV1(0x55, Digest.create(0x11, Buffer.alloc(20)))] }),
    ...invalid,
  },
  {
    group: '71 1,001 roots',
    car: () => header({ version: 1, roots: rootsOf(1001) }),
    code: 'LIMIT_EXCEEDED',
    status: 413,
  },
  {
    group: '71 100,000 roots',
    car: () => header({ version: 1, roots: rootsOf(100_000) }),
    code: 'LIMIT_EXCEEDED',
    status: 413,
  },
  { group: '72 a section of length zero', car: () => join(whole, varint(0)), ...invalid, message: /block 4/ },
  { group: '72 zeros after the last section', car: () => join(whole, Buffer.alloc(512)), ...invalid },
  {
    group: '73 a section of 2 MiB + 1 and its CID',
    car: () => carV1([], [raw(Buffer.alloc(2 ** 21 + 1))]),
    code: 'BLOCK_TOO_LARGE',
    status: 413,
    message: /block 1/,
  },
  {
    group: '73 a section that claims 2^40 bytes',
    car: () => endless(join(header({ version: 1, roots: [] }), varint(2n ** 40n))),
    code: 'BLOCK_TOO_LARGE',
    status: 413,
  },
  {
    group: '73 a section that claims 2^63 bytes',
    car: () => endless(join(header({ version: 1, roots: [] }), varint(2n ** 63n))),
    ...invalid,
  },
  {
    group: '74 a section shorter than its CID',
    car: () => join(whole, lengthed(leafA.cid.bytes.subarray(0, 20)), section(leafB)),
    ...invalid,
    message: /block 4 is shorter/,
  },
  {
    group: '74 a section without a valid CID',
    car: () => join(whole, lengthed(Buffer.from([9, 9, 9, 9]))),
    ...invalid,
    message: /block 4/,
  },
  {
    group: '74 a CIDv0 with a short digest',
    car: () => join(whole, lengthed(Buffer.from([0x12, 0x14]), Buffer.alloc(40))),
    ...invalid,
  },
  { group: '75 a truncated last block', car: () => whole.subarray(0, -1), ...invalid, message: /middle of block 3/ },
  {
    group: '76 a block that does not hash to its CID',
    car: () => carV1([root.cid], [root, leafA, corrupt]),
    ...invalid,
    message: /block 3/,
  },
  {
    group: '77 one CID twice with different bytes',
    car: () => carV1([root.cid], [root, leafA, leafB, corrupt]),
    ...invalid,
    message: /block 4/,
  },
  {
    group: '78 an identity CID of 1 MiB',
    car: () => carV1([], [{ cid: identity(Buffer.alloc(2 ** 20)), bytes: Buffer.alloc(2 ** 20) }]),
    ...invalid,
    message: /block 1/,
  },
  {
    group: '78 an identity CID of 129 bytes',
    car: () => carV1([], [{ cid: identity(Buffer.alloc(129)), bytes: Buffer.alloc(129) }]),
    ...invalid,
  },
  {
    group: '78 an identity CID with other bytes',
    car: () => carV1([], [{ cid: identity(Buffer.from('a')), bytes: Buffer.from('b') }]),
    ...invalid,
    message: /block 1/,
  },
  {
    group: '79 a root that is not in the body',
    car: () => carV1([root.cid], [leafA, leafB]),
    ...invalid,
    message: /names the root/,
  },
  {
    group: '79 a block below the root that is not in the body',
    car: () => carV1([root.cid], [root, leafA]),
    ...invalid,
    message: /links to the block/,
  },
  { group: '80 a data offset inside the header', car: () => carV2(whole, { dataOffset: 50n }), ...invalid },
  { group: '80 a data offset of zero', car: () => carV2(whole, { dataOffset: 0n }), ...invalid },
  { group: '80 a data offset beyond the end', car: () => carV2(whole, { dataOffset: 100_000n }), ...invalid },
  { group: '80 a data offset within the data', car: () => carV2(whole, { dataOffset: 55n }), ...invalid },
  { group: '80 an index inside the data', car: () => carV2(whole, { indexOffset: 60n }), ...invalid },
  { group: '80 a data size of 2^63', car: () => carV2(whole, { dataSize: 2n ** 63n }), ...invalid },
  { group: '80 a data size of zero', car: () => carV2(whole, { dataSize: 0n }), ...invalid },
  { group: '80 a data size smaller than the header', car: () => carV2(whole, { dataSize: 10n }), ...invalid },
  {
    group: '80 a data size one byte short',
    car: () => carV2(whole, { dataSize: BigInt(whole.byteLength - 1) }),
    ...invalid,
  },
  {
    group: '80 a data size beyond the end',
    car: () => carV2(whole, { dataSize: BigInt(whole.byteLength + 1) }),
    ...invalid,
  },
  { group: '80 a CARv2 inside a CARv2', car: () => carV2(carV2(whole)), ...invalid },
  {
    group: '80 a corrupt pragma',
    car: () => join(Buffer.from('0aa16776657273696f6e03', 'hex'), carV2(whole).subarray(11)),
    ...invalid,
  },
  {
    group: '80 a pragma spelled with a longer varint',
    car: () => join(Buffer.from('8a00a16776657273696f6e02', 'hex'), carV2(whole).subarray(11)),
    ...invalid,
  },
  { group: '80 a CARv2 that ends in its header', car: () => carV2(whole).subarray(0, 30), ...invalid },
  {
    group: '82 100,001 tiny blocks',
    car: () => repeated(header({ version: 1, roots: [] }), section(leafA), 100_001),
    code: 'LIMIT_EXCEEDED',
    status: 413,
  },
  {
    group: '83 an endless CAR',
    car: () => repeated(header({ version: 1, roots: [] }), section(raw(Buffer.alloc(2 ** 20))), 2000),
    code: 'UPLOAD_TOO_LARGE',
    status: 413,
  },
]

/** `start`, then bytes without end. */
export async function* endless(start: Uint8Array, chunkBytes = 65_536): AsyncGenerator<Uint8Array> {
  yield start
  for (;;) yield Buffer.alloc(chunkBytes, 0xff)
}

export async function* repeated(start: Uint8Array, part: Uint8Array, times: number): AsyncGenerator<Uint8Array> {
  yield start
  const perChunk = Math.max(1, Math.floor(65_536 / part.byteLength))
  const chunk = Buffer.concat(Array.from({ length: perChunk }, () => part))
  for (let done = 0; done < times; done += perChunk) yield chunk
}
