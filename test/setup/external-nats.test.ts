import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, hasOpenssl, makeCertificates } from '../support/certificates.ts'
import { startTestNats, type TestNats, type TestNatsOptions } from '../support/nats.ts'
import { nkeyUser, operatorSetup } from '../support/nats-jwt.ts'
import type { NodeProcess } from '../support/node-process.ts'
import { download, roundTrip, startServing, statusOf, temporaryFolder, upload, waiting } from '../support/serving.ts'

const MiB = 1024 * 1024

async function startNats(options: TestNatsOptions = {}): Promise<TestNats> {
  const nats = await startTestNats(options)
  onTestFinished(() => nats.stop())
  return nats
}

const serve = (url: string, env: Record<string, string> = {}): Promise<NodeProcess> =>
  startServing(onTestFinished, { env: { STOWAGE_NATS_URL: url, STOWAGE_SHARDS: '2', ...env } })

async function secretFile(text: string): Promise<string> {
  const file = join(await temporaryFolder(onTestFinished), 'secret')
  await writeFile(file, text, { mode: 0o600 })
  return file
}

const content = () => randomBytes(3 * MiB + 17)

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise<void>((resolve) => void server.close(() => resolve()))
  return port
}

describe('credentials', () => {
  test('user and password', async () => {
    const nats = await startNats({ extraConfig: 'authorization { user: me, password: "p@ss" }' })
    const node = await serve(nats.url, { STOWAGE_NATS_USER: 'me', STOWAGE_NATS_PASSWORD: 'p@ss' })
    await roundTrip(node, content())
  })

  test('user and password in the URL, which the status does not show', async () => {
    const nats = await startNats({ extraConfig: 'authorization { user: me, password: "p@ss" }' })
    const node = await serve(nats.url.replace('//', '//me:p%40ss@'))
    await roundTrip(node, content())
    expect((await statusOf(node)).nats).toMatchObject({ mode: 'external', url: nats.url, durability: 'unknown' })
    expect(node.output()).not.toContain('p%40ss')
  })

  test('a token, as a setting and in the URL', async () => {
    const nats = await startNats({ extraConfig: 'authorization { token: "s3cret" }' })
    await roundTrip(await serve(nats.url, { STOWAGE_NATS_TOKEN: 's3cret' }), content())
    const env = { STOWAGE_TOKEN: 'made-by-me' }
    await roundTrip(await serve(nats.url.replace('//', '//s3cret@'), env), content())
  })

  test('an nkey', async () => {
    const { publicKey, seed } = nkeyUser()
    const nats = await startNats({ extraConfig: `authorization { users: [ { nkey: ${publicKey} } ] }` })
    await roundTrip(await serve(nats.url, { STOWAGE_NATS_NKEY: await secretFile(`${seed}\n`) }), content())
  })

  test('a credentials file of an operator’s account', async () => {
    const { config, creds } = operatorSetup()
    const nats = await startNats({ extraConfig: config })
    await roundTrip(await serve(nats.url, { STOWAGE_NATS_CREDS: await secretFile(creds) }), content())
  })
})

describe.runIf(hasOpenssl)('TLS (needs openssl)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'stowage-certificates-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const files: Certificates = hasOpenssl ? makeCertificates(folder) : ({} as Certificates)
  const tls = (more = '') =>
    `tls {\n cert_file: "${files.serverCert}"\n key_file: "${files.serverKey}"\n ca_file: "${files.ca}"\n${more}\n}`
  const onlyCa = { STOWAGE_NATS_TLS_CA: files.ca }

  test.each(['nats://127.0.0.1', 'tls://127.0.0.1', 'nats://localhost'])('%s with our own CA', async (host) => {
    const nats = await startNats({ extraConfig: tls() })
    const node = await serve(`${host}:${nats.port}`, onlyCa)
    // Many blocks at a time, so that records and messages do not meet at the same bytes.
    await roundTrip(node, randomBytes(24 * MiB + 1))
    expect(node.output()).not.toMatch(/warning/i)
  })

  test('a server that only offers TLS is spoken to over TLS', async () => {
    const nats = await startNats({ extraConfig: `${tls()}\nallow_non_tls: true\nhttp: "127.0.0.1:-1"` })
    await roundTrip(await serve(nats.url, onlyCa), content())
    const { connections } = (await (await fetch(`${await monitorUrl(nats)}/connz`)).json()) as {
      connections: { name: string; tls_version?: string }[]
    }
    expect(connections.map(({ name }) => name)).toEqual(expect.arrayContaining(['stowage-control', 'stowage-data']))
    for (const connection of connections) expect(connection.tls_version).toBeDefined()
  })

  test('a client certificate, where the server asks for one', async () => {
    const nats = await startNats({ extraConfig: tls(' verify: true') })
    const env = { ...onlyCa, STOWAGE_NATS_TLS_CERT: files.clientCert, STOWAGE_NATS_TLS_KEY: files.clientKey }
    await roundTrip(await serve(nats.url, env), content())
  })

  test('a CA that we do not know ends the start', async () => {
    const nats = await startNats({ extraConfig: tls() })
    await expect(serve(nats.url)).rejects.toThrow(/cannot connect to NATS.*certificate/)
  })

  test('TLS that was asked for is never left out', async () => {
    const nats = await startNats()
    await expect(serve(`tls://127.0.0.1:${nats.port}`)).rejects.toThrow(/does not support 'tls'/)
    await expect(serve(nats.url, onlyCa)).rejects.toThrow(/does not support 'tls'/)
  })

  test('after a restart of the server both connections are back, over TLS', async () => {
    const dataDir = await temporaryFolder(onTestFinished)
    const first = await startNats({ extraConfig: tls(), dataDir })
    const node = await serve(first.url, onlyCa)
    const before = content()
    const cid = await roundTrip(node, before)
    await first.kill('SIGKILL')
    await vi.waitFor(async () => expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(503), waiting)
    await startNats({ extraConfig: tls(), dataDir, port: first.port })
    await vi.waitFor(async () => expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200), waiting)
    await roundTrip(node, content())
    expect(Buffer.compare(await download(node, cid), before)).toBe(0)
  })
})

test('a server that refuses us for a while is tried until it takes us again, by both connections', async () => {
  const dataDir = await temporaryFolder(onTestFinished)
  const auth = (password: string) => `authorization { user: me, password: ${password} }`
  const first = await startNats({ dataDir, extraConfig: auth('right') })
  const node = await serve(first.url.replace('//', '//me:right@'))
  await first.kill('SIGKILL')
  const log = join(dataDir, 'refusing.log')
  const other = await startNats({ dataDir, port: first.port, extraConfig: `${auth('other')}\nlog_file: "${log}"` })
  await vi.waitFor(async () => {
    const refusals = (await readFile(log, 'utf8')).split('authentication error').length - 1
    // Two in a row are where nats.js would give up, and each connection makes some.
    expect(refusals).toBeGreaterThan(12)
  }, waiting)
  await other.kill('SIGKILL')
  await startNats({ dataDir, port: first.port, extraConfig: auth('right') })
  await vi.waitFor(async () => expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200), waiting)
  await roundTrip(node, content())
})

test('the first server of the URL may be dead', async () => {
  const nats = await startNats()
  await roundTrip(await serve(`nats://127.0.0.1:${await deadPort()},${nats.url}`), content())
})

async function monitorUrl(nats: TestNats): Promise<string> {
  const name = (await readdir(nats.dataDir)).find((file) => file.endsWith(`_${nats.pid}.ports`)) ?? ''
  const ports = JSON.parse(await readFile(join(nats.dataDir, name), 'utf8')) as { monitoring?: string[] }
  return ports.monitoring?.[0] ?? ''
}

test.each([
  [true, 'fsync'],
  [false, 'os-cache'],
] as const)(
  'with a monitoring URL the status says what an ack is worth (sync_interval always: %s)',
  async (syncAlways, durability) => {
    const nats = await startNats({ syncAlways, extraConfig: 'http: "127.0.0.1:-1"' })
    const node = await serve(nats.url, { STOWAGE_NATS_MONITOR_URL: await monitorUrl(nats) })
    expect((await statusOf(node)).nats.durability).toBe(durability)
    expect(node.output().includes('durability: os-cache')).toBe(!syncAlways)
  },
)

test('what others keep on the server, and its configuration file, stay as they are', async () => {
  const nats = await startNats()
  const connection = await connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name: 'theirs', subjects: ['theirs.>'] })
  await manager.streams.add({
    name: 'KV_theirs',
    subjects: ['$KV.theirs.>'],
    max_msgs_per_subject: 1,
    allow_direct: true,
  })
  const look = async () => ({
    file: await readFile(join(nats.dataDir, 'test-nats.conf'), 'utf8'),
    theirs: (await manager.streams.info('theirs')).config,
    kv: (await manager.streams.info('KV_theirs')).config,
  })
  const before = await look()
  const node = await serve(nats.url)
  await roundTrip(node, content())
  expect(await node.end('SIGTERM')).toBe(0)
  expect(await look()).toEqual(before)
  const names: string[] = []
  for await (const { config } of manager.streams.list()) names.push(config.name)
  const added = names.filter((name) => !name.endsWith('theirs'))
  expect(added).toEqual(expect.arrayContaining(['KV_stowage_tokens', 'OBJ_stowage-main-local-a-1']))
  // Whatever we add carries our domain in its name.
  for (const name of added) expect(name).toMatch(/^((KV|OBJ)_)?stowage[-_]/)
})

test('a server with a max_payload of 1 MB takes blocks of 1 MiB too', async () => {
  const nats = await startNats({ maxPayload: '1MB' })
  await roundTrip(await serve(nats.url), content())
})

test('a stop while the server is away ends all the same', async () => {
  const nats = await startNats()
  const node = await serve(nats.url)
  await nats.kill('SIGKILL')
  await vi.waitFor(async () => expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(503), waiting)
  expect(await node.end('SIGTERM')).toBe(0)
})

test('a subject that is forbidden to us fails what needs it, and nothing else', async () => {
  const nats = await startNats({
    extraConfig:
      'authorization { users: [ { user: me, password: me, permissions: { publish: { deny: ["$O.*.C.>"] } } } ] }',
  })
  const node = await serve(nats.url.replace('//', '//me:me@'), { STOWAGE_STORE_WAIT_SECONDS: '0' })
  const denied = await upload(node, content())
  expect([denied.status, denied.body]).toMatchObject([503, { code: 'store_unavailable' }])
  expect(denied.body.hint).toContain('$O.>')
  expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200)
  expect(node.output()).toMatch(/forbids a subject/)
  expect(node.output()).not.toMatch(/connection to NATS lost/)
})
