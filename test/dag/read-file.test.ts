import fc from 'fast-check'
import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { readFile } from '../../src/dag/read-file.ts'
import { decodeFileNode } from '../../src/dag/unixfs.ts'
import { MiB } from '../../src/lib/units.ts'
import {
  bytesOf,
  type Child,
  CountingStore,
  gather,
  importDag,
  limits,
  pattern,
  putFile,
  putRaw,
  settled,
  signal,
} from '../support/dags.ts'

const options = { signal, readAheadBytes: 8 * MiB, limits }
const invalid = expect.objectContaining({ code: 'DAG_INVALID' })
const exceeded = expect.objectContaining({ code: 'LIMIT_EXCEEDED' })

async function open(store: CountingStore, cid: CID) {
  const root = decodeFileNode(cid.code, await store.get(cid, { signal }), limits)
  store.forget()
  return root
}

async function leaf(store: CountingStore, text: string | Uint8Array): Promise<Child> {
  const bytes = Buffer.from(text)
  return { cid: await putRaw(store, bytes), size: BigInt(bytes.byteLength) }
}

/** `levels` nodes above one leaf of a byte, each linking `width` times to the one below. */
async function bomb(store: CountingStore, levels: number, width: number): Promise<Child> {
  let child = await leaf(store, 'x')
  for (let level = 0; level < levels; level++) child = await putFile(store, Array<Child>(width).fill(child))
  return child
}

const layouts = fc.record({
  profile: fc.constantFrom('unixfs-v1-2025', 'unixfs-v0-2015'),
  rawLeaves: fc.boolean(),
  trickle: fc.boolean(),
  width: fc.integer({ min: 2, max: 7 }),
  chunkBytes: fc.integer({ min: 1, max: 200 }),
})

test('a range of any file tree is the slice of the file', async () => {
  await fc.assert(
    fc.asyncProperty(
      layouts,
      fc.nat(3000),
      fc.nat(3500),
      fc.nat(3500),
      fc.nat(1000),
      async (layout, length, start, more, ahead) => {
        const store = new CountingStore()
        const content = pattern(length)
        const root = await open(store, await importDag(store, [{ path: 'f', content }], layout))
        expect(root.size).toBe(BigInt(length))
        const given = { ...options, readAheadBytes: ahead }
        expect(await bytesOf(readFile(root, undefined, store, given))).toEqual(Buffer.from(content))
        const range = { start: BigInt(start), end: BigInt(start + more) }
        expect(await bytesOf(readFile(root, range, store, given))).toEqual(
          Buffer.from(content.slice(start, start + more + 1)),
        )
      },
    ),
    { numRuns: 150 },
  )
})

test('a range of a hand-built tree with content beside its links is the slice of the file', async () => {
  const anyTree = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.string({ maxLength: 9 }),
      fc.record({ data: fc.string({ maxLength: 9 }), children: fc.array(tie('tree'), { maxLength: 4 }) }),
    ),
  })).tree
  await fc.assert(
    fc.asyncProperty(anyTree, fc.nat(60), fc.nat(60), async (tree, start, more) => {
      const store = new CountingStore()
      const { cid } = await build(store, tree)
      const content = flat(tree)
      const root = await open(store, cid)
      const range = { start: BigInt(start), end: BigInt(start + more) }
      expect(await bytesOf(readFile(root, undefined, store, options))).toEqual(content)
      expect(await bytesOf(readFile(root, range, store, options))).toEqual(content.subarray(start, start + more + 1))
    }),
    { numRuns: 200 },
  )
})

const isNode = (tree: unknown): tree is { data: string; children: unknown[] } =>
  typeof tree === 'object' && tree !== null

async function build(store: CountingStore, tree: unknown): Promise<Child> {
  if (!isNode(tree)) return leaf(store, String(tree))
  const children: Child[] = []
  for (const child of tree.children) children.push(await build(store, child))
  return putFile(store, children, Buffer.from(tree.data))
}

function flat(tree: unknown): Buffer {
  return isNode(tree) ? Buffer.concat([Buffer.from(tree.data), ...tree.children.map(flat)]) : Buffer.from(String(tree))
}

test('content beside the links of nodes larger than a block comes in its place', async () => {
  const store = new CountingStore()
  const large = [
    await leaf(store, pattern(MiB, 1)),
    await leaf(store, pattern(MiB, 2)),
    await leaf(store, pattern(MiB, 3)),
  ]
  const inner = await putFile(store, large, Buffer.from('inner'))
  const outer = await putFile(store, [inner, await leaf(store, 'tail')], Buffer.from('outer'))
  const root = await open(store, outer.cid)
  const expected = Buffer.concat(
    ['outer', 'inner', pattern(MiB, 1), pattern(MiB, 2), pattern(MiB, 3), 'tail'].map((part) => Buffer.from(part)),
  )
  expect((await bytesOf(readFile(root, undefined, store, options))).equals(expected)).toBe(true)
  const range = { start: 3n, end: 8n }
  expect((await bytesOf(readFile(root, range, store, options))).toString()).toBe('erinne')
})

test('a range fetches the blocks that it touches and no other', async () => {
  const store = new CountingStore()
  const content = pattern(16 * 1000)
  const root = await open(store, await importDag(store, [{ path: 'f', content }], { chunkBytes: 1000, width: 4 }))
  expect((await bytesOf(readFile(root, { start: 5500n, end: 5600n }, store, options))).byteLength).toBe(101)
  // One node of the middle level, one leaf.
  expect(store.asked).toHaveLength(2)
  store.forget()
  await bytesOf(readFile(root, { start: 7999n, end: 8000n }, store, options))
  expect(store.asked).toHaveLength(4)
  store.forget()
  expect((await bytesOf(readFile(root, { start: 16_000n, end: 17_000n }, store, options))).byteLength).toBe(0)
  expect(store.asked).toHaveLength(0)
})

test('51: a range beside a missing block is served, one over it fails', async () => {
  const store = new CountingStore()
  const children = [await leaf(store, 'aaaa'), await leaf(store, 'bbbb'), await leaf(store, 'cccc')]
  const root = await open(store, (await putFile(store, children)).cid)
  if (children[1] !== undefined) await store.delete(children[1].cid, { signal })
  expect((await bytesOf(readFile(root, { start: 0n, end: 3n }, store, options))).toString()).toBe('aaaa')
  expect((await bytesOf(readFile(root, { start: 8n, end: 99n }, store, options))).toString()).toBe('cccc')
  await expect(bytesOf(readFile(root, { start: 0n, end: 5n }, store, options))).rejects.toMatchObject({
    code: 'BLOCK_NOT_FOUND',
  })
})

test('a file of one block is read without the store', async () => {
  const store = new CountingStore()
  for (const profile of ['unixfs-v1-2025', 'unixfs-v0-2015'] as const) {
    const root = await open(store, await importDag(store, [{ path: 'f', content: Buffer.from('hello') }], { profile }))
    expect((await bytesOf(readFile(root, { start: 1n, end: 3n }, store, options))).toString()).toBe('ell')
    expect(store.asked).toHaveLength(0)
  }
})

test('the next inner node is asked for while the leaves of the one before it are read', async () => {
  const store = new CountingStore()
  const inner: Child[] = []
  for (let node = 0; node < 4; node++) {
    const leaves: Child[] = []
    for (let chunk = 0; chunk < 8; chunk++) leaves.push(await leaf(store, pattern(MiB, 1 + node * 8 + chunk)))
    inner.push(await putFile(store, leaves))
  }
  const root = await open(store, (await putFile(store, inner)).cid)
  const iterator = readFile(root, undefined, store, { ...options, readAheadBytes: 2 * MiB })
  await iterator.next()
  await settled()
  expect(store.asked.filter((cid) => inner.some((node) => node.cid.equals(cid)))).toHaveLength(2)
  expect(store.asked.filter((cid) => cid.code === 0x55).length).toBeLessThanOrEqual(3)
  await iterator.return()
})

test('an unread file asks for nothing, and one whose reader stalls stops at the window', async () => {
  const store = new CountingStore()
  const children: Child[] = []
  for (let chunk = 0; chunk < 40; chunk++) children.push(await leaf(store, pattern(MiB, chunk + 1)))
  const root = await open(store, (await putFile(store, children)).cid)
  const iterator = readFile(root, undefined, store, options)
  await settled()
  expect(store.asked).toHaveLength(0)
  for (let taken = 0; taken < 20; taken++) await iterator.next()
  await settled()
  expect(store.asked.length).toBeGreaterThan(20)
  expect(store.asked.length).toBeLessThanOrEqual(28)
  const asked = store.asked.length
  await iterator.return()
  await settled()
  expect(store.asked).toHaveLength(asked)
})

test('an abort ends the reading with its reason', async () => {
  const store = new CountingStore()
  const root = await open(store, (await bomb(store, 4, 200)).cid)
  const controller = new AbortController()
  const iterator = readFile(root, undefined, store, { ...options, signal: controller.signal })
  await iterator.next()
  controller.abort(new Error('client left'))
  await expect(gather(iterator)).rejects.toThrow('client left')
})

test('52: a range near 2^60 is exact', async () => {
  const store = new CountingStore()
  const digits = await Promise.all(['01234567', 'abcdefgh'].map((text) => leaf(store, text)))
  let child = await putFile(store, digits)
  for (let level = 0; level < 28; level++) child = await putFile(store, Array<Child>(4).fill(child))
  expect(child.size).toBe(2n ** 60n)
  const root = await open(store, child.cid)
  for (const start of [2n ** 53n + 1n, 2n ** 59n + 6n, 2n ** 60n - 3n]) {
    const text = (await bytesOf(readFile(root, { start, end: start + 3n }, store, options))).toString()
    const expected = '01234567abcdefgh01234567'.slice(Number(start % 16n)).slice(0, 4)
    expect(text).toBe(start === 2n ** 60n - 3n ? 'fgh' : expected)
  }
})

test.each([
  ['94: 50 levels of 2 links', 50, 2],
  ['95: 4 levels of 8,000 links', 4, 8000],
  ['95: 8 levels of 200 links', 8, 200],
])('%s stream at once, in bounded memory, and stop when the reader does', async (_, levels, width) => {
  const store = new CountingStore()
  const root = await open(store, (await bomb(store, levels, width)).cid)
  const iterator = readFile(root, undefined, store, options)
  const before = process.memoryUsage().rss
  for (let taken = 0; taken < 20_000; taken++) expect((await iterator.next()).done).toBe(false)
  await settled()
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * MiB)
  const asked = store.asked.length
  expect(asked).toBeLessThan(60_000)
  await iterator.return()
  await settled()
  expect(store.asked).toHaveLength(asked)
})

test('95: 8 levels of 8,000 links claim more than 2^64 bytes and are refused at the root', async () => {
  const store = new CountingStore()
  const child = await bomb(store, 4, 8000)
  const claim = { cid: child.cid, size: 2n ** 62n }
  const { cid } = await putFile(store, Array<Child>(8000).fill(claim))
  await expect(open(store, cid)).rejects.toEqual(invalid)
})

test('96: a chain deeper than the limit is LIMIT_EXCEEDED, small or large, before it is walked to its end', async () => {
  for (const size of [1, 3 * MiB]) {
    const store = new CountingStore()
    let child =
      size === 1
        ? await leaf(store, 'x')
        : await putFile(store, await Promise.all([1, 2, 3].map((seed) => leaf(store, pattern(MiB, seed)))))
    for (let level = 0; level < 5000; level++) child = await putFile(store, [child])
    const root = await open(store, child.cid)
    await expect(bytesOf(readFile(root, undefined, store, options))).rejects.toEqual(exceeded)
    expect(store.asked.length).toBeLessThanOrEqual(1030)
  }
})

test('nodes on the way down that weigh more than 16 MiB together are LIMIT_EXCEEDED', async () => {
  const store = new CountingStore()
  let child = await putFile(store, await Promise.all([1, 2, 3].map((seed) => leaf(store, pattern(MiB, seed)))))
  const zero = await leaf(store, '')
  for (let level = 0; level < 40; level++) {
    child = await putFile(store, [child, ...Array<Child>(15_000).fill(zero)], undefined)
  }
  const root = await open(store, child.cid)
  await expect(bytesOf(readFile(root, undefined, store, options))).rejects.toEqual(exceeded)
})

test('children of size 0 are not read: a bomb without bytes ends at once', async () => {
  const store = new CountingStore()
  let child = await leaf(store, '')
  for (let level = 0; level < 8; level++) child = await putFile(store, Array<Child>(8000).fill(child))
  const { cid } = await putFile(store, [await leaf(store, 'a'), child, await leaf(store, 'b')])
  const root = await open(store, cid)
  expect((await bytesOf(readFile(root, undefined, store, options))).toString()).toBe('ab')
  expect(store.asked).toHaveLength(2)
})

test.each<[string, (store: CountingStore) => Promise<Child>]>([
  ['a raw leaf longer than claimed', async (store) => ({ ...(await leaf(store, 'abcd')), size: 3n })],
  ['a raw leaf shorter than claimed', async (store) => ({ ...(await leaf(store, 'ab')), size: 3n })],
  [
    'a raw leaf claimed to be larger than a block',
    async (store) => ({ ...(await leaf(store, 'ab')), size: 2n ** 30n }),
  ],
  [
    'a small node of another size',
    async (store) => ({ ...(await putFile(store, [await leaf(store, 'ab')])), size: 3n }),
  ],
  [
    'a large node of another size',
    async (store) => {
      const leaves = await Promise.all([1, 2, 3].map((seed) => leaf(store, pattern(MiB, seed))))
      return { ...(await putFile(store, leaves)), size: BigInt(4 * MiB) }
    },
  ],
  ['a directory', async (store) => ({ cid: await importDag(store, [{ path: 'd' }]), size: 3n })],
])('89: a file with %s below it fails instead of ending early or late', async (_, make) => {
  const store = new CountingStore()
  const child = await make(store)
  const { cid } = await putFile(store, [await leaf(store, 'head'), child])
  const root = await open(store, cid)
  await expect(bytesOf(readFile(root, undefined, store, options))).rejects.toEqual(invalid)
})
