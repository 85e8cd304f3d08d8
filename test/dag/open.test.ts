import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { openPath } from '../../src/dag/open.ts'
import { MiB } from '../../src/lib/units.ts'
import {
  bytesOf,
  CountingStore,
  gather,
  importDag,
  limits,
  pattern,
  putBytes,
  putNode,
  putRaw,
  signal,
} from '../support/dags.ts'

const reading = { signal, readAheadBytes: 8 * MiB }
const open = (store: CountingStore, root: CID, ...segments: string[]) =>
  openPath({ root, segments }, store, { signal, limits })
const directory = new UnixFS({ type: 'directory' }).marshal()
const symlink = (target: string) => new UnixFS({ type: 'symlink', data: Buffer.from(target) }).marshal()

async function site(store: CountingStore) {
  return importDag(store, [
    { path: 'site/index.html', content: Buffer.from('<h1>') },
    { path: 'site/docs/é a.txt', content: Buffer.from('hello') },
    { path: 'site/docs/big', content: pattern(3 * MiB) },
  ])
}

test('a path leads to its file; roots and trail hold the root, each directory and the file', async () => {
  const store = new CountingStore()
  const root = await site(store)
  const target = await open(store, root, 'docs', 'é a.txt')
  expect(target).toMatchObject({ kind: 'file', size: 5n })
  expect((await bytesOf(target.read(undefined, reading))).toString()).toBe('hello')
  expect(target.roots).toHaveLength(3)
  expect(target.roots[0]?.equals(root)).toBe(true)
  expect(target.trail.map(({ cid }) => cid.toString())).toEqual(target.roots.map(String))
  expect(store.asked).toHaveLength(3)
})

test('a file of many blocks is opened by its root alone and read by range', async () => {
  const store = new CountingStore()
  const target = await open(store, await site(store), 'docs', 'big')
  expect(target.size).toBe(BigInt(3 * MiB))
  expect(store.asked).toHaveLength(3)
  const range = { start: BigInt(MiB), end: BigInt(MiB + 9) }
  expect(await bytesOf(target.read(range, reading))).toEqual(Buffer.from(pattern(3 * MiB).slice(MiB, MiB + 10)))
  expect(store.asked).toHaveLength(4)
})

test('a directory lists, answers for one name, and has no content', async () => {
  const store = new CountingStore()
  const target = await open(store, await site(store))
  expect(target).toMatchObject({ kind: 'directory', size: 0n })
  expect((await gather(target.list({ signal }))).map(({ name }) => name)).toEqual(['docs', 'index.html'])
  expect((await target.entry('index.html', { signal }))?.cid.code).toBe(0x55)
  expect(await target.entry('absent', { signal })).toBeUndefined()
  expect(() => target.read(undefined, reading)).toThrowError(expect.objectContaining({ code: 'DAG_INVALID' }))
})

test('a name that is not there is PATH_NOT_FOUND and is named', async () => {
  const store = new CountingStore()
  const root = await site(store)
  for (const segments of [
    ['docs', 'nope', 'x'],
    ['index.html', 'nope'],
    ['docs', 'é a.txt', 'nope'],
  ]) {
    await expect(open(store, root, ...segments)).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
      message: expect.stringContaining('"nope"'),
    })
  }
  await expect(open(store, await putRaw(store, Buffer.from('x')), 'a')).rejects.toMatchObject({
    code: 'PATH_NOT_FOUND',
  })
})

test('a missing root, and a missing block on the way, are the error of the store', async () => {
  const store = new CountingStore()
  const root = await site(store)
  const { cid } = await open(store, root, 'docs')
  await store.delete(cid, { signal })
  await expect(open(store, root, 'docs', 'big')).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  await store.delete(root, { signal })
  await expect(open(store, root)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

test('97: a symlink is a target with its text, and is not followed inside a path', async () => {
  const store = new CountingStore()
  const link = await putNode(store, symlink('/etc/passwd'), [])
  const root = await putNode(store, directory, [{ cid: link, name: 'link' }])
  const target = await open(store, root, 'link')
  expect(target).toMatchObject({ kind: 'symlink', size: 11n })
  expect((await bytesOf(target.read(undefined, reading))).toString()).toBe('/etc/passwd')
  await expect(open(store, root, 'link', 'x')).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' })
})

test('86, 98: of entries with one name the first is found, and odd names are names', async () => {
  const store = new CountingStore()
  const names = ['', '..', '.', 'a/b', 'a\0', '<img onerror=x>', 'a\r\nb', '__proto__', 'twice', 'twice']
  const links: { cid: CID; name: string }[] = []
  for (const [index, name] of names.entries()) links.push({ cid: await putRaw(store, Buffer.from(`${index}`)), name })
  // The library sorts and refuses what is unsorted, so the order is made to fit.
  links.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
  const target = await open(store, await putNode(store, directory, links))
  expect((await gather(target.list({ signal }))).map(({ name }) => name)).toEqual(links.map(({ name }) => name))
  const found = await target.entry('twice', { signal })
  expect(found?.cid.equals(links.find(({ name }) => name === 'twice')?.cid)).toBe(true)
  expect(await target.entry('constructor', { signal })).toBeUndefined()
})

test('mode and time are told where the node has them', async () => {
  const store = new CountingStore()
  const data = new UnixFS({
    type: 'file',
    mode: 0o750,
    mtime: { secs: 9n, nsecs: 1 },
    data: Buffer.from('x'),
  }).marshal()
  const target = await open(store, await putNode(store, data, []))
  expect(target).toMatchObject({ mode: 0o750, mtime: { secs: 9n, nsecs: 1 } })
  expect((await open(store, await site(store))).mode).toBeUndefined()
})

test.each([
  ['dag-cbor', 0x71, dagCbor.encode],
  ['dag-json', 0x0129, dagJson.encode],
] as const)(
  'a path goes through the maps and lists of %s up to a link, and on from there',
  async (_, codec, encode) => {
    const store = new CountingStore()
    const value = { a: { list: [1, await site(store)] }, text: 'x' }
    const inner = await putBytes(store, encode(value), codec)
    const root = await putBytes(store, encode({ inner }), codec)
    const target = await open(store, root, 'inner', 'a', 'list', '1', 'index.html')
    expect((await bytesOf(target.read(undefined, reading))).toString()).toBe('<h1>')
    expect(target.roots.map(String).slice(0, 4)).toEqual([root, inner, inner, inner].map(String))
    expect(target.roots).toHaveLength(6)
    expect(target.trail).toHaveLength(4)
    await expect(open(store, root, 'inner', 'text')).rejects.toMatchObject({ code: 'PATH_ENDS_IN_BLOCK' })
    await expect(open(store, root, 'inner', 'a')).rejects.toMatchObject({ code: 'PATH_ENDS_IN_BLOCK' })
    for (const absent of [
      ['nope'],
      ['inner', 'a', 'list', '2'],
      ['inner', 'a', 'list', 'length'],
      ['toString'],
      ['inner', 'text', '0'],
    ]) {
      await expect(open(store, root, ...absent)).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' })
    }
  },
)

test('13, 21: blocks of codecs without paths are bytes, and have no names below them', async () => {
  const store = new CountingStore()
  for (const codec of [0x51, 0x0200, 0x72, 0x300001, 0x71]) {
    const cid = await putBytes(store, Uint8Array.of(0xa0), codec)
    const target = await open(store, cid)
    expect(target).toMatchObject({ kind: 'node', size: 1n })
    expect([...(await bytesOf(target.read(undefined, reading)))]).toEqual([0xa0])
    const code = codec === 0x71 ? 'PATH_NOT_FOUND' : 'CODEC_UNSUPPORTED'
    await expect(open(store, cid, 'a')).rejects.toMatchObject({ code })
  }
})

test('89: a damaged node opens with a problem, keeps its raw block, and fails when read or gone through', async () => {
  const store = new CountingStore()
  for (const data of [
    Uint8Array.of(0x08, 99),
    new Uint8Array(),
    Uint8Array.of(0x08, 3),
    Uint8Array.of(0x08, 2, 0x18, 9),
  ]) {
    const root = await putNode(store, data, [])
    const target = await open(store, root)
    expect(target.kind).toBe('node')
    expect(target.problem?.code).toBe('DAG_INVALID')
    expect(target.trail.at(-1)?.bytes.byteLength).toBe(Number(target.size))
    expect(() => target.read(undefined, reading)).toThrowError(target.problem)
    expect(() => target.list({ signal })).toThrowError(target.problem)
    // Data without a Type is no UnixFS, so its node has names and nothing more.
    const code = data.byteLength === 0 ? 'PATH_NOT_FOUND' : 'DAG_INVALID'
    await expect(open(store, root, 'a')).rejects.toMatchObject({ code })
  }
})

test('87: a name that is no UTF-8 is listed and is not found by what it is shown as', async () => {
  const store = new CountingStore()
  const hash = await putRaw(store, Buffer.from('x'))
  const link = Buffer.concat([Buffer.of(0x0a, 36), hash.bytes, Buffer.of(0x12, 2, 0x61, 0xff)])
  const bytes = Buffer.concat([Buffer.of(0x12, link.byteLength), link, Buffer.of(0x0a, 2, 0x08, 0x01)])
  const target = await open(store, await putBytes(store, bytes, 0x70))
  expect((await gather(target.list({ signal }))).map(({ name }) => name)).toEqual(['a\ufffd'])
  expect(await target.entry('a\ufffd', { signal })).toBeUndefined()
})

test('an abort is its reason, not an absence', async () => {
  const store = new CountingStore()
  const root = CID.createV1(0x55, Digest.create(0x12, new Uint8Array(32)))
  const aborted = AbortSignal.abort(new Error('client left'))
  await expect(openPath({ root, segments: [] }, store, { signal: aborted, limits })).rejects.toThrow('client left')
})
