import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { collect } from '../../src/lib/streams.ts'
import { fakeNode, openCli, run as runIn, testFolder } from '../support/cli.ts'

/** A node with a folder `tree` (a.jpg, sub/b, link → a.jpg) and beside it a folder of precious things. */
async function openTree() {
  const { folder, run } = await openCli(onTestFinished)
  await mkdir(join(folder, 'tree', 'sub'), { recursive: true })
  await writeFile(join(folder, 'tree', 'a.jpg'), 'new')
  await writeFile(join(folder, 'tree', 'sub', 'b'), 'new b')
  await symlink('a.jpg', join(folder, 'tree', 'link'))
  const cid = (await run(['add', '-q', '-r', 'tree'])).stdout.trim()
  const work = join(folder, 'work')
  await mkdir(join(work, 'Pictures', '2024'), { recursive: true })
  await writeFile(join(work, 'Pictures', '2024', 'p.txt'), 'precious')
  return { folder, work, cid, run: (argv: string[]) => run(argv, { io: { cwd: work } }) }
}

/** Every path below a folder with what it is. */
async function treeOf(folder: string): Promise<Record<string, string>> {
  const tree: Record<string, string> = {}
  for (const path of (await readdir(folder, { recursive: true })).sort()) {
    const file = join(folder, path)
    const stats = await lstat(file)
    if (stats.isFile()) tree[path] = await readFile(file, 'utf8')
    else tree[path] = stats.isSymbolicLink() ? `-> ${await readlink(file)}` : stats.isFIFO() ? '|' : '/'
  }
  return tree
}

const untouched = { Pictures: '/', 'Pictures/2024': '/', 'Pictures/2024/p.txt': 'precious' }

describe('a file', () => {
  test.each(['Pictures', 'Pictures/', './Pictures/.', 'Pictures/2024/..'])(
    'goes into the folder %s under its own name, with --force or without',
    async (output) => {
      const { work, cid, run } = await openTree()
      expect(await run(['get', `${cid}/a.jpg`, '-o', output])).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await treeOf(work)).toEqual({ ...untouched, 'Pictures/a.jpg': 'new' })
      expect((await run(['get', `${cid}/a.jpg`, '-o', output])).stderr).toContain('a.jpg exists already')
      await writeFile(join(work, 'Pictures', 'a.jpg'), 'old')
      expect(await run(['get', `${cid}/a.jpg`, '-o', output, '--force'])).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await treeOf(work)).toEqual({ ...untouched, 'Pictures/a.jpg': 'new' })
    },
  )

  test.each([
    ['.', 'work/a.jpg'],
    ['..', 'a.jpg'],
    ['', undefined],
    ['absent/', undefined],
  ])('with -o %j and --force takes no folder away', async (output, made) => {
    const { folder, work, cid, run } = await openTree()
    const before = await treeOf(folder)
    const ran = await run(['get', `${cid}/a.jpg`, '-o', output, '--force'])
    expect(ran.exitCode === 0).toBe(made !== undefined)
    expect(await treeOf(folder)).toEqual({ ...before, ...(made === undefined ? {} : { [made]: 'new' }) })
    expect((await stat(work)).isDirectory()).toBe(true)
  })

  test('does not replace a folder of its own name', async () => {
    const { work, cid, run } = await openTree()
    await mkdir(join(work, 'a.jpg'))
    for (const argv of [
      ['get', `${cid}/a.jpg`, '--force'],
      ['get', `${cid}/a.jpg`, '-o', '.', '--force'],
    ]) {
      const ran = await run(argv)
      expect(ran.exitCode).toBe(1)
      expect(ran.stderr).toContain('a.jpg is a folder, which a file does not replace')
    }
    expect(await treeOf(work)).toEqual({ ...untouched, 'a.jpg': '/' })
  })

  test('replaces a file, which leaves its permission bits behind, and no symlink', async () => {
    const { work, cid, run } = await openTree()
    await writeFile(join(work, 'private'), 'old')
    await chmod(join(work, 'private'), 0o600)
    await symlink('private', join(work, 'link'))
    const linked = await run(['get', `${cid}/a.jpg`, '-o', 'link', '--force'])
    expect([linked.exitCode, linked.stderr]).toEqual([1, expect.stringContaining('is a symlink')])
    expect(await readFile(join(work, 'private'), 'utf8')).toBe('old')
    expect((await run(['get', `${cid}/a.jpg`, '-o', 'private', '--force'])).exitCode).toBe(0)
    expect([await readFile(join(work, 'private'), 'utf8'), (await stat(join(work, 'private'))).mode & 0o777]).toEqual([
      'new',
      0o600,
    ])
  })

  test('is written into a device or a pipe, which stays what it is', async () => {
    const { work, cid, run } = await openTree()
    execFileSync('mkfifo', [join(work, 'pipe')])
    await symlink('/dev/null', join(work, 'null'))
    for (const force of [[], ['--force']]) {
      const read = collect(createReadStream(join(work, 'pipe')), 100)
      const ran = await run(['get', `${cid}/a.jpg`, '-o', 'pipe', ...force])
      expect(ran).toMatchObject({ exitCode: 0, stdout: 'fetched pipe (3 B)\n' })
      expect(Buffer.from(await read).toString()).toBe('new')
      expect((await run(['get', `${cid}/a.jpg`, '-o', 'null', ...force])).exitCode).toBe(0)
    }
    expect((await run(['get', cid, '-o', 'pipe', '--force'])).stderr).toContain('is a pipe, which takes')
    expect((await run(['get', `${cid}/link`, '-o', 'null', '--force'])).exitCode).toBe(1)
    expect(await treeOf(work)).toEqual({ ...untouched, pipe: '|', null: '-> /dev/null' })
  })

  test('has a part file whose name is cut by bytes, in the middle of no character', async () => {
    const { folder, run } = await openCli(onTestFinished)
    for (const name of [`${'第'.repeat(83)}.txt`, `${'é'.repeat(127)}`, `x${'😀'.repeat(63)}`, 'a'.repeat(255)]) {
      const cid = (await run(['add', '-q', '--as', name, '-'], { stdin: name })).stdout.trim()
      expect(await run(['get', `${cid}/${name}`])).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await run(['get', cid])).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await run(['car', 'export', cid, '-o', `${name.slice(0, 40)}.car`])).toMatchObject({ exitCode: 0 })
      expect(await readFile(join(folder, name), 'utf8')).toBe(name)
      expect(await readFile(join(folder, cid, name), 'utf8')).toBe(name)
    }
  })
})

describe('a folder', () => {
  test('is kept out of one that is there, unless --force merges them or a slash puts it inside', async () => {
    const { work, cid, run } = await openTree()
    const refused = await run(['get', cid, '-o', 'Pictures'])
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('put it inside with -o Pictures/')])
    expect(await treeOf(work)).toEqual(untouched)
    expect((await run(['get', `${cid}/sub`, '-o', 'Pictures/'])).stdout).toContain('fetched Pictures/sub (1 files')
    expect((await run(['get', `${cid}/sub`, '-o', '.'])).exitCode).toBe(0)
    expect((await run(['get', `${cid}/sub`, '-o', 'fresh/'])).exitCode).toBe(0)
    expect(await treeOf(work)).toEqual({
      ...untouched,
      'Pictures/sub': '/',
      'Pictures/sub/b': 'new b',
      sub: '/',
      'sub/b': 'new b',
      fresh: '/',
      'fresh/b': 'new b',
    })
  })

  test('with --force replaces what has its names, and nothing else goes', async () => {
    const { work, cid, run } = await openTree()
    const pictures = join(work, 'Pictures')
    await mkdir(join(pictures, 'sub'))
    await writeFile(join(pictures, 'a.jpg'), 'old')
    await writeFile(join(pictures, 'sub', 'mine'), 'mine')
    await symlink('elsewhere', join(pictures, 'link'))
    expect(await run(['get', cid, '-o', 'Pictures', '--force'])).toMatchObject({ exitCode: 0, stderr: '' })
    expect(await treeOf(work)).toEqual({
      ...untouched,
      'Pictures/a.jpg': 'new',
      'Pictures/link': '-> a.jpg',
      'Pictures/sub': '/',
      'Pictures/sub/b': 'new b',
      'Pictures/sub/mine': 'mine',
    })
  })

  test.each([
    ['a folder where a file comes', async (at: string) => void (await mkdir(join(at, 'a.jpg')))],
    ['a file where a folder comes', async (at: string) => writeFile(join(at, 'sub'), 'mine')],
    ['a symlink where a folder comes', async (at: string) => symlink('2024', join(at, 'sub'))],
    ['a file where a symlink comes', async (at: string) => writeFile(join(at, 'link'), 'mine')],
    ['a symlink where a file comes', async (at: string) => symlink('2024/p.txt', join(at, 'a.jpg'))],
  ])('with %s is refused, and nothing is changed', async (_what, put) => {
    const { work, cid, run } = await openTree()
    await put(join(work, 'Pictures'))
    const before = await treeOf(work)
    const ran = await run(['get', cid, '-o', 'Pictures', '--force'])
    expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringMatching(/is a (file|folder|symlink), which a/)])
    expect(await treeOf(work)).toEqual(before)
  })

  test('keeps modes and times when it is merged, also where they forbid writing', async () => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'tree', 'locked'), { recursive: true })
    await writeFile(join(folder, 'tree', 'locked', 'a'), 'new')
    await chmod(join(folder, 'tree', 'locked'), 0o555)
    await utimes(join(folder, 'tree', 'locked'), 1_600_000_000, 1_600_000_000)
    const cid = (await run(['add', '-q', '-r', '--mode', '--mtime', 'tree'])).stdout.trim()
    await chmod(join(folder, 'tree', 'locked'), 0o755)
    await mkdir(join(folder, 'out', 'locked'), { recursive: true })
    await writeFile(join(folder, 'out', 'locked', 'mine'), 'mine')
    expect(await run(['get', cid, '-o', 'out', '--force'])).toMatchObject({ exitCode: 0, stderr: '' })
    const locked = await stat(join(folder, 'out', 'locked'))
    expect([locked.mode & 0o777, locked.mtimeMs]).toEqual([0o555, 1_600_000_000_000])
    await chmod(join(folder, 'out', 'locked'), 0o755)
    expect(await treeOf(join(folder, 'out'))).toEqual({ locked: '/', 'locked/a': 'new', 'locked/mine': 'mine' })
  })
})

test('a download that fails, or is stopped, leaves what was there as it was', async () => {
  const folder = await testFolder(onTestFinished)
  await writeFile(join(folder, 'there'), 'old')
  const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
  const node = { cid, kind: 'file', codec: 'raw', size: 1000, links: 0, blockBytes: 1000 }
  let then: (socket: { destroy(): void }) => void = () => undefined
  const url = await fakeNode(onTestFinished, (request, response) => {
    if (request.url?.startsWith('/api/') === true) return response.end(JSON.stringify(node))
    response.write(Buffer.alloc(500))
    return setImmediate(() => then(request.socket))
  })
  const env = { STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url }
  for (const argv of [
    ['get', cid, '-o', 'there', '--force'],
    ['car', 'export', cid, '-o', 'there', '--force'],
  ]) {
    then = (socket) => socket.destroy()
    expect((await runIn(folder, argv, { env })).exitCode).toBe(1)
    const stop = new AbortController()
    then = () => stop.abort(new Error('SIGHUP'))
    expect((await runIn(folder, argv, { env, signal: stop.signal })).exitCode).toBe(130)
    expect(await treeOf(folder)).toEqual({ there: 'old' })
  }
})
