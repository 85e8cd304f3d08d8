import { appendFileSync } from 'node:fs'
import { chmod, mkdir, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fakeNode, openCli, run, testFolder } from '../support/cli.ts'

const cidOf = (line: string) => /\b(b[a-z2-7]{50,}|Qm\w{44})\b/.exec(line)?.[1] ?? ''

describe('add', () => {
  test('a file is added and its line holds the CID and the name as it was typed', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await writeFile(join(folder, 'a.txt'), 'hello world')
    const ran = await run(['add', 'a.txt'])
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' })
    expect(ran.stdout).toBe('added bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e a.txt\n')
  })

  test('stdin under a name becomes a directory with that file in it', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const added = await run(['add', '-q', '--as', 'hello.txt', '-'], { stdin: 'hello' })
    const cid = added.stdout.trim()
    expect((await run(['cat', `${cid}/hello.txt`])).stdout).toBe('hello')
    expect((await run(['ls', cid, '--json'])).stdout).toContain('"name":"hello.txt"')
  })

  test('a file, stdin and a directory with the same name and content have the same CID when wrapped', async ({
    onTestFinished,
  }) => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    await writeFile(join(folder, 'd', 'x.txt'), 'same')
    const cids = await Promise.all([
      run(['add', '-q', '--wrap', 'd/x.txt']),
      run(['add', '-q', '--as', 'x.txt', '-'], { stdin: 'same' }),
      run(['add', '-q', '-r', 'd']),
    ])
    expect(new Set(cids.map(({ stdout }) => stdout)).size).toBe(1)
  })

  test('a directory needs -r, and the message says so', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    const ran = await run(['add', 'd'])
    expect(ran.exitCode).toBe(2)
    expect(ran.stderr).toBe('stowage: d is a directory; add it with all that is in it: stowage add -r d\n')
  })

  test('a tree comes back with its links, empty folders, times and modes; what is hidden stays out', async ({
    onTestFinished,
  }) => {
    const { folder, run } = await openCli(onTestFinished)
    const tree = join(folder, 'tree')
    const long = 'n'.repeat(150)
    await mkdir(join(tree, 'empty'), { recursive: true })
    await mkdir(join(tree, long))
    await writeFile(join(tree, long, 'grüße 🚢.txt'), 'deep')
    await writeFile(join(tree, '.secret'), 'no')
    await writeFile(join(tree, 'big'), Buffer.alloc(300_000, 7))
    await symlink('big', join(tree, 'link'))
    await chmod(join(tree, 'big'), 0o640)
    await utimes(join(tree, 'big'), 1_600_000_000, 1_600_000_000)
    const cid = (await run(['add', '-q', '-r', '--mode', '--mtime', 'tree'])).stdout.trim()
    const lines = (await run(['ls', cid])).stdout
    expect(lines).not.toContain('.secret')
    expect(lines).toContain('link -> big')
    expect(lines).toMatch(/- {2}\w+ {2}empty\//)
    expect((await run(['cat', `${cid}/${long}/grüße 🚢.txt`])).stdout).toBe('deep')
    expect((await run(['stat', `${cid}/big`])).stdout).toMatch(/mode +0640\nchanged +2020-09-13T12:26:40.000Z/)
    const hidden = (await run(['add', '-q', '-r', '--hidden', 'tree'])).stdout.trim()
    expect((await run(['cat', `${hidden}/.secret`])).stdout).toBe('no')
  })

  test('several paths are wrapped into one directory, and two of one name are refused', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    await writeFile(join(folder, 'd', 'a'), '1')
    await writeFile(join(folder, 'a'), '2')
    const ran = await run(['add', '-r', '-q', '--wrap', 'd', 'a'])
    const cid = ran.stdout.trim()
    expect((await run(['cat', `${cid}/d/a`])).stdout).toBe('1')
    expect((await run(['cat', `${cid}/a`])).stdout).toBe('2')
    expect((await run(['add', '--wrap', 'a', 'd/a'])).exitCode).toBe(2)
  })

  test('options of the import reach the node: the 2015 profile gives a CIDv0', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const ran = await run(['add', '-q', '--profile', 'unixfs-v0-2015', '-'], { stdin: 'hello world\n' })
    expect(ran.stdout).toBe('QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o\n')
  })

  test('an option that the node refuses is a usage error with its hint', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const ran = await run(['add', '--chunk', '3B', '-'], { stdin: 'x' })
    expect(ran.exitCode).toBe(2)
    expect(ran.stderr).toContain('chunk="3B" is not allowed; chunk: bytes of a chunk')
  })

  test('--json gives one object a path', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await writeFile(join(folder, 'a'), 'x')
    await writeFile(join(folder, 'b'), 'x')
    const ran = await run(['add', '--json', 'a', 'b'])
    const results = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object)
    expect(results).toEqual([
      { cid: cidOf(ran.stdout), name: 'a', size: 1, blocks: 1, newBlocks: 1 },
      { cid: cidOf(ran.stdout), name: 'b', size: 1, blocks: 1, newBlocks: 0 },
    ])
  })

  test('a missing file is found missing before anything is sent', async ({ onTestFinished }) => {
    const { folder, run, store } = await openCli(onTestFinished)
    await writeFile(join(folder, 'a'), 'x')
    const ran = await run(['add', '--json', 'a', 'gone'])
    expect(ran.exitCode).toBe(3)
    expect(JSON.parse(ran.stderr)).toEqual({
      code: 'path_not_found',
      message: `${join(folder, 'gone')} does not exist`,
    })
    expect(store.count).toBe(0)
  })

  test('a wrong token is told from a missing one, with exit code 5', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await writeFile(join(folder, 'large'), Buffer.alloc(8 << 20))
    const wrong = await run(['add', 'large'], { env: { STOWAGE_TOKEN: 'wrong' } })
    expect(wrong.exitCode).toBe(5)
    expect(wrong.stderr).toContain("the token of STOWAGE_TOKEN is not this node's")
    const none = await run(['add', 'large'], { env: { STOWAGE_TOKEN: '' } })
    expect(none.exitCode).toBe(5)
    expect(none.stderr).toContain('no token was found')
  })

  test('an answer that comes before the upload ends is shown, not the broken pipe', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    let received = 0
    const url = await fakeNode(onTestFinished, (request, response) => {
      request.once('data', () => {
        response.writeHead(507, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ code: 'store_full', message: 'the store is full' }))
      })
      request.on('data', (part: Buffer) => {
        received += part.byteLength
      })
    })
    await writeFile(join(folder, 'large'), Buffer.alloc(256 << 20))
    const ran = await run(folder, ['add', 'large'], { env: { STOWAGE_API_URL: url, STOWAGE_TOKEN: 't' } })
    expect(ran).toMatchObject({ exitCode: 6, stderr: 'stowage: the store is full\n' })
    expect(received).toBeLessThan(128 << 20)
  })

  test('a file that grows while it is read fails the upload', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const file = join(folder, 'growing')
    await writeFile(file, Buffer.alloc(16 << 20))
    const url = await fakeNode(onTestFinished, (request, response) => {
      request.once('data', () => appendFileSync(file, 'more'))
      request.resume().once('end', () => response.end('{}'))
    })
    const ran = await run(folder, ['add', file], { env: { STOWAGE_API_URL: url, STOWAGE_TOKEN: 't' } })
    expect(ran.exitCode).toBe(1)
    expect(ran.stderr).toContain('growing changed its size while it was read')
  })

  test('a bar is drawn on a terminal and taken away again; nothing of it is in a pipe', async ({ onTestFinished }) => {
    const { folder, run } = await openCli(onTestFinished)
    await writeFile(join(folder, 'large'), Buffer.alloc(4 << 20))
    const shown = await run(['add', 'large'], { terminal: true })
    expect(shown.stderr).toMatch(/adding large {2}\[=* *\] +\d+% {2}.* of 4\.00 MiB/)
    expect((await run(['add', 'large'])).stderr).toBe('')
    expect((await run(['add', '--json', 'large'], { terminal: true })).stderr).toBe('')
  })
})
