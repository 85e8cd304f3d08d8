import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { openNodeCli } from '../support/full-node.ts'
import { testKey, testRecord } from '../support/ipns.ts'

const waiting = { timeout: 10_000, interval: 50 }
const content = '/ipfs/bafkqablimvwgy3y'
const secret = { STOWAGE_KEYS_SECRET: 'a secret of the test nodes' }

test('records are taken from files, shown, listed, written out and removed', async ({ onTestFinished }) => {
  const { folder, run } = await openNodeCli(onTestFinished)
  const [a, b] = [testKey(), testKey('rsa')]
  const bytes = testRecord(a, { value: content, sequence: 4n })
  await writeFile(join(folder, `${a.name}_v2.ipns-record`), bytes)
  await writeFile(join(folder, 'record'), testRecord(b, { value: content }))
  const took = await run(['ipns', 'import', `${a.name}_v2.ipns-record`])
  expect(took).toMatchObject({ exitCode: 0, stderr: '' })
  expect(took.stdout).toMatch(new RegExp(`^took ${a.name} -> ${content} \\(sequence 4, until `))
  expect((await run(['ipns', 'import', `${a.name}_v2.ipns-record`])).stdout).toMatch(/^kept /)
  expect((await run(['ipns', 'import', 'record'])).exitCode).toBe(2)
  expect((await run(['ipns', 'import', 'record', '--key', b.cid.toString()])).exitCode).toBe(0)
  expect((await run(['ipns', 'import', 'record', '--key', a.name])).exitCode).toBe(1)
  expect((await run(['ipns', 'link', 'docs.example.org', `${content}`])).stdout).toBe(
    `docs.example.org -> ${content}\n`,
  )
  for (const name of [a.name, b.cid.toString(), 'docs.example.org']) {
    expect((await run(['cat', `/ipns/${name}`])).stdout, name).toBe('hello')
  }
  expect((await run(['get', '/ipns/docs.example.org', '-o', 'fetched'])).exitCode).toBe(0)
  expect(await readFile(join(folder, 'fetched'), 'utf8')).toBe('hello')
  expect((await run(['cat', '/ipns/nothing.example.org'])).stderr).toContain('cannot be resolved')
  const names = (await run(['ipns', 'ls', '--json'])).stdout.trim().split('\n')
  expect(names.map((line) => (JSON.parse(line) as { name: string }).name).sort()).toEqual(
    [a.name, b.name, 'docs.example.org'].sort(),
  )
  expect((await run(['ipns', 'get', a.name, '-o', 'out'])).exitCode).toBe(0)
  expect((await readFile(join(folder, 'out'))).equals(bytes)).toBe(true)
  expect((await run(['ipns', 'get', 'docs.example.org', '-o', 'none'])).exitCode).toBe(2)
  expect((await run(['ipns', 'rm', a.name])).exitCode).toBe(0)
  expect((await run(['ipns', 'get', a.name])).exitCode).toBe(3)
  await writeFile(join(folder, `${a.name}.older`), testRecord(a, { value: content, sequence: 3n }))
  expect((await run(['ipns', 'import', `${a.name}.older`])).exitCode).toBe(7)
})

test('a key is made, follows a name through its changes, and is exported for the owner alone', async ({
  onTestFinished,
}) => {
  const { folder, run, node } = await openNodeCli(onTestFinished, secret)
  const [name = ''] = (await run(['key', 'gen', 'site'])).stdout.split(' ')
  expect((await run(['key', 'gen', 'site'])).exitCode).toBe(7)
  expect((await run(['key', 'ls'])).stdout).toBe(`${name}  site\n`)
  await run(['name', 'set', 'www', '--file', '-'], { stdin: 'one' })
  const published = await run(['ipns', 'publish', 'www', '--key', 'site', '--ttl', '77'])
  expect(published.stdout).toMatch(new RegExp(`^${name} -> /ipfs/bafk`))
  const first = await fetch(`${node.gatewayUrl}/ipns/${name}`)
  expect([await first.text(), first.headers.get('cache-control')]).toEqual(['one', 'public, max-age=77'])
  await run(['name', 'set', 'www', '--file', '-'], { stdin: 'two' })
  await vi.waitFor(async () => {
    expect(await (await fetch(`${node.gatewayUrl}/ipns/${name}`)).text()).toBe('two')
  }, waiting)
  expect((await run(['key', 'export', 'site', '-o', 'site.pem'])).exitCode).toBe(0)
  expect((await stat(join(folder, 'site.pem'))).mode & 0o777).toBe(0o600)
  expect((await run(['key', 'export', 'site', '-o', 'site.pem'])).exitCode).not.toBe(0)
  expect((await run(['key', 'rm', 'site'])).exitCode).toBe(0)
  expect((await run(['ipns', 'publish', 'www', '--key', 'site'])).exitCode).toBe(3)
  expect((await run(['key', 'import', 'again', 'site.pem'])).stdout).toBe(`${name}  again\n`)
  expect((await run(['key', 'import', 'bad', 'site.pem', '--json'])).exitCode).toBe(0)
  await writeFile(join(folder, 'no.pem'), 'no key')
  expect((await run(['key', 'import', 'no', 'no.pem'])).exitCode).toBe(2)
})

test('without a secret, or without the token, there are no keys', async ({ onTestFinished }) => {
  const { run, node } = await openNodeCli(onTestFinished)
  const refused = await run(['key', 'gen', 'site'])
  expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining('STOWAGE_KEYS_SECRET')])
  for (const [method, path] of [
    ['GET', 'keys'],
    ['POST', 'keys'],
    ['POST', 'keys/site/export'],
    ['DELETE', 'keys/site'],
    ['POST', 'ipns'],
  ] as const) {
    expect([path, (await fetch(`${node.apiUrl}/api/v1/${path}`, { method })).status]).toEqual([path, 401])
  }
})
