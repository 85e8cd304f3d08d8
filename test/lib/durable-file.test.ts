import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { removeTemporaries, renameDurably, writeDurably, writeDurablySync } from '../../src/lib/durable-file.ts'

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'stowage-durable-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

async function* parts(...texts: readonly (string | Error)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    if (text instanceof Error) throw text
    yield Buffer.from(text)
  }
}

test('a file is written whole, with exactly the mode asked for, and replaces what was there', async () => {
  const path = join(await folder(), 'a')
  const umask = process.umask(0o077)
  onTestFinished(() => void process.umask(umask))
  expect(await writeDurably(path, 'first, and longer')).toBe(17)
  expect(await writeDurably(path, 'é', { mode: 0o644 })).toBe(2)
  expect(await readFile(path, 'utf8')).toBe('é')
  expect((await stat(path)).mode & 0o777).toBe(0o644)
})

test('a stream is written as it comes; one that throws leaves what was there, and nothing beside it', async () => {
  const at = await folder()
  const path = join(at, 'a')
  expect(await writeDurably(path, parts('ab', 'cd'))).toBe(4)
  await expect(writeDurably(path, parts('xy', new Error('cut off')))).rejects.toThrow('cut off')
  await expect(writeDurably(join(at, 'b'), parts(new Error('cut off')))).rejects.toThrow('cut off')
  expect(await readFile(path, 'utf8')).toBe('abcd')
  expect(await readdir(at)).toEqual(['a'])
})

test('with `keep` one of many at once makes the file, and the others hear that it is there', async () => {
  const at = await folder()
  const path = join(at, 'a')
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => writeDurably(path, `writer ${i}`, { existing: 'keep' })),
  )
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))
  expect(failures).toEqual(Array(19).fill('EEXIST'))
  const winner = results.findIndex(({ status }) => status === 'fulfilled')
  expect(await readFile(path, 'utf8')).toBe(`writer ${winner}`)
  expect(await readdir(at)).toEqual(['a'])
})

test('behind a symbolic link the file is replaced, and the link stays', async () => {
  const at = await folder()
  await mkdir(join(at, 'elsewhere'))
  await writeFile(join(at, 'elsewhere/a'), 'old')
  await symlink('elsewhere/a', join(at, 'link'))
  await writeDurably(join(at, 'link'), 'new')
  expect(await readFile(join(at, 'elsewhere/a'), 'utf8')).toBe('new')
  expect((await readdir(at)).toSorted()).toEqual(['elsewhere', 'link'])
})

test('a FIFO is written to and stays one; a folder is refused', async () => {
  const at = await folder()
  const fifo = join(at, 'fifo')
  expect((await once(spawn('mkfifo', [fifo]), 'exit'))[0]).toBe(0)
  const read = readFile(fifo, 'utf8')
  await writeDurably(fifo, 'through the pipe')
  expect(await read).toBe('through the pipe')
  expect((await stat(fifo)).isFIFO()).toBe(true)
  await mkdir(join(at, 'folder'))
  await expect(writeDurably(join(at, 'folder'), 'x')).rejects.toMatchObject({ code: 'EISDIR' })
  expect((await readdir(at)).toSorted()).toEqual(['fifo', 'folder'])
})

test('names that are as long as the file system allows can be written', async () => {
  const at = await folder()
  const name = '名'.repeat(85)
  await writeDurably(join(at, name), 'x')
  expect(await readdir(at)).toEqual([name])
})

test('the synchronous one does the same', async () => {
  const at = await folder()
  writeDurablySync(join(at, 'a'), 'old', 0o600)
  writeDurablySync(join(at, 'a'), 'new', 0o600)
  expect(await readFile(join(at, 'a'), 'utf8')).toBe('new')
  expect(() => writeDurablySync(join(at, 'none/a'), 'x', 0o600)).toThrow('ENOENT')
  expect(await readdir(at)).toEqual(['a'])
})

test('a folder is renamed whole', async () => {
  const at = await folder()
  await mkdir(join(at, 'a'))
  await mkdir(join(at, 'there'))
  await writeFile(join(at, 'a/file'), 'x')
  await renameDurably(join(at, 'a'), join(at, 'there/b'))
  expect(await readFile(join(at, 'there/b/file'), 'utf8')).toBe('x')
})

test('what a crash left is removed once it is old; what may be under way and what is not ours stays', async () => {
  const at = await folder()
  const left = '.stowage-0123456789abcdef.tmp'
  const young = '.stowage-0123456789abcde0.tmp'
  const names = [left, young, '.stowage-notes.tmp', 'admin.token']
  for (const name of names) await writeFile(join(at, name), '')
  const hourAgo = new Date(Date.now() - 3_600_000)
  for (const name of names) if (name !== young) await utimes(join(at, name), hourAgo, hourAgo)
  await removeTemporaries(at, 60_000)
  expect((await readdir(at)).toSorted()).toEqual(names.filter((name) => name !== left).toSorted())
})
