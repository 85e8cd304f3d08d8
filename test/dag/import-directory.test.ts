import { createDirectoryEncoderStream } from 'ipfs-car'
import { importer } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { describe, expect, test, vi } from 'vitest'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { importDirectory } from '../../src/dag/import-directory.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'
import { openPath } from '../../src/dag/open.ts'
import type { Target } from '../../src/dag/target.ts'
import { KiB } from '../../src/lib/units.ts'
import { bytesOf, directory, entriesOf, file, forgetful, streamOf, symlink } from '../support/import-inputs.ts'

// Real work by the ten thousand blocks: minutes, where a machine has much else to do.
vi.setConfig({ testTimeout: 300_000 })

const { signal } = new AbortController()
const v1 = { profile: 'unixfs-v1-2025', signal } as const
const limits = {
  dagDepthMax: 1024,
  dagBlocksMax: 1e6,
  dagBytesMax: 1e12,
  dagExpandedBytesMax: 1e12,
  nodeLinksMax: 16_384,
}

async function cidOf(entries: ImportEntry[], options: object = {}): Promise<string> {
  return (await importDirectory(entriesOf(...entries), forgetful(), { ...v1, ...options })).cid.toString()
}

async function importerCid(paths: readonly string[], profile: 'unixfs-v1-2025' | 'unixfs-v0-2015'): Promise<string> {
  const source = paths.map((path) => ({ path, content: Buffer.from(path) }))
  let root = ''
  const storage = { put: async (cid: CID) => cid }
  for await (const { cid } of importer(source, storage as never, { profile })) root = cid.toString()
  return root
}

describe('the judges agree', () => {
  test('a tree has the CID that ipfs-car gives it', async () => {
    const paths = ['z.txt', 'a/b/c.txt', 'a/x.txt', 'a/b/ü 100%.txt', 'B', 'a.txt']
    let root = ''
    const files = paths.map((name) => ({ name, stream: () => new Blob([name]).stream() }))
    const reader = createDirectoryEncoderStream(files as never).getReader()
    for (let next = await reader.read(); !next.done; next = await reader.read()) root = next.value.cid.toString()
    expect(await cidOf(paths.map((path) => file(path, path)))).toBe(root)
  })

  for (const profile of ['unixfs-v1-2025', 'unixfs-v0-2015'] as const) {
    test(`${profile}: 10,000 entries have the CID that the bare importer gives them, in any order`, async () => {
      const paths = Array.from({ length: 10_000 }, (_, index) => `root/file-${index}.txt`)
      const expected = await importerCid(paths, profile)
      const result = await importDirectory(entriesOf(...paths.map((path) => file(path, path))), forgetful(), {
        profile,
        signal,
      })
      expect(result.cid.toString()).toBe(expected)
      expect(
        await cidOf(
          [...paths].reverse().map((path) => file(path, path)),
          { profile },
        ),
      ).toBe(expected)
    })
  }

  test('subdirectories count for the threshold, as in Kubo 0.43 (the bare importer stays flat)', async () => {
    const names = Array.from({ length: 4800 }, (_, index) => `dd/directory-${String(index).padStart(4, '0')}`)
    expect(await cidOf(names.map(directory))).toBe('bafybeifwyl7gb6bqd5w7zltscbeqjpclo2gfz4kqq2fwsavsugumhy5a3i')
    expect(await cidOf(names.map(directory), { profile: 'unixfs-v0-2015' })).toBe(
      'QmP4Jw6txSNThADuGQuAnMn3V2LMka7cypgzXtXJknKPtz',
    )
  })
})

test('others have their turn while a wide directory is written, from its entries to its root', async () => {
  const turns = { entries: 0, directory: 0 }
  let phase: keyof typeof turns | undefined = 'entries'
  const count = (): void => {
    if (phase === undefined) return
    turns[phase]++
    setImmediate(count)
  }
  setImmediate(count)
  const entries = async function* () {
    for (let index = 0; index < 30_000; index++) yield file(`file-${index}.txt`, '')
    phase = 'directory'
  }
  await importDirectory(entries(), forgetful(), v1)
  phase = undefined
  expect(turns.entries).toBeGreaterThan(1)
  expect(turns.directory).toBeGreaterThan(1)
})

describe('reading back', () => {
  const blocks = new MemoryBlockstore()
  const put = (entries: ImportEntry[], options: object = {}) =>
    importDirectory(entriesOf(...entries), blocks, { ...v1, ...options })
  const at = (root: CID, ...segments: string[]): Promise<Target> =>
    openPath({ root, segments }, blocks, { signal, limits })
  const text = async (target: Target) =>
    (await bytesOf(target.read(undefined, { signal, readAheadBytes: 64 * KiB }))).toString()

  test('files, empty directories and symlinks are where they were put', async () => {
    const { cid, size } = await put([
      file('s/a.txt', 'A'),
      directory('s/empty'),
      symlink('s/to-a', 'a.txt'),
      file('s/d/b', 'BB'),
    ])
    expect(size).toBe(3n)
    expect(await text(await at(cid, 'd', 'b'))).toBe('BB')
    expect((await at(cid, 'empty')).kind).toBe('directory')
    const link = await at(cid, 'to-a')
    expect([link.kind, await text(link)]).toEqual(['symlink', 'a.txt'])
  })

  test('every name of a HAMT is found by its path', async () => {
    const names = Array.from({ length: 6000 }, (_, index) => `entry-${index}-äöü`)
    const { cid } = await put(names.map((name) => file(`big/${name}`, name)))
    for (const name of [names[0], names[1234], names[5999]]) expect(await text(await at(cid, String(name)))).toBe(name)
    const listed: string[] = []
    for await (const entry of (await at(cid)).list({ signal })) listed.push(entry.name)
    expect(listed.sort()).toEqual([...names].sort())
  })

  test('the attributes of a directory are kept though its entry comes after its files', async () => {
    const mtime = { secs: 1_704_164_645n, nsecs: 500_000_000 }
    const { cid } = await put([
      file('d/x', 'x'),
      { kind: 'directory', path: 'd', attributes: { mode: 0o700, mtime } },
      { kind: 'file', path: 'd/small', content: streamOf('y'), attributes: { mode: 0o640 } },
    ])
    expect(await at(cid)).toMatchObject({ mode: 0o700, mtime: { secs: 1704164645n, nsecs: 500_000_000 } })
    const small = await at(cid, 'small')
    expect([small.mode, await text(small)]).toEqual([0o640, 'y'])
  })

  test('a large file with attributes keeps them and its content', async () => {
    const content = streamOf(Buffer.alloc(3000, 'a'))
    const { cid } = await put([{ kind: 'file', path: 'f', content, attributes: { mode: 0o600 } }], { chunkBytes: KiB })
    const target = await at(cid)
    expect([target.mode, await text(target)]).toEqual([0o600, 'a'.repeat(3000)])
  })

  test('a copy is the entry that it names', async () => {
    const { cid, size } = await put([file('d/a', 'same'), { kind: 'copy', path: 'd/b', source: 'd/a' }])
    expect(await text(await at(cid, 'b'))).toBe('same')
    expect(size).toBe(8n)
  })
})

describe('the root', () => {
  test('is the one entry at the top, or the directory that holds several', async () => {
    const alone = await cidOf([file('a.txt', 'A')], {})
    expect(await cidOf([file('d/a.txt', 'A')])).toBe(await cidOf([directory('./'), file('a.txt', 'A')]))
    expect(alone).toMatch(/^bafkrei/)
    expect(await cidOf([file('a', 'A'), file('b', 'B')])).toBe(await cidOf([file('d/a', 'A'), file('d/b', 'B')]))
  })

  test('wrap keeps the name of the one entry', async () => {
    expect(await cidOf([file('a.txt', 'A')], { wrap: true })).toBe(await cidOf([file('d/a.txt', 'A')]))
  })

  test('no root is stored when an entry is refused', async () => {
    const blocks = new MemoryBlockstore()
    const entries = entriesOf(file('d/a', 'A'), file('d/a', 'B'))
    await expect(importDirectory(entries, blocks, v1)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(blocks.count).toBeLessThanOrEqual(1)
  })
})

describe('entries', () => {
  test('hidden ones are left out unless asked for', async () => {
    const visible = [file('d/a', 'A')]
    const hidden = [file('d/.env', 'secret'), file('d/.git/config', 'x'), directory('d/.cache')]
    expect(await cidOf([...visible, ...hidden])).toBe(await cidOf([file('d/a', 'A')]))
    const all = await cidOf([file('d/a', 'A'), file('d/.env', 'secret')], { hidden: true })
    expect(all).not.toBe(await cidOf([file('d/a', 'A')]))
  })

  test.each([
    ['..', '".."'],
    ['a/../b', '".."'],
    ['/etc/passwd', 'absolute'],
    ['', 'empty'],
    ['a//b', 'empty segment'],
    ['a\0b', 'NUL'],
    ['a/\ud800', 'UTF-8'],
    ['x'.repeat(9000), 'longer'],
    ['a/'.repeat(300), 'segments'],
  ])('the path %j is refused', async (path, why) => {
    await expect(cidOf([file('ok', 'x'), file(path, 'x')])).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      message: expect.stringContaining(why),
    })
  })

  test.each([
    ['the same file twice', [file('d/a', '1'), file('d/a', '2')]],
    ['a file where a directory is', [file('d/a/b', '1'), file('d/a', '2')]],
    ['a directory where a file is', [file('d/a', '1'), file('d/a/b', '2')]],
    ['a copy of nothing', [{ kind: 'copy', path: 'd/b', source: 'd/a' } as const]],
    ['nothing at all', []],
    ['only hidden ones', [file('.a', '1')]],
  ])('%s: refused', async (_label, entries) => {
    await expect(cidOf(entries)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('a directory may come twice, and dots in paths are no names', async () => {
    expect(await cidOf([directory('d'), file('./d/a', '1'), directory('d/')])).toBe(await cidOf([file('d/a', '1')]))
  })
})
