import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import type { Abortable, Want } from '../../src/blocks/blockstore.ts'
import { openPath } from '../../src/dag/open.ts'
import type { DirectoryEntry, Position, Target } from '../../src/dag/target.ts'
import { AppError } from '../../src/errors.ts'
import { CountingStore, gather, importDag, limits, putNode, putRaw, settled, signal } from '../support/dags.ts'
import { nameOf, putHugeDirectory } from '../support/huge-directory.ts'

// Real work by the ten thousand blocks: minutes, where a machine has much else to do.
vi.setConfig({ testTimeout: 300_000 })

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

/** As an entrance lists: so many entries from a place on. */
async function page(target: Target, count: number, after?: Position): Promise<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = []
  for await (const entry of target.list({ signal, ...(after === undefined ? {} : { after }) })) {
    if (entries.push(entry) === count) break
  }
  return entries
}

test('a directory of 100,000 entries pages to its end, and a page reads its own shards and those on the way', async () => {
  const store = new CountingStore()
  const count = 100_000
  const pageEntries = 1000
  const { root } = await putHugeDirectory(store, count)
  const seen = new Set<string>()
  let pages = 0
  let readAhead = 0
  let shardsPerRoundTrip = Number.POSITIVE_INFINITY
  for (let after: Position | undefined; pages === 0 || after !== undefined; pages++) {
    const target = await open(store, root)
    store.forget()
    const entries = await page(target, pageEntries, after)
    readAhead = Math.max(readAhead, store.asked.length - shardsOf(entries).size)
    if (entries.length === pageEntries) {
      shardsPerRoundTrip = Math.min(shardsPerRoundTrip, store.asked.length / store.batches.length)
    }
    for (const { name } of entries) seen.add(name)
    after = entries.length < pageEntries ? undefined : entries.at(-1)?.position
  }
  expect(pages).toBeGreaterThanOrEqual(count / pageEntries)
  expect(seen.size).toBe(count)
  expect(seen.has(nameOf(count - 1))).toBe(true)
  expect(store.count).toBeGreaterThan(10_000)
  expect(readAhead).toBeLessThan(32)
  expect(shardsPerRoundTrip).toBeGreaterThan(8)
})

test('a shard that is damaged or missing ends a listing in its place, after every entry before it', async () => {
  const store = new CountingStore()
  const { root } = await putHugeDirectory(store, 20_000)
  const target = await open(store, root)
  const sound = await gather(target.list({ signal }))
  const ways = [
    ...new Set(sound.flatMap(({ position }) => (position.length > 2 ? [position.slice(0, -1).join()] : []))),
  ]
  const way = (ways[ways.length >> 1] ?? '').split(',').map(Number)
  const cid = await shardAt(store, root, way)
  const before = sound.findIndex(({ position }) => way.every((step, depth) => step === position[depth]))
  expect(before).toBeGreaterThan(1000)
  const bad = { missing: 'BLOCK_NOT_FOUND', damaged: 'DAG_INVALID' }
  for (const [how, code] of Object.entries(bad)) {
    const worse = new WorseStore(store, cid, how === 'missing' ? undefined : Buffer.from('no node'))
    const listed: DirectoryEntry[] = []
    const list = async () => {
      for await (const entry of (await open(worse, root)).list({ signal })) listed.push(entry)
    }
    await expect(list()).rejects.toMatchObject({ code })
    expect([how, listed.length]).toEqual([how, before])
  }
})

/** A store in which one block is missing, or has these bytes. */
class WorseStore extends CountingStore {
  readonly #sound: CountingStore
  readonly #cid: CID
  readonly #bytes: Uint8Array | undefined

  constructor(sound: CountingStore, cid: CID, bytes: Uint8Array | undefined) {
    super()
    this.#sound = sound
    this.#cid = cid
    this.#bytes = bytes
  }

  override async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    if (!cid.equals(this.#cid)) return this.#sound.get(cid, options)
    if (this.#bytes === undefined) throw new AppError('BLOCK_NOT_FOUND', 'one block is missing')
    return this.#bytes
  }

  override async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    return Promise.all(wants.map(({ cid }) => this.get(cid, options)))
  }
}

/** The shard that a position leads through. */
async function shardAt(store: CountingStore, root: CID, way: readonly number[]): Promise<CID> {
  let cid = root
  for (const index of way) {
    const link = decode(await store.get(cid, { signal })).Links[index]
    if (link === undefined) throw new Error('no such link')
    cid = link.Hash
  }
  return cid
}

/** Below the root: those that the entries lie in, and those on the way there. */
function shardsOf(entries: readonly DirectoryEntry[]): Set<string> {
  const shards = new Set<string>()
  for (const { position } of entries) {
    for (let depth = 1; depth < position.length; depth++) shards.add(position.slice(0, depth).join())
  }
  return shards
}

test('a listing goes on right after the place of any entry', async () => {
  const store = new CountingStore()
  const { root } = await sharded(store)
  const flat = await importDag(store, [
    { path: 'd/a', content: Buffer.from('a') },
    { path: 'd/b', content: Buffer.from('b') },
  ])
  for (const target of [await open(store, root), await open(store, flat)]) {
    const all = await gather(target.list({ signal }))
    for (const [index, { name, position }] of all.entries()) {
      if (index % 97 !== 0 && index < all.length - 3) continue
      const rest = await page(target, 3, position)
      expect(rest.map((entry) => entry.name)).toEqual(all.slice(index + 1, index + 4).map((entry) => entry.name))
      expect((await target.entry(name, { signal }))?.position).toEqual(position)
    }
  }
})

test('a place that no entry has is refused, not guessed at', async () => {
  const store = new CountingStore()
  const { root } = await sharded(store)
  const target = await open(store, root)
  const [{ position = [] } = {}] = await page(target, 1)
  const flat = await open(store, await putNode(store, new UnixFS({ type: 'directory' }).marshal(), []))
  const wrong: [Target, Position][] = [
    [target, [256]],
    [target, [-1]],
    [target, [0.5]],
    [target, position.slice(0, -1)],
    [target, [...position, 0]],
    [target, Array.from({ length: 40 }, () => 0)],
    [flat, [0]],
    [flat, [0, 0]],
  ]
  for (const [of, after] of wrong) {
    await expect(page(of, 1, after), JSON.stringify(after)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  }
})
