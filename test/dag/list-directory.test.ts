import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { openPath } from '../../src/dag/open.ts'
import { CountingStore, gather, importDag, limits, putNode, putRaw, settled, signal } from '../support/dags.ts'

const open = (store: CountingStore, root: CID, ...segments: string[]) =>
  openPath({ root, segments }, store, { signal, limits })
const invalid = expect.objectContaining({ code: 'DAG_INVALID' })

/** A directory of 5,000 entries, which the importer shards. */
async function sharded(store: CountingStore) {
  const names = Array.from({ length: 5000 }, (_, index) => `a name that is long enough to shard, ${index}.txt`)
  const root = await importDag(
    store,
    names.map((name, index) => ({ path: `d/${name}`, content: Buffer.from(`${index}`) })),
  )
  store.forget()
  return { root, names }
}

function shardData(fanout: number, slots: readonly number[]): Uint8Array {
  const bitfield = new Uint8Array(fanout / 8)
  for (const slot of slots) {
    const at = bitfield.byteLength - 1 - (slot >> 3)
    bitfield[at] = (bitfield[at] ?? 0) | (1 << (slot & 7))
  }
  return new UnixFS({
    type: 'hamt-sharded-directory',
    fanout: BigInt(fanout),
    hashType: 0x22n,
    data: bitfield,
  }).marshal()
}

const allSlots = Array.from({ length: 256 }, (_, slot) => slot)
const label = (slot: number) => slot.toString(16).toUpperCase().padStart(2, '0')

test('a sharded directory lists every entry once', async () => {
  const store = new CountingStore()
  const { root, names } = await sharded(store)
  const target = await open(store, root)
  expect(target.kind).toBe('directory')
  const entries = await gather(target.list({ signal }))
  expect(entries.map(({ name }) => name).toSorted()).toEqual(names.toSorted())
})

test('an entry is found by the shards on its way alone, and they are in the trail', async () => {
  const store = new CountingStore()
  const { root, names } = await sharded(store)
  for (const [index, name] of names.entries()) {
    if (index % 50 !== 0) continue
    store.forget()
    const target = await open(store, root, name)
    expect(Buffer.from(target.trail.at(-1)?.bytes ?? []).toString()).toBe(`${index}`)
    expect(target.roots).toHaveLength(2)
    expect(target.trail.map(({ cid }) => cid.toString())).toEqual(store.asked.map(String))
    expect(store.asked.length).toBeLessThanOrEqual(5)
  }
  await expect(open(store, root, 'absent')).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' })
})

test('an unread listing asks for nothing, and one that stalls reads few shards ahead', async () => {
  const store = new CountingStore()
  const { root } = await sharded(store)
  const target = await open(store, root)
  store.forget()
  const iterator = target.list({ signal })[Symbol.asyncIterator]()
  await settled()
  expect(store.asked).toHaveLength(0)
  await iterator.next()
  await settled()
  expect(store.asked.length).toBeLessThanOrEqual(6)
})

test('93: a HAMT bomb of 2^48 entries lists lazily', async () => {
  const store = new CountingStore()
  const leaf = await putRaw(store, Buffer.from('x'))
  let shard = await putNode(
    store,
    shardData(256, allSlots),
    allSlots.map((slot) => ({ cid: leaf, name: `${label(slot)}${slot}` })),
  )
  for (let level = 0; level < 5; level++) {
    const child = shard
    shard = await putNode(
      store,
      shardData(256, allSlots),
      allSlots.map((slot) => ({ cid: child, name: label(slot) })),
    )
  }
  const target = await open(store, shard)
  let listed = 0
  for await (const _ of target.list({ signal })) if (++listed === 10_000) break
  expect(listed).toBe(10_000)
  expect(store.asked.length).toBeLessThan(300)
})

test('shards that lead nowhere end at the limit of blocks', async () => {
  const store = new CountingStore()
  let shard = await putNode(store, shardData(256, []), [])
  for (let level = 0; level < 7; level++) {
    const child = shard
    shard = await putNode(
      store,
      shardData(256, allSlots),
      allSlots.map((slot) => ({ cid: child, name: label(slot) })),
    )
  }
  const target = await openPath({ root: shard, segments: [] }, store, {
    signal,
    limits: { ...limits, dagBlocksMax: 5000 },
  })
  await expect(gather(target.list({ signal }))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

test('an abort ends a listing with its reason', async () => {
  const store = new CountingStore()
  const { root } = await sharded(store)
  const controller = new AbortController()
  const iterator = (await open(store, root)).list({ signal: controller.signal })[Symbol.asyncIterator]()
  await iterator.next()
  controller.abort(new Error('client left'))
  await expect(iterator.next()).rejects.toThrow('client left')
})

test('shards of two fanouts in one directory, and a shard that is none, are DAG_INVALID', async () => {
  const store = new CountingStore()
  const leaf = await putRaw(store, Buffer.from('x'))
  const narrow = await putNode(store, shardData(16, [1]), [{ cid: leaf, name: '1x' }])
  const flat = await putNode(store, new UnixFS({ type: 'directory' }).marshal(), [])
  for (const child of [narrow, flat, leaf]) {
    const root = await putNode(
      store,
      shardData(256, allSlots),
      allSlots.map((slot) => ({ cid: child, name: label(slot) })),
    )
    const target = await open(store, root)
    await expect(gather(target.list({ signal }))).rejects.toEqual(invalid)
    await expect(target.entry('a', { signal })).rejects.toEqual(invalid)
  }
})

test('shards deeper than the hash has bits are DAG_INVALID', async () => {
  const store = new CountingStore()
  let shard = await putNode(store, shardData(256, []), [])
  for (let level = 0; level < 12; level++) {
    const child = shard
    shard = await putNode(
      store,
      shardData(256, allSlots),
      allSlots.map((slot) => ({ cid: child, name: label(slot) })),
    )
  }
  const target = await open(store, shard)
  await expect(gather(target.list({ signal }))).rejects.toEqual(invalid)
  await expect(target.entry('a', { signal })).rejects.toEqual(invalid)
})

test('a link whose slot is not the one of its place is DAG_INVALID when looked up', async () => {
  const store = new CountingStore()
  const leaf = await putRaw(store, Buffer.from('x'))
  const links = allSlots.map((slot) => ({ cid: leaf, name: `${label(slot === 255 ? 255 : slot + 1)}a` }))
  const target = await open(store, await putNode(store, shardData(256, allSlots), links))
  await expect(target.entry('a', { signal })).rejects.toEqual(invalid)
})
