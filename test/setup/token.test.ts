import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startTestNats } from '../support/nats.ts'
import type { NodeProcess } from '../support/node-process.ts'
import { startServing, temporaryFolder, upload, waiting } from '../support/serving.ts'

const bytes = () => new TextEncoder().encode(`content ${Math.random()}`)
const statusWith = async (node: NodeProcess, token: string | undefined) => (await upload(node, bytes(), token)).status

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

test('the token is printed at the first start only, kept for its owner alone, and known to NATS by its hash', async () => {
  const first = await startServing(onTestFinished)
  expect(first.token).toMatch(/^stw_[\w-]{32}$/)
  expect(first.output().split(first.token)).toHaveLength(2)
  expect((await stat(join(first.dataDir, 'admin.token'))).mode & 0o777).toBe(0o600)
  expect(await statusWith(first, first.token)).toBe(201)
  expect(await statusWith(first, `${first.token.slice(0, -1)}!`)).toBe(401)
  expect((await fetch(`${first.apiUrl}/api/v1/objects`, { method: 'POST', body: 'x' })).status).toBe(401)

  const config = await readFile(join(first.dataDir, 'nats-server.conf'), 'utf8')
  expect(config).not.toContain(first.token)
  const url = /NATS +(nats:\S+)/.exec(first.output())?.[1] ?? ''
  const connection = await connect({ servers: url })
  const kv = await new Kvm(jetstream(connection)).open('stowage_tokens')
  const values: string[] = []
  for await (const entry of await kv.history()) values.push(entry.string())
  expect(values).toEqual([createHash('sha256').update(first.token).digest('hex')])
  await connection.close()

  const second = await restart(first)
  expect(second.output()).not.toContain(first.token)
  expect(second.token).toBe(first.token)
  expect(await statusWith(second, first.token)).toBe(201)
  expect(await second.end('SIGTERM')).toBe(0)
  const holders: string[] = []
  for (const file of await filesBelow(first.dataDir)) {
    if ((await readFile(file)).includes(first.token)) holders.push(file)
  }
  expect(holders).toEqual([join(first.dataDir, 'admin.token')])
})

async function restart(node: NodeProcess, env: Record<string, string> = {}): Promise<NodeProcess> {
  expect(await node.end('SIGTERM')).toBe(0)
  return startServing(onTestFinished, { dataDir: node.dataDir, env })
}

test('STOWAGE_TOKEN replaces the token, and stays valid without the setting', async () => {
  const first = await startServing(onTestFinished)
  const second = await restart(first, { STOWAGE_TOKEN: 'of-my-own' })
  expect(second.output()).not.toContain('of-my-own')
  expect(await statusWith(second, 'of-my-own')).toBe(201)
  expect(await statusWith(second, first.token)).toBe(401)
  const third = await restart(second)
  expect(third.token).toBe('of-my-own')
  expect(await statusWith(third, 'of-my-own')).toBe(201)
})

test('without its file the token is still valid, and the node says how to set another one', async () => {
  const first = await startServing(onTestFinished)
  await rm(join(first.dataDir, 'admin.token'))
  const second = await restart(first)
  expect(second.token).toBe('')
  expect(second.output()).toMatch(/admin token is not in this folder.*STOWAGE_TOKEN/)
  expect(await statusWith(second, first.token)).toBe(201)
})

test('a token that a crash left in its file before it was stored is taken', async () => {
  const nats = await startTestNats()
  onTestFinished(() => nats.stop())
  const dataDir = await temporaryFolder(onTestFinished)
  const env = { STOWAGE_NATS_URL: nats.url, STOWAGE_SHARDS: '1' }
  const first = await startServing(onTestFinished, { dataDir, env })
  await first.end('SIGTERM')
  const connection = await connect({ servers: nats.url })
  await (await new Kvm(jetstream(connection)).open('stowage_tokens')).destroy()
  await connection.close()
  const second = await startServing(onTestFinished, { dataDir, env })
  expect(await statusWith(second, first.token)).toBe(201)
})

test('a second node on the same NATS takes the first one’s token, and a token set there works here soon', async () => {
  const nats = await startTestNats()
  onTestFinished(() => nats.stop())
  const env = { STOWAGE_NATS_URL: nats.url, STOWAGE_SHARDS: '1' }
  const first = await startServing(onTestFinished, { env })
  const second = await startServing(onTestFinished, { env })
  expect(second.token).toBe('')
  expect(second.output()).toMatch(/admin token is not in this folder/)
  expect(await statusWith(second, first.token)).toBe(201)
  await startServing(onTestFinished, { env: { ...env, STOWAGE_TOKEN: 'the-new-one' } })
  await vi.waitFor(async () => expect(await statusWith(first, first.token)).toBe(401), waiting)
  await vi.waitFor(async () => expect(await statusWith(second, 'the-new-one')).toBe(201), waiting)
})
