import { UnixFS } from 'ipfs-unixfs'
import { describe, expect, test } from 'vitest'
import { encodeUnixfs, varint } from '../../src/dag/unixfs-encode.ts'

/** The 64-bit varint by its definition. */
function decode(bytes: readonly number[]): bigint {
  return bytes.reduceRight((value, byte) => (value << 7n) | BigInt(byte & 0x7f), 0n)
}

describe('varint', () => {
  const edges = [0, 1, 127, 128, 2 ** 28, 2 ** 31 - 1, 2 ** 31, 3 * 2 ** 30, 2 ** 32 - 1, 2 ** 32, 2 ** 35, 2 ** 53 - 1]
  test.each(edges)('%d comes back', (value) => {
    const bytes = varint(value)
    expect(decode(bytes)).toBe(BigInt(value))
    expect(bytes.slice(0, -1).every((byte) => byte >= 0x80)).toBe(true)
    expect(bytes.at(-1)).toBeLessThan(0x80)
    expect(varint(BigInt(value))).toEqual(bytes)
  })
})

test('sizes from 2 to 4 GiB are written as they are, which ipfs-unixfs does not do', () => {
  for (const bytes of [2 ** 31 - 1, 2 ** 31, 3 * 2 ** 30, 2 ** 32 - 1, 2 ** 32]) {
    const encoded = encodeUnixfs({ type: 'file', fileBytes: bytes, blockBytes: [bytes] })
    expect(Buffer.from(encoded)).toEqual(Buffer.from([8, 2, 0x18, ...varint(bytes), 0x20, ...varint(bytes)]))
    expect(UnixFS.unmarshal(encoded).blockSizes).toEqual([BigInt(bytes)])
  }
})

test.each([
  { type: 'file', data: Buffer.from('hello'), fileBytes: 5 },
  { type: 'file', fileBytes: 0 },
  { type: 'directory' },
  { type: 'symlink', data: Buffer.from('../a') },
  { type: 'hamt', data: Buffer.from([1, 2, 3]), fanout: 256, hashType: 0x22 },
  {
    type: 'file',
    data: Buffer.from('x'),
    fileBytes: 1,
    mode: 0o640,
    mtime: { secs: 1_700_000_000n, nsecs: 123_456_789 },
  },
  { type: 'file', data: Buffer.from('x'), fileBytes: 1, mtime: { secs: -1n, nsecs: 0 } },
] as const)('ipfs-unixfs reads back $type', (fields) => {
  const read = UnixFS.unmarshal(encodeUnixfs(fields))
  expect(read.type).toBe(fields.type === 'hamt' ? 'hamt-sharded-directory' : fields.type)
  expect(Buffer.from(read.data ?? [])).toEqual(Buffer.from('data' in fields ? fields.data : []))
  if ('mode' in fields) expect(read.mode).toBe(fields.mode)
  if ('mtime' in fields) {
    expect({ secs: read.mtime?.secs, nsecs: read.mtime?.nsecs ?? 0 }).toEqual(fields.mtime)
  }
})
