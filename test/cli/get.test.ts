import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, readlink, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { describe, expect, test } from 'vitest'
import { fakeNode, openCli, run, testFolder } from '../support/cli.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const otherCid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

/** A node with one directory of the given entries, whose files all hold `content`. */
async function listingNode(
  onFinished: TestContext['onTestFinished'],
  entries: readonly object[],
  content = 'evil',
): Promise<Record<string, string>> {
  const url = await fakeNode(onFinished, (request, response) => {
    response.setHeader('content-type', 'application/json')
    const path = request.url ?? ''
    if (path.startsWith('/ipfs/')) return response.end(content)
    if (path.includes('entries=true')) return response.end(JSON.stringify({ cid, entries }))
    const directory = { cid, kind: 'directory', codec: 'dag-pb', size: 0, links: entries.length, blockBytes: 9 }
    return response.end(JSON.stringify(directory))
  })
  return { STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url }
}

const file = (name: string) => ({ name, cid: otherCid, kind: 'file', size: 4, dagBytes: 4 })
const link = (name: string, target: string) => ({ name, cid: otherCid, kind: 'symlink', size: 1, dagBytes: 1, target })

describe('get', () => {
  test('a tree comes back on disk byte for byte, with links, empty folders, modes and times', async ({
    onTestFinished,
  }) => {
    const { folder, run } = await openCli(onTestFinished)
    const tree = join(folder, 'tree')
    await mkdir(join(tree, 'sub', 'empty'), { recursive: true })
    await writeFile(join(tree, 'sub', 'big'), Buffer.alloc(3 << 20, 5))
    await writeFile(join(tree, 'none'), '')
    for (let i = 0; i < 40; i++) await writeFile(join(tree, 'sub', `file-${i}`), `content ${i}`)
    await symlink('sub/big', join(tree, 'link'))
    await chmod(join(tree, 'sub', 'big'), 0o600)
    await utimes(join(tree, 'sub', 'big'), 1_600_000_000, 1_600_000_000)
    await chmod(join(tree, 'sub'), 0o555)
    const root = (await run(['add', '-q', '-r', '--mode', '--mtime', 'tree'])).stdout.trim()
    await chmod(join(tree, 'sub'), 0o755)

    const ran = await run(['get', `/ipfs/${root}`, '-o', 'back'])
    expect(ran).toMatchObject({ exitCode: 0, stderr: '', stdout: 'fetched back (43 files, 3.00 MiB)\n' })
    const back = join(folder, 'back')
    expect((await readFile(join(back, 'sub', 'big'))).equals(Buffer.alloc(3 << 20, 5))).toBe(true)
    expect(await readFile(join(back, 'sub', 'file-7'), 'utf8')).toBe('content 7')
    expect(await readlink(join(back, 'link'))).toBe('sub/big')
    expect(await readdir(join(back, 'sub', 'empty'))).toEqual([])
    const big = await stat(join(back, 'sub', 'big'))
    expect([big.mode & 0o777, big.mtimeMs]).toEqual([0o600, 1_600_000_000_000])
    expect((await stat(join(back, 'sub'))).mode & 0o777).toBe(0o555)
    await chmod(join(back, 'sub'), 0o755)
    await chmod(join(back, 'sub', 'empty'), 0o755)
  })

  test('a file goes to its own name, and an existing one is kept unless --force is given', async ({
    onTestFinished,
  }) => {
    const { folder, run } = await openCli(onTestFinished)
    const root = (await run(['add', '-q', '--as', 'a.txt', '-'], { stdin: 'new' })).stdout.trim()
    await writeFile(join(folder, 'a.txt'), 'old')
    const kept = await run(['get', `ipfs://${root}/a.txt`])
    expect(kept.exitCode).toBe(1)
    expect(kept.stderr).toContain('a.txt exists already; choose another name, or replace it with --force')
    expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('old')
    expect((await run(['get', '--force', `${root}/a.txt`])).exitCode).toBe(0)
    expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('new')
    expect(await readdir(folder)).toEqual(['a.txt'])
  })

  for (const name of ['..', '.', '', '../evil', '/etc/evil', 'a/b', 'nul\0']) {
    test(`an entry named ${JSON.stringify(name)} is refused, and nothing is left`, async ({ onTestFinished }) => {
      const folder = join(await testFolder(onTestFinished), 'work')
      await mkdir(folder)
      const env = await listingNode(onTestFinished, [file('fine'), file(name)])
      const ran = await run(folder, ['get', cid, '-o', 'out'], { env })
      expect(ran.exitCode).toBe(1)
      expect(ran.stderr).toContain('which would leave the target')
      expect(await readdir(folder)).toEqual([])
      expect(await readdir(join(folder, '..'))).toEqual(['work'])
    })
  }

  test('no entry is written through a symlink of the same directory', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    await mkdir(join(folder, 'outside'))
    await writeFile(join(folder, 'outside', 'victim'), 'safe')
    const env = await listingNode(onTestFinished, [link('a', join(folder, 'outside', 'victim')), file('a')])
    const ran = await run(folder, ['get', cid, '-o', 'out'], { env })
    expect(ran.exitCode).toBe(1)
    expect(ran.stderr).toContain('out/a exists already')
    expect(await readFile(join(folder, 'outside', 'victim'), 'utf8')).toBe('safe')
    expect(await readdir(folder)).toEqual(['outside'])
  })

  test('a connection that is cut, and a file that is too short, leave nothing under the final name', async ({
    onTestFinished,
  }) => {
    const folder = await testFolder(onTestFinished)
    const node = { cid, kind: 'file', codec: 'raw', size: 1000, links: 0, blockBytes: 1000 }
    const url = await fakeNode(onTestFinished, (request, response) => {
      if (request.url?.startsWith('/api/') === true) return response.end(JSON.stringify(node))
      response.write(Buffer.alloc(500))
      return setImmediate(() => response.socket?.destroy())
    })
    const cut = await run(folder, ['get', cid], { env: { STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url } })
    expect(cut.exitCode).toBe(1)
    expect(cut.stderr).toContain('cut the connection before the answer was complete')
    const env = await listingNode(onTestFinished, [{ ...file('short'), size: 5 }])
    const short = await run(folder, ['get', cid], { env })
    expect(short.exitCode).toBe(1)
    expect(short.stderr).toContain('4 bytes arrived of 5')
    expect(await readdir(folder)).toEqual([])
  })

  test('what is not here is exit code 3, what is no CID 2', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const absent = await run(['get', '--json', otherCid])
    expect(absent.exitCode).toBe(3)
    expect(JSON.parse(absent.stderr)).toMatchObject({ code: 'block_not_found' })
    expect((await run(['get', '/ipfs/notes.txt'])).exitCode).toBe(2)
  })
})

describe('cat', () => {
  test('a directory and a symlink are refused with what to do', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    await symlink('somewhere', join(folder, 'd', 'link'))
    const root = (await run(['add', '-q', '-r', 'd'])).stdout.trim()
    expect(await run(['cat', root])).toMatchObject({ exitCode: 2 })
    expect((await run(['cat', `${root}/link`])).stderr).toContain('is a symlink to somewhere')
  })

  test('a name cannot act on the terminal', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    await writeFile(join(folder, 'd', '\u001b[2Jgone'), '')
    const root = (await run(['add', '-q', '-r', 'd'])).stdout.trim()
    expect((await run(['ls', root])).stdout).toContain('\\u{1b}[2Jgone')
  })
})

describe('car', () => {
  test('an exported CAR is imported again with the same root', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await writeFile(join(folder, 'a'), randomBytes(3 << 20))
    const root = (await run(['add', '-q', 'a'])).stdout.trim()
    expect((await run(['car', 'export', root, '-o', 'a.car'])).stdout).toMatch(/^exported a\.car \(3\.00 MiB\)\n$/)
    const piped = await run(['car', 'export', root])
    expect(piped.stdoutBytes.equals(await readFile(join(folder, 'a.car')))).toBe(true)
    const other = await openCli(onTestFinished)
    expect((await other.run(['car', 'import', '-'], { stdin: piped.stdoutBytes })).stdout).toBe(`imported ${root}\n`)
    expect((await other.run(['cat', root])).stdoutBytes.byteLength).toBe(3 << 20)
    for (const absent of [`${root}/nowhere`, `${root}/a/below-a-file/x`]) {
      const failed = await run(['car', 'export', absent, '-o', 'absent.car'])
      expect([failed.exitCode, failed.stderr]).toEqual([3, expect.stringContaining('nothing is linked by')])
    }
    expect(await readdir(folder)).not.toContain('absent.car')
    expect((await run(['car', 'export', root], { terminal: true })).exitCode).toBe(2)
    expect((await run(['car', 'import', 'a'])).exitCode).toBe(1)
  })
})
