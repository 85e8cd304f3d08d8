import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { resolveServerBinary, type ServerBinaryOptions } from '../../src/nats/server-binary.ts'
import { type ServerSource, sha256 } from '../../src/nats/server-sources.ts'

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-binary-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A script that is a nats-server as far as `--version` goes. */
async function fakeServer(folder: string, version: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'nats-server')
  await writeFile(file, `#!/bin/sh\necho "nats-server: v${version}"\n`)
  await chmod(file, 0o755)
  return file
}

interface Setup {
  readonly cacheDir: string
  readonly fetched: () => number
  readonly options: ServerBinaryOptions
}

/** No server on PATH, nothing cached, and a source that counts how often it is asked. */
async function setup(fetchFrom: (folder: string) => Promise<string>): Promise<Setup> {
  const root = await temporaryFolder()
  const cacheDir = join(root, 'cache')
  await mkdir(join(root, 'bin'))
  let fetched = 0
  const source: ServerSource = {
    name: 'test source',
    fetch: (folder) => {
      fetched++
      return fetchFrom(folder)
    },
  }
  return {
    cacheDir,
    fetched: () => fetched,
    options: { cacheDir, env: { PATH: join(root, 'bin') }, sources: [source] },
  }
}

const goodSource = (folder: string) => fakeServer(folder, '2.15.1')

test('a server that is named is used, whatever else there is', async () => {
  const { options, fetched } = await setup(goodSource)
  const binary = await fakeServer(await temporaryFolder(), '2.14.3')
  expect(await resolveServerBinary({ ...options, binary })).toEqual({
    path: binary,
    version: '2.14.3',
    foundBy: 'setting',
  })
  expect(fetched()).toBe(0)
})

test('a named server that is too old is refused, not replaced', async () => {
  const { options, fetched } = await setup(goodSource)
  const binary = await fakeServer(await temporaryFolder(), '2.9.0')
  await expect(resolveServerBinary({ ...options, binary })).rejects.toMatchObject({
    code: 'SERVER_TOO_OLD',
    message: expect.stringMatching(/2\.9\.0.*2\.12/),
    hint: expect.stringContaining('STOWAGE_NATS_SERVER'),
  })
  expect(fetched()).toBe(0)
})

test('a named server that cannot be run says why', async () => {
  const folder = await temporaryFolder()
  const plain = join(folder, 'plain')
  await writeFile(plain, 'not a program')
  const other = join(folder, 'other')
  await writeFile(other, '#!/bin/sh\necho hello\n')
  await chmod(other, 0o755)
  const cases = [
    [join(folder, 'absent'), 'not found'],
    [plain, 'not executable'],
    [other, 'not a nats-server'],
  ] as const
  for (const [binary, reason] of cases) {
    await expect(resolveServerBinary({ binary })).rejects.toMatchObject({
      code: 'SERVER_NOT_FOUND',
      message: expect.stringMatching(`${binary}.*${reason}`),
    })
  }
})

test('a new enough server on PATH is used', async () => {
  const { options, fetched } = await setup(goodSource)
  const bin = await temporaryFolder()
  await fakeServer(bin, '2.12.0')
  expect(await resolveServerBinary({ ...options, env: { PATH: `${bin}:/bin` } })).toMatchObject({
    version: '2.12.0',
    foundBy: 'PATH',
  })
  expect(fetched()).toBe(0)
})

test('an old server on PATH is passed over', async () => {
  const { options } = await setup(goodSource)
  const bin = await temporaryFolder()
  await fakeServer(bin, '2.9.0')
  expect(await resolveServerBinary({ ...options, env: { PATH: `${bin}:/bin` } })).toMatchObject({
    version: '2.15.1',
    foundBy: 'fetch',
  })
})

test('a server is fetched once; then the cache has it and nothing is fetched', async () => {
  const { options, fetched, cacheDir } = await setup(goodSource)
  const first = await resolveServerBinary(options)
  const second = await resolveServerBinary(options)
  expect([first.foundBy, second.foundBy]).toEqual(['fetch', 'cache'])
  expect(second.path).toBe(first.path)
  expect(fetched()).toBe(1)
  expect(await readdir(cacheDir)).toHaveLength(1)
})

test('a broken server in the cache is replaced', async () => {
  const { options, fetched } = await setup(goodSource)
  const { path } = await resolveServerBinary(options)
  const whole = await readFile(path)
  await writeFile(path, Buffer.concat([whole, Buffer.from('# still runs, but is not what was installed\n')]))
  expect(await resolveServerBinary(options)).toMatchObject({ path, foundBy: 'fetch' })
  expect(await readFile(path)).toEqual(whole)
  expect(fetched()).toBe(2)
})

test('starts at once install one whole server between them', async () => {
  const { options, cacheDir } = await setup(async (folder) => {
    const file = join(folder, 'nats-server')
    await copyFile(inject('natsServer'), file)
    return file
  })
  const found = await Promise.all(Array.from({ length: 6 }, () => resolveServerBinary(options)))
  expect(new Set(found.map((server) => server.path)).size).toBe(1)
  const names = await readdir(cacheDir)
  expect(names).toHaveLength(1)
  const [name = ''] = names
  expect(name.endsWith(sha256(await readFile(join(cacheDir, name))))).toBe(true)
})

test('a source that brings another version is passed over, and nothing of it stays', async () => {
  const { options, cacheDir } = await setup((folder) => fakeServer(folder, '2.15.0'))
  await expect(resolveServerBinary(options)).rejects.toMatchObject({
    code: 'SERVER_NOT_FOUND',
    message: expect.stringContaining('2.15.0'),
  })
  expect(await readdir(cacheDir)).toEqual([])
})

test('when no server is to be had, one line lists everything that was tried and what to do', async () => {
  const failing = (name: string, reason: string): ServerSource => ({
    name,
    fetch: () => Promise.reject(new Error(reason)),
  })
  const { options } = await setup(goodSource)
  const sources = [failing('release archive', 'no download: ENOTFOUND'), failing('go install', 'not installed')]
  const error = await resolveServerBinary({ ...options, sources }).catch((thrown: Error) => thrown)
  expect(error).toMatchObject({
    code: 'SERVER_NOT_FOUND',
    message: expect.stringMatching(
      /PATH \(not found\); cache .*none there.*release archive .*ENOTFOUND.*go install \(not/,
    ),
    hint: expect.stringContaining('STOWAGE_NATS_SERVER'),
  })
  expect((error as Error).message).not.toContain('\n')
})

test('the next source is asked when the first one fails', async () => {
  const { options } = await setup(goodSource)
  const broken: ServerSource = { name: 'broken', fetch: () => Promise.reject(new Error('no network')) }
  const asked: string[] = []
  const sources = [broken, ...(options.sources ?? [])]
  const server = await resolveServerBinary({ ...options, sources, onFetch: (name) => asked.push(name) })
  expect(server.foundBy).toBe('fetch')
  expect(asked).toEqual(['broken', 'test source'])
})
