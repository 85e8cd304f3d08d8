import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import { inline } from '../../src/blocks/inline.ts'
import { openPath } from '../../src/dag/open.ts'
import { exportTar } from '../../src/dag/tar-export.ts'
import type { DagLimits } from '../../src/dag/target.ts'
import {
  bytesOf,
  CountingStore,
  gather,
  importDag,
  pattern,
  putBytes,
  putFile,
  putNode,
  putRaw,
  settled,
  signal,
  limits as standard,
  varint,
} from '../support/dags.ts'

const directory = Uint8Array.of(0x08, 0x01)
const text = (value: string) => Buffer.from(value)

async function* tarOf(store: CountingStore, root: CID, limits: Partial<DagLimits> = {}) {
  const all = { ...standard, ...limits }
  const blocks = inline(store)
  const target = await openPath({ root, segments: [] }, blocks, { signal, limits: all })
  yield* exportTar(target, blocks, { signal, readAheadBytes: 1 << 20, limits: all })
}

/** What the system's tar makes of the archive, in a folder of its own. */
function extracted(archive: Uint8Array): { folder: string; listing: string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'stowage-tar-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'a.tar'), archive)
  // Anything that it warns of is a failure here.
  const { status, stdout, stderr } = spawnSync('tar', ['-tf', 'a.tar'], { cwd: folder, encoding: 'utf8', env: utf8 })
  expect([status, stderr]).toEqual([0, ''])
  execFileSync('tar', ['-xpf', 'a.tar'], { cwd: folder, env: utf8 })
  return { folder, listing: stdout.trimEnd().split('\n') }
}

const utf8 = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', TZ: 'UTC' }
const systemTar = spawnSync('tar', ['--version']).status === 0

function fileNode(data: string, fields: { mode?: number; mtime?: { secs: bigint; nsecs?: number } }): Uint8Array {
  return new UnixFS({ type: 'file', data: text(data), ...fields }).marshal()
}

const symlinkNode = (target: string) => new UnixFS({ type: 'symlink', data: text(target) }).marshal()

test.runIf(systemTar)('files, directories, links, long and odd names come out as they went in', async () => {
  const store = new CountingStore()
  const long = `${'x'.repeat(200)}.txt`
  const large = pattern(700_000)
  const deep = `${'d'.repeat(90)}/${'e'.repeat(90)}`
  const inner = await importDag(
    store,
    [
      { path: `t/ą/ę/file-źł.txt`, content: text('utf8') },
      { path: `t/${long}`, content: text('long') },
      { path: `t/${deep}/f`, content: text('deep') },
      { path: 't/large.bin', content: large },
      { path: 't/empty', content: new Uint8Array() },
      { path: 't/a b\nc', content: text('odd') },
    ],
    { chunkBytes: 65_536 },
  )
  const link = await putNode(store, symlinkNode('t/large.bin'), [])
  const root = await putNode(store, directory, [
    { cid: link, name: 'link' },
    { cid: inner, name: 't' },
  ])
  const { folder, listing } = extracted(await bytesOf(tarOf(store, root)))
  expect(listing[0]).toBe(`${root}/`)
  const path = (name: string) => join(folder, root.toString(), name)
  expect(readFileSync(path('t/ą/ę/file-źł.txt'), 'utf8')).toBe('utf8')
  expect(readFileSync(path(`t/${long}`), 'utf8')).toBe('long')
  expect(readFileSync(path(`t/${deep}/f`), 'utf8')).toBe('deep')
  expect(readFileSync(path('t/large.bin')).equals(large)).toBe(true)
  expect(readFileSync(path('t/a b\nc'), 'utf8')).toBe('odd')
  expect(statSync(path('t/empty')).size).toBe(0)
  expect(readlinkSync(path('link'))).toBe('t/large.bin')
})

test.runIf(systemTar)('a file and a symlink are the top entry themselves', async () => {
  const store = new CountingStore()
  const file = await putRaw(store, text('hello'))
  const one = extracted(await bytesOf(tarOf(store, file)))
  expect(one.listing).toEqual([file.toString()])
  expect(readFileSync(join(one.folder, file.toString()), 'utf8')).toBe('hello')
  const link = await putNode(store, symlinkNode('somewhere'), [])
  const other = extracted(await bytesOf(tarOf(store, link)))
  expect(readlinkSync(join(other.folder, link.toString()))).toBe('somewhere')
})

test.runIf(systemTar)('modes and times are kept, of modes the permissions alone', async () => {
  const store = new CountingStore()
  const mtime = { secs: 1_577_934_245n, nsecs: 500_000_000 }
  const withTime = await putNode(store, fileNode('x', { mode: 0o4751, mtime }), [])
  const old = await putNode(store, fileNode('y', { mtime: { secs: -1n, nsecs: 250_000_000 } }), [])
  const root = await putNode(store, directory, [
    { cid: withTime, name: 'a' },
    { cid: old, name: 'b' },
  ])
  const { folder } = extracted(await bytesOf(tarOf(store, root)))
  const a = statSync(join(folder, root.toString(), 'a'))
  expect([a.mode & 0o7777, a.mtimeMs]).toEqual([0o751, 1_577_934_245_500])
  const b = statSync(join(folder, root.toString(), 'b'))
  expect([b.mode & 0o7777, b.mtimeMs]).toEqual([0o644, -750])
})

test.runIf(systemTar)('a file above 8 GiB says so in its header', async () => {
  const store = new CountingStore()
  let child = { cid: await putRaw(store, Buffer.alloc(1 << 20)), size: 1n << 20n }
  for (let level = 0; level < 7; level++) child = await putFile(store, [child, child, child, child])
  const root = await putNode(store, directory, [{ cid: child.cid, name: 'big' }])
  const tar = tarOf(store, root)
  const parts: Uint8Array[] = []
  for await (const part of tar) {
    parts.push(part)
    if (parts.length > 3) break
  }
  const { stdout } = spawnSync('tar', ['-tvf', '-'], { input: Buffer.concat(parts), encoding: 'utf8', env: utf8 })
  expect(stdout).toContain(` ${16n << 30n} `)
})

/** dag-pb as it stands: names that the encoder would put in order. */
async function named(store: CountingStore, entries: readonly (readonly [string, CID])[]): Promise<CID> {
  const field = (tag: number, bytes: Uint8Array) =>
    Buffer.concat([Buffer.of(tag), Buffer.from(varint(BigInt(bytes.byteLength))), bytes])
  const links = entries.map(([name, cid]) =>
    field(0x12, Buffer.concat([field(0x0a, cid.bytes), field(0x12, text(name))])),
  )
  return putBytes(store, Buffer.concat([...links, field(0x0a, directory)]), 0x70)
}

test.each([
  ['..'],
  ['.'],
  [''],
  ['a/b'],
  ['/etc/passwd'],
  ['../x'],
  ['../../x'],
  ['a\0b'],
  ['..\\x'],
  ['a\\..\\..\\x'],
  ['\\x'],
  ['C:\\x'],
  ['x/../../y'],
])('the name %j ends the tar before it has begun', async (name) => {
  const store = new CountingStore()
  const root = await named(store, [
    ['bar', await putRaw(store, text('fine'))],
    [name, await putRaw(store, text('bad'))],
  ])
  await expect(gather(tarOf(store, root))).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test.runIf(systemTar)('a relative name that stays below the top is resolved', async () => {
  const store = new CountingStore()
  const inner = await named(store, [['../file', await putRaw(store, text('inside'))]])
  const root = await named(store, [['foobar', await named(store, [['directory', inner]])]])
  const { folder } = extracted(await bytesOf(tarOf(store, root)))
  expect(readFileSync(join(folder, root.toString(), 'foobar/file'), 'utf8')).toBe('inside')
  const above = await named(store, [['directory', await named(store, [['../../file', inner]])]])
  await expect(gather(tarOf(store, above))).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test('nothing is put through a symlink of the same archive, under no spelling of its name', async () => {
  const store = new CountingStore()
  const link = await putNode(store, symlinkNode('/etc'), [])
  const sub = await named(store, [['passwd', await putRaw(store, text('bad'))]])
  for (const name of ['x', 'X']) {
    const root = await named(store, [
      ['x', link],
      [name, sub],
    ])
    await expect(gather(tarOf(store, root))).rejects.toMatchObject({ code: 'DAG_INVALID' })
  }
  const around = await named(store, [
    ['x', link],
    ['y', await named(store, [['../x', sub]])],
  ])
  await expect(gather(tarOf(store, around))).rejects.toMatchObject({ code: 'DAG_INVALID' })
})

test('what is no UnixFS is not in a tar', async () => {
  const store = new CountingStore()
  const node = await putBytes(store, Uint8Array.of(0xa0), 0x71)
  await expect(gather(tarOf(store, node))).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
  const root = await putNode(store, directory, [{ cid: node, name: 'a' }])
  await expect(gather(tarOf(store, root))).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
})

test('few blocks that would make a large tar stop at the budget; a file, before its first byte', async () => {
  const store = new CountingStore()
  let cid = await putRaw(store, text('x'))
  for (let level = 0; level < 40; level++) {
    cid = await putNode(store, directory, [
      { cid, name: 'a' },
      { cid, name: 'b' },
    ])
  }
  const bounds = { dagExpandedBytesMax: 4 << 20 }
  let bytes = 0
  const drain = async () => {
    for await (const part of tarOf(store, cid, bounds)) bytes += part.byteLength
  }
  await expect(drain()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  expect(bytes).toBeLessThan(bounds.dagExpandedBytesMax + 65_536)
  await expect(gather(tarOf(store, cid, { dagBlocksMax: 100 }))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  await expect(gather(tarOf(store, cid, { dagDepthMax: 20 }))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  let file = { cid: await putRaw(store, Buffer.alloc(1024)), size: 1024n }
  for (let level = 0; level < 40; level++) file = await putFile(store, [file, file])
  const tar = tarOf(store, file.cid, bounds)
  await expect(tar.next()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

test('many small files come in batches, and a reader that stops costs a window', async () => {
  const store = new CountingStore()
  const files = Array.from({ length: 2000 }, (_, index) => ({ path: `t/${index}`, content: text(`file ${index}`) }))
  const root = await importDag(store, files)
  store.forget()
  await bytesOf(tarOf(store, root))
  expect(store.batches.length).toBeLessThan(50)
  const large = await importDag(store, [{ path: 'd/a', content: pattern(8 << 20) }], { chunkBytes: 65_536 })
  store.forget()
  const tar = tarOf(store, large)
  await tar.next()
  await tar.next()
  await settled()
  expect(store.asked.length).toBeLessThan(40)
  await tar.return(undefined)
})
