import { execFile, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { importDirectory } from '../../src/dag/import-directory.ts'
import { importFile } from '../../src/dag/import-file.ts'
import { type ImportEntry, type ImportOptions, profiles } from '../../src/dag/import-options.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import {
  bytesOf,
  directory,
  entriesOf,
  file,
  forgetful,
  keyStream,
  symlink as linkEntry,
  streamOf,
} from '../support/import-inputs.ts'

// Real work by the ten thousand blocks: minutes, where a machine has much else to do.
vi.setConfig({ testTimeout: 300_000 })

const run = promisify(execFile)
const found = spawnSync('ipfs', ['--version']).status === 0
if (!found) console.log('skipped: no `ipfs` on PATH to compare CIDs with')

const { signal } = new AbortController()

describe.runIf(found).each(profiles)('Kubo, %s', (profile) => {
  let dir = ''
  const kubo = async (...args: string[]): Promise<string> => {
    const { stdout } = await run('ipfs', args, { env: { ...process.env, IPFS_PATH: join(dir, 'repo') } })
    return stdout.trim()
  }
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'stowage-kubo-'))
    await kubo('init', `--profile=${profile},test`, '--empty-repo')
  })
  afterAll(() => rm(dir, { recursive: true, force: true }))

  const sizes = [0, 1, 256 * KiB, MiB, MiB + 1, 2 * MiB + 1, 44 * MiB]
  test.each(sizes)('a file of %i bytes', async (size) => {
    const bytes = await bytesOf(keyStream(size, 'kubo'))
    await writeFile(join(dir, 'file'), bytes)
    const result = await importFile(streamOf(bytes), {}, forgetful(), { profile, signal })
    expect(result.cid.toString()).toBe(await kubo('add', '-Q', '-n', join(dir, 'file')))
  })

  const variants: readonly (readonly [string, string[], Partial<ImportOptions>])[] = [
    ['trickle', ['--trickle'], { trickle: true }],
    ['chunks of 10,000 bytes', ['--chunker=size-10000'], { chunkBytes: 10_000 }],
    ['raw leaves', ['--raw-leaves'], { rawLeaves: true }],
    ['leaves that are not raw', ['--raw-leaves=false'], { rawLeaves: false }],
    ['trickle in small chunks', ['--trickle', '--chunker=size-1024'], { trickle: true, chunkBytes: KiB }],
  ]
  test.each(variants)('a file with %s', async (_label, flags, options) => {
    const bytes = await bytesOf(keyStream(3 * MiB + 5, 'variants'))
    await writeFile(join(dir, 'file'), bytes)
    const result = await importFile(streamOf(bytes), {}, forgetful(), { profile, signal, ...options })
    expect(result.cid.toString()).toBe(await kubo('add', '-Q', '-n', ...flags, join(dir, 'file')))
  })

  test('a tree with nested, empty, large and linked entries', async () => {
    const root = join(dir, 'tree')
    const entries: ImportEntry[] = [directory('tree/empty'), linkEntry('tree/link', 'sub/0')]
    await mkdir(join(root, 'empty'), { recursive: true })
    await mkdir(join(root, 'sub'))
    await mkdir(join(root, 'many'))
    await symlink('sub/0', join(root, 'link'))
    const write = async (path: string, content: string) => {
      await writeFile(join(dir, path), content)
      entries.push(file(path, content))
    }
    for (let index = 0; index < 20; index++) await write(`tree/sub/${index}`, `content ${index}`)
    for (let index = 0; index < 6000; index++) await write(`tree/many/a longer name, ä, ${index}`, String(index % 7))
    const result = await importDirectory(entriesOf(...entries), forgetful(), { profile, signal })
    expect(result.cid.toString()).toBe(await kubo('add', '-Q', '-n', '-r', root))
  })
})
