import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { CID } from 'multiformats/cid'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { exportCar } from '../../src/dag/car-export.ts'
import { importCar } from '../../src/dag/car-import.ts'
import { importDirectory } from '../../src/dag/import-directory.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'
import { openPath } from '../../src/dag/open.ts'
import { MiB } from '../../src/lib/units.ts'
import { carLimits, dagLimits, inChunks } from '../support/cars.ts'
import { bytesOf, entriesOf, file } from '../support/import-inputs.ts'

// Two programs that are not ours read what we write, and write what we read: `ipfs-car` of npm always, Kubo where it is.

const run = promisify(execFile)
const { signal } = new AbortController()
const ipfsCarProgram = join(import.meta.dirname, '../../node_modules/ipfs-car/bin.js')
const kuboFound = spawnSync('ipfs', ['--version']).status === 0
if (!kuboFound) console.log('skipped: no `ipfs` on PATH to exchange CARs with')

/** Path below the root → content: chunks, a node of links, a directory in a directory, one that is a HAMT, repeats. */
const files = new Map<string, Buffer>([
  ['empty', Buffer.alloc(0)],
  ['one byte', Buffer.from('1')],
  ['two chunks', randomBytes(MiB + 1)],
  ['sub/ä/deep', randomBytes(3 * MiB)],
  ['sub/zeros', Buffer.alloc(2 * MiB + 7)],
  ...Array.from({ length: 4000 }, (_, n): [string, Buffer] => [
    `many/a name that is long enough for a HAMT, ${n}`,
    Buffer.from(`content ${n % 100}`),
  ]),
])

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'stowage-judges-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

async function writeFiles(target: string): Promise<void> {
  for (const [path, content] of files) {
    await mkdir(join(target, path, '..'), { recursive: true })
    await writeFile(join(target, path), content)
  }
}

async function filesBelow(folder: string): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    found.set(path.slice(folder.length + 1), await readFile(path))
  }
  return found
}

function expectTheFiles(found: ReadonlyMap<string, Buffer>): void {
  expect([...found.keys()].toSorted()).toEqual([...files.keys()].toSorted())
  for (const [path, content] of files) expect([path, found.get(path)?.equals(content)]).toEqual([path, true])
}

async function imported(): Promise<{ store: MemoryBlockstore; root: CID }> {
  const store = new MemoryBlockstore()
  const entries = Array.from(files, ([path, content]): ImportEntry => file(`tree/${path}`, content))
  const { cid } = await importDirectory(entriesOf(...entries), store, { profile: 'unixfs-v1-2025', signal })
  return { store, root: cid }
}

async function exported(store: MemoryBlockstore, root: CID): Promise<Buffer> {
  const target = await openPath({ root, segments: [] }, store, { signal, limits: dagLimits })
  return bytesOf(exportCar(target, store, { signal, limits: dagLimits, readAheadBytes: 8 * MiB }))
}

/** Imports a CAR into an empty store and reads every file out of it. */
async function readBack(car: Uint8Array): Promise<{ root: CID | undefined; found: Map<string, Buffer> }> {
  const store = new MemoryBlockstore()
  const { roots } = await importCar(inChunks(car, 65_536), store, { signal, limits: carLimits })
  const [root] = roots
  const found = new Map<string, Buffer>()
  if (root === undefined) return { root, found }
  for (const path of files.keys()) {
    const target = await openPath({ root, segments: path.split('/') }, store, { signal, limits: dagLimits })
    found.set(path, await bytesOf(target.read(undefined, { signal, readAheadBytes: 8 * MiB })))
  }
  return { root, found }
}

describe('ipfs-car', () => {
  const ipfsCar = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, [ipfsCarProgram, ...args])).stdout.trim()

  test('unpacks what we export into the same files, and finds every hash right', async () => {
    const { store, root } = await imported()
    const car = join(dir, 'ours.car')
    await writeFile(car, await exported(store, root))
    expect(await ipfsCar('roots', car)).toBe(root.toString())
    await ipfsCar('unpack', car, '--output', join(dir, 'out'))
    expectTheFiles(await filesBelow(join(dir, 'out')))
  })

  test('packs a CAR that we import into the same files, under the root it names', async () => {
    await writeFiles(join(dir, 'tree'))
    const car = join(dir, 'theirs.car')
    const said = await ipfsCar('pack', join(dir, 'tree'), '--no-wrap', '--hidden', '--output', car)
    const { root, found } = await readBack(await readFile(car))
    expect(root?.toString()).toBe(said)
    expectTheFiles(found)
  })

  test('gives a file and a small directory the CIDs that we give them', async () => {
    const { store, root } = await imported()
    for (const path of ['two chunks', 'sub/ä/deep', 'sub']) {
      await writeFiles(join(dir, 'tree'))
      const target = await openPath({ root, segments: path.split('/') }, store, { signal, limits: dagLimits })
      const said = await ipfsCar('pack', join(dir, 'tree', path), '--no-wrap', '--output', join(dir, 'one.car'))
      expect([path, said]).toEqual([path, target.cid.toString()])
    }
  })
})

describe.runIf(kuboFound)('Kubo', () => {
  const kubo = async (...args: string[]): Promise<Buffer> => {
    const env = { ...process.env, IPFS_PATH: join(dir, 'repo') }
    const options = { env, encoding: 'buffer', maxBuffer: 64 * MiB } as const
    return (await run('ipfs', args, options)).stdout
  }
  beforeEach(() => kubo('init', '--profile=unixfs-v1-2025,test', '--empty-repo'))

  test('imports the CAR that we export, gives the same files, and exports the same CAR', async () => {
    const { store, root } = await imported()
    const car = await exported(store, root)
    await writeFile(join(dir, 'ours.car'), car)
    expect((await kubo('dag', 'import', join(dir, 'ours.car'))).toString()).toContain(root.toString())
    await kubo('get', root.toString(), '-o', join(dir, 'out'))
    expectTheFiles(await filesBelow(join(dir, 'out')))
    expect(Buffer.compare(await kubo('dag', 'export', root.toString()), car)).toBe(0)
  })

  test('exports a CAR that we import into the same files, under the CID it gave them', async () => {
    await writeFiles(join(dir, 'tree'))
    const said = (await kubo('add', '-Q', '-r', join(dir, 'tree'))).toString().trim()
    const { root, found } = await readBack(await kubo('dag', 'export', said))
    expect(root?.toString()).toBe(said)
    expect(root?.toString()).toBe((await imported()).root.toString())
    expectTheFiles(found)
  })
})
