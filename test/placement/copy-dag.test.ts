import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import type { Route } from '../../src/blocks/routed.ts'
import { verified } from '../../src/blocks/verified.ts'
import { AppError } from '../../src/errors.ts'
import { ByteRate } from '../../src/lib/byte-rate.ts'
import { type CopyOptions, copyDag, verifyDag } from '../../src/placement/copy-dag.ts'
import { CountingStore, limits, putFile, putRaw, signal } from '../support/dags.ts'

const options: CopyOptions = { signal, limits, rate: new ByteRate(Number.POSITIVE_INFINITY), readAheadBytes: 1 << 20 }

/** A file of `count` leaves, the first of them twice. */
async function putLeaves(store: CountingStore, count: number): Promise<{ root: CID; leaves: CID[] }> {
  const leaves: CID[] = []
  for (let i = 0; i < count; i++) leaves.push(await putRaw(store, Buffer.from(`leaf ${i}`.padEnd(100, '.'))))
  const first = leaves[0]
  const children = [...leaves, ...(first === undefined ? [] : [first])].map((cid) => ({ cid, size: 100n }))
  return { root: (await putFile(store, children)).cid, leaves }
}

const routeTo = (store: string, blocks: CountingStore): Route => ({
  ...{ site: 's', store, isLocal: false },
  blocks: verified(blocks),
})

const fail = async (): Promise<never> => {
  throw new AppError('STORE_UNAVAILABLE', 'cut off')
}
const unavailable: Route['blocks'] = { has: fail, size: fail, get: fail, getBatch: fail }

test('a copy holds every block once, and its root was written last', async () => {
  const source = new CountingStore()
  const dest = new CountingStore()
  const { root } = await putLeaves(source, 20)
  const written: string[] = []
  const put = dest.put.bind(dest)
  dest.put = async (block, more) => {
    written.push(block.cid.toString())
    return put(block, more)
  }
  const copied = await copyDag(root, dest, [routeTo('a', source)], options)
  expect(copied).toMatchObject({ blocks: 21, newBlocks: 21 })
  expect(dest.count).toBe(21)
  expect(written).toEqual([root.toString()])
  await expect(verifyDag(root, verified(dest), options)).resolves.toMatchObject({ blocks: 21, bytes: copied.bytes })
})

test('what is there is not read elsewhere again, so that a copy goes on where it stopped', async () => {
  const source = new CountingStore()
  const dest = new CountingStore()
  const { root, leaves } = await putLeaves(source, 20)
  for (let i = 0; i < 15; i++) await putRaw(dest, Buffer.from(`leaf ${i}`.padEnd(100, '.')))
  source.forget()
  const copied = await copyDag(root, dest, [routeTo('a', source)], options)
  expect(copied).toMatchObject({ blocks: 21, newBlocks: 6 })
  const asked = new Set(source.asked.map(String))
  expect(leaves.slice(0, 15).filter((cid) => asked.has(cid.toString()))).toEqual([])
})

test('a block that the first source lacks comes from the next', async () => {
  const whole = new CountingStore()
  const part = new CountingStore()
  const { root, leaves } = await putLeaves(whole, 5)
  await putLeaves(part, 5)
  const [missing] = leaves
  if (missing !== undefined) await part.delete(missing, { signal })
  const dest = new CountingStore()
  await expect(copyDag(root, dest, [routeTo('part', part), routeTo('whole', whole)], options)).resolves.toMatchObject({
    newBlocks: 6,
  })
})

test('what nobody has fails the copy, and leaves no root', async () => {
  const source = new CountingStore()
  const dest = new CountingStore()
  const { root, leaves } = await putLeaves(source, 5)
  const [missing] = leaves
  if (missing !== undefined) await source.delete(missing, { signal })
  await expect(copyDag(root, dest, [routeTo('a', source)], options)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  await expect(dest.has(root, { signal })).resolves.toBe(false)
})

test('what nobody gives while a source cannot be asked is an outage, for whoever wants it to be', async () => {
  const source = new CountingStore()
  const { root } = await putLeaves(source, 5)
  const silent = { ...routeTo('b', source), blocks: unavailable }
  const asked = { ...options, awayIsOutage: true }
  const copied = copyDag(root, new CountingStore(), [silent], asked)
  await expect(copied).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', cause: { code: 'BLOCK_NOT_FOUND' } })
  await expect(copyDag(root, new CountingStore(), [silent], options)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  await expect(copyDag(root, new CountingStore(), [silent, routeTo('a', source)], asked)).resolves.toMatchObject({
    newBlocks: 6,
  })
})

test('a damaged block in a source never gets into the copy', async () => {
  const bad = new CountingStore()
  const good = new CountingStore()
  const { root, leaves } = await putLeaves(good, 3)
  await putLeaves(bad, 3)
  const get = bad.getBatch.bind(bad)
  bad.getBatch = async (wants, more) => {
    const read = await get(wants, more)
    return read.map((bytes, i) => (wants[i]?.cid.equals(leaves[1]) ? Buffer.from('x') : bytes))
  }
  bad.get = async (cid, more) => (await bad.getBatch([{ cid }], more))[0] ?? new Uint8Array()
  const dest = new CountingStore()
  await copyDag(root, dest, [routeTo('bad', bad), routeTo('good', good)], options)
  await expect(verifyDag(root, verified(dest), options)).resolves.toMatchObject({ blocks: 4 })
})

test('verification meets the block that is missing or damaged', async () => {
  const store = new CountingStore()
  const { root, leaves } = await putLeaves(store, 5)
  const [missing] = leaves
  if (missing !== undefined) await store.delete(missing, { signal })
  await expect(verifyDag(root, verified(store), options)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

test('of a DAG that was put in part, the part is copied and verified, and what is absent is counted', async () => {
  const source = new CountingStore()
  const { root, leaves } = await putLeaves(source, 6)
  const [first, second] = leaves
  if (first === undefined || second === undefined) throw new Error('no leaves')
  await source.delete(first, { signal })
  const mayBeAbsent = (cid: CID) => cid.equals(first)
  const dest = new CountingStore()
  const part = { ...options, mayBeAbsent }
  await expect(copyDag(root, dest, [routeTo('a', source)], part)).resolves.toMatchObject({ blocks: 6, missing: 1 })
  await expect(verifyDag(root, verified(dest), part)).resolves.toMatchObject({ blocks: 6, missing: 1 })
  // Without the word that it may be absent, and of any other block, it is a failure.
  await expect(copyDag(root, new CountingStore(), [routeTo('a', source)], options)).rejects.toMatchObject({
    ...{ code: 'BLOCK_NOT_FOUND', block: first.toString() },
  })
  await dest.delete(second, { signal })
  await expect(verifyDag(root, verified(dest), part)).rejects.toMatchObject({ block: second.toString() })
  await putRaw(dest, Buffer.from('leaf 0'.padEnd(100, '.')))
  await putRaw(dest, Buffer.from('leaf 1'.padEnd(100, '.')))
  const whole = await verifyDag(root, verified(dest), part)
  expect(whole).toEqual({ blocks: 7, bytes: expect.any(Number) })
})

test('what may be absent is not taken for absent while a store that may have it cannot be asked', async () => {
  const source = new CountingStore()
  const { root, leaves } = await putLeaves(source, 3)
  for (const cid of leaves.slice(1)) await source.delete(cid, { signal })
  const away: Route = { site: 's', store: 'away', isLocal: false, blocks: unavailable }
  const part = { ...options, mayBeAbsent: () => true, awayIsOutage: true }
  await expect(copyDag(root, new CountingStore(), [routeTo('a', source), away], part)).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
  })
})

test('a root inside its own CID is copied with what it links to, and verified', async () => {
  const source = new CountingStore()
  const leaf = await putRaw(source, Buffer.from('below an identity CID'))
  const root = CID.createV1(0x71, Digest.create(0x00, dagCbor.encode([leaf])))
  const dest = new CountingStore()
  await expect(copyDag(root, dest, [routeTo('a', source)], options)).resolves.toMatchObject({ blocks: 1, newBlocks: 1 })
  await expect(verifyDag(root, verified(dest), options)).resolves.toMatchObject({ blocks: 1 })
  await dest.delete(leaf, { signal })
  await expect(verifyDag(root, verified(dest), options)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

test('a block that cannot be decoded is copied as it is', async () => {
  const source = new CountingStore()
  const odd = hashBlock(Buffer.from('no protobuf'), 0x70)
  await source.put(odd, { signal })
  const top = hashBlock(dagCbor.encode([odd.cid]), 0x71)
  await source.put(top, { signal })
  await expect(copyDag(top.cid, new CountingStore(), [routeTo('a', source)], options)).resolves.toMatchObject({
    blocks: 2,
  })
})

test('an abort ends it', async () => {
  const source = new CountingStore()
  const { root } = await putLeaves(source, 5)
  const controller = new AbortController()
  const stopped = {
    ...options,
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  }
  await expect(copyDag(root, new CountingStore(), [routeTo('a', source)], stopped)).rejects.toThrow('enough')
})
