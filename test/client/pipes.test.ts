import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { isPipe, readPipe, writePipe } from '../../src/client/pipes.ts'
import { collect } from '../../src/lib/streams.ts'
import { openCli, testFolder } from '../support/cli.ts'

const { signal } = new AbortController()

async function openPipe(): Promise<string> {
  const pipe = join(await testFolder(onTestFinished), 'pipe')
  execFileSync('mkfifo', [pipe])
  return pipe
}

/** Blocks as a shell does until somebody reads, so it is not waited for. */
const fill = (pipe: string, content: string | Uint8Array): Promise<void> => writeFile(pipe, content, { flag: 'a' })

test('a pipe is read to its end, however much is in it, and whichever side comes first', async () => {
  const pipe = await openPipe()
  expect([isPipe(pipe), isPipe(join(pipe, '..')), isPipe(`${pipe}-absent`)]).toEqual([true, false, false])
  const content = Buffer.alloc(3 << 20, 7)
  const read = collect(readPipe(pipe, signal), content.byteLength)
  await fill(pipe, content)
  expect(Buffer.from(await read).equals(content)).toBe(true)
})

test('a pipe whose other side never comes is let go when it is stopped', async () => {
  const pipe = await openPipe()
  for (const use of [
    (stop: AbortSignal) => collect(readPipe(pipe, stop), 9),
    (stop: AbortSignal) => writePipe(pipe, readPipe(pipe, signal), stop),
  ]) {
    const stop = new AbortController()
    const used = use(stop.signal)
    stop.abort(new Error('enough'))
    await expect(used).rejects.toThrow(/enough|aborted/)
  }
})

test('a pipe is written as fast as it is read; a reader that leaves is EPIPE', async () => {
  const pipe = await openPipe()
  const content = Buffer.alloc(1 << 20, 7)
  const chunks = async function* () {
    for (let i = 0; i < 16; i++) yield content
  }
  const read = collect(createReadStream(pipe), 16 << 20)
  expect(await writePipe(pipe, chunks(), signal)).toBe(16 << 20)
  expect((await read).byteLength).toBe(16 << 20)
  const reader = open(pipe, 'r')
  const written = writePipe(pipe, chunks(), signal)
  const refused = expect(written).rejects.toMatchObject({ code: 'EPIPE' })
  await (await reader).close()
  await refused
})

describe('as arguments', () => {
  test('pipes are taken where files are', async () => {
    const { folder, run } = await openCli(onTestFinished)
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    await writeFile(join(folder, 'file'), 'hello')
    const cid = (await run(['add', '-q', 'file'])).stdout
    const fed = async (content: string | Uint8Array, argv: string[]) => {
      const [ran] = await Promise.all([run(argv), fill(pipe, content)])
      return ran
    }
    expect(await fed('hello', ['add', '-q', 'pipe'])).toMatchObject({ exitCode: 0, stdout: cid })
    expect(await fed('hello', ['add', '--as', 'x', pipe])).toMatchObject({ exitCode: 0, stderr: '' })
    await run(['car', 'export', cid.trim(), '-o', 'a.car'])
    const car = await readFile(join(folder, 'a.car'))
    expect((await fed(car, ['car', 'import', 'pipe'])).stdout).toBe(`imported ${cid}`)
    expect((await fed('no json', ['policy', 'check', pipe])).stderr).toContain('is no JSON')
  })

  test('/dev/stdin and its other names are stdin, once', async () => {
    const { run } = await openCli(onTestFinished)
    const cid = (await run(['add', '-q', '-'], { stdin: 'hello' })).stdout
    for (const name of ['/dev/stdin', '/dev/fd/0', '/proc/self/fd/0']) {
      expect(await run(['add', '-q', name], { stdin: 'hello' })).toMatchObject({ exitCode: 0, stdout: cid })
      expect((await run(['add', '-', name], { stdin: 'hello' })).stderr).toContain('stdin can be added once')
    }
  })

  test('a pipe below a folder is told, and several things with a pipe are not wrapped', async () => {
    const { folder, run } = await openCli(onTestFinished)
    await mkdir(join(folder, 'd'))
    execFileSync('mkfifo', [join(folder, 'd', 'pipe')])
    const below = await run(['add', '-r', 'd'])
    expect([below.exitCode, below.stderr]).toEqual([1, expect.stringContaining('d/pipe is neither a file')])
    const wrapped = await run(['add', '--wrap', 'd/pipe'])
    expect([wrapped.exitCode, wrapped.stderr]).toEqual([2, expect.stringContaining('needs --as to be wrapped')])
  })
})
