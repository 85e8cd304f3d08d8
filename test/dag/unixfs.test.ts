import { UnixFS } from 'ipfs-unixfs'
import { expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { decodeDagPb } from '../../src/dag/dag-pb.ts'
import { readShard } from '../../src/dag/hamt.ts'
import { decodeUnixfs } from '../../src/dag/unixfs.ts'
import { limits, putNode, signal } from '../support/dags.ts'

const leaf = hashBlock(Buffer.from('abc'), 0x55).cid
const invalid = expect.objectContaining({ code: 'DAG_INVALID' })

async function decode(data: Uint8Array, links: readonly { name?: string }[] = []) {
  const store = new MemoryBlockstore()
  const cid = await putNode(
    store,
    data,
    links.map((link) => ({ cid: leaf, ...link })),
  )
  const node = decodeDagPb(await store.get(cid, { signal }), limits)
  return { unixfs: decodeUnixfs(node), node }
}

const file = (...fields: number[]) => Uint8Array.of(0x08, 0x02, ...fields)

test.each<[string, Uint8Array, { name?: string }[]]>([
  ['89: type 99', Uint8Array.of(0x08, 99), []],
  ['89: a type of 2^40', Uint8Array.of(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20), []],
  ['89: empty Data', new Uint8Array(), []],
  ['89: no type', Uint8Array.of(0x18, 0), []],
  ['89: filesize 2^63 with no content', file(0x18, ...Array<number>(9).fill(0x80), 1), []],
  ['89: fewer block sizes than links', file(0x18, 3, 0x20, 3), [{}, {}]],
  ['89: more block sizes than links', file(0x18, 6, 0x20, 3, 0x20, 3), [{}]],
  ['89: block sizes without links', file(0x18, 3, 0x20, 3), []],
  ['89: links without block sizes', file(0x18, 0), [{}]],
  ['89: block sizes that do not add up to filesize', file(0x18, 7, 0x20, 3), [{}]],
  ['89: block sizes beyond 2^64', file(...[1, 2].flatMap(() => [0x20, ...Array<number>(9).fill(0xff), 1])), [{}, {}]],
  ['88: Data twice', file(0x12, 1, 97, 0x12, 1, 98), []],
  ['88: Type twice', file(0x08, 1), []],
  ['a field with a wrong wire type', file(0x10, 1), []],
  ['90: a chunk with a name', file(0x18, 3, 0x20, 3), [{ name: 'x' }]],
  ['cut short', file(0x12, 9, 97), []],
  ['a time of 2 seconds worth of nanoseconds', file(0x42, 7, 0x08, 1, 0x15, 0, 0x94, 0x35, 0x77), []],
])('%s is DAG_INVALID', async (_, data, links) => {
  await expect(decode(data, links)).rejects.toEqual(invalid)
})

test('what ipfs-unixfs writes is read with its sizes, mode and time', async () => {
  const mtime = { secs: -5n, nsecs: 7 }
  const written = new UnixFS({ type: 'file', blockSizes: [3n, 2n ** 60n], mode: 0o640, mtime, data: Buffer.from('ab') })
  const { unixfs } = await decode(written.marshal(), [{}, {}])
  expect(unixfs).toMatchObject({ type: 'file', size: 2n ** 60n + 5n, blockSizes: [3n, 2n ** 60n], mode: 0o640, mtime })
  expect(Buffer.from(unixfs.data).toString()).toBe('ab')
})

test('packed block sizes, a missing filesize and fields of the future are read', async () => {
  const { unixfs } = await decode(file(0x22, 2, 3, 4, 0x48, 1, 0x52, 1, 0), [{}, {}])
  expect(unixfs).toMatchObject({ size: 7n, blockSizes: [3n, 4n], mode: undefined, mtime: undefined })
})

const shard = (fanout: bigint, bitfield: Uint8Array, hashType = 0x22n) =>
  new UnixFS({ type: 'hamt-sharded-directory', fanout, hashType, data: bitfield }).marshal()

test.each<[string, Uint8Array, number]>([
  ...[0n, 1n, 2n, 3n, 4n, 24n, 255n, 2n ** 11n, 2n ** 20n, 2n ** 63n].map((fanout): [string, Uint8Array, number] => [
    `91: fanout ${fanout}`,
    shard(fanout, Uint8Array.of(1)),
    1,
  ]),
  ['92: a bitfield longer than its slots', shard(8n, Uint8Array.of(0, 1)), 1],
  ['92: hash function sha2-256', shard(256n, Uint8Array.of(1), 0x12n), 1],
  ['92: no bitfield', shard(256n, Uint8Array.of()), 1],
  ['92: more bits than links', shard(256n, Uint8Array.of(3)), 1],
])('%s is DAG_INVALID', async (_, data, links) => {
  const { unixfs, node } = await decode(data, Array(links).fill({ name: '00a' }))
  expect(() => readShard(unixfs, node.links)).toThrowError(invalid)
})

test('fanouts from 8 to 1024 are read', async () => {
  for (const fanout of [8n, 16n, 256n, 1024n]) {
    const { unixfs, node } = await decode(shard(fanout, Uint8Array.of(1)), [{ name: '000a' }])
    expect(readShard(unixfs, node.links).fanout).toBe(Number(fanout))
  }
})
