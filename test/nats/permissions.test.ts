import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect, headers, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { createNatsClient } from '../../src/comms/client.ts'
import { run } from '../support/cli.ts'
import { startFullNode } from '../support/full-node.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { waiting } from '../support/serving.ts'

const passwords = { stowage: 'pw-node', reader: 'pw-reader', writer: 'pw-writer', follower: 'pw-follower' } as const
type User = keyof typeof passwords

let server: TestNats
beforeAll(async () => {
  const { stdout } = await run(tmpdir(), ['nats-permissions'])
  for (const [user, password] of Object.entries(passwords)) {
    vi.stubEnv(`NATS_${user.toUpperCase()}_PASSWORD`, password)
  }
  server = await startTestNats({ extraConfig: stdout })
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await server.stop()
})

async function as(user: User, violations: string[] = []): Promise<NatsConnection> {
  const connection = await connect({
    servers: server.url,
    user,
    pass: passwords[user],
    inboxPrefix: user === 'stowage' ? '_INBOX' : `_INBOX.${user}`,
  })
  onTestFinished(() => connection.close())
  void watch()
  return connection
  async function watch(): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'error') violations.push(String(status.error))
    }
  }
}

const startNode = () =>
  startFullNode(onTestFinished, {
    nats: { url: server.url },
    env: { STOWAGE_NATS_USER: 'stowage', STOWAGE_NATS_PASSWORD: passwords.stowage, STOWAGE_NATS_COMMANDS: 'open' },
  })

function headersOf(values: Record<string, string>) {
  const all = headers()
  for (const [name, value] of Object.entries(values)) all.set(name, value)
  return all
}

test('a node and its clients do all their work under the generated permissions', async () => {
  const node = await startNode()
  const refused: string[] = []
  const writer = await as('writer', refused)
  const heard: string[] = []
  writer.subscribe('stowage.live.>', { callback: (_error, message) => void heard.push(message.subject) })
  await writer.flush()
  const put = await writer.request('stowage.cmd.main.put', 'hello', {
    timeout: 5_000,
    headers: headersOf({ Name: 'a/b' }),
  })
  const { cid } = put.json<{ cid: string }>()
  const queued = await writer.request('stowage.queue.main.name', cid, {
    timeout: 5_000,
    headers: headersOf({ Name: 'a/c' }),
  })
  expect(queued.json()).toMatchObject({ stream: 'stowage_queue' })
  const reader = await as('reader', refused)
  await vi.waitFor(async () => {
    expect((await reader.request('stowage.qry.main.has', 'a/c')).json()).toMatchObject({ has: true })
  }, waiting)
  expect((await reader.request('stowage.qry.main.get', 'a/b')).string()).toBe('hello')
  expect((await reader.request(`stowage.qry.main.get.${cid}`, '')).string()).toBe('hello')
  expect((await reader.request('$SRV.PING.stowage', '')).json()).toMatchObject({ name: 'stowage' })
  await vi.waitFor(() => expect(heard).toHaveLength(3), waiting)
  const follower = await as('follower', refused)
  const manager = await jetstreamManager(follower)
  const consumer = await manager
    .jetstream()
    .consumers.get('stowage_events', { filter_subjects: 'stowage.evt.*.main.name.>' })
  const names: string[] = []
  for await (const message of await consumer.fetch({ max_messages: 2, expires: 5_000 })) {
    names.push(message.json<{ subject: string }>().subject)
  }
  expect(names).toEqual(['a/b', 'a/c'])
  expect(refused).toEqual([])
  expect(node.errors).toEqual([])
})

const block = 'OBJ_stowage-main-local-a-0'
const changing = [
  ...['DELETE', 'PURGE', 'RESTORE', 'SNAPSHOT', 'UPDATE', 'MSG.DELETE'].flatMap((verb) =>
    ['stowage_events', 'KV_stowage_names', block].map((stream) => `$JS.API.STREAM.${verb}.${stream}`),
  ),
  '$JS.API.STREAM.CREATE.mine',
  '$KV.stowage_names.main.a',
  '$KV.stowage_tokens.admin',
  '$O.stowage-main-local-a-0.C.x',
  '$O.stowage-main-local-a-0.M.x',
  'stowage.evt.local.main.name.set.a',
  'stowage.live.local.main.name.set.a',
  'stowage.reads.local.main.object.read.x',
  'stowage.dead.main.put',
  'stowage.qry.main.missing',
  'stowage.qry.main.missing.local',
  '_INBOX.other.x',
  '$SYS.REQ.SERVER.PING',
] as const

test.each<readonly [User, readonly string[]]>([
  ['reader', [...changing, 'stowage.cmd.main.put', 'stowage.queue.main.put', '$JS.API.CONSUMER.CREATE.stowage_events']],
  ['writer', [...changing, 'stowage.cmd.other.put', '$JS.API.CONSUMER.CREATE.stowage_events']],
  ['follower', [...changing, 'stowage.cmd.main.put', 'stowage.queue.main.put', `$JS.API.CONSUMER.CREATE.${block}`]],
])('%s may publish nothing that changes streams, or goes past the log', async (user, subjects) => {
  await startNode()
  const refused: string[] = []
  const connection = await as(user, refused)
  for (const subject of subjects) connection.publish(subject, '{}')
  await vi.waitFor(() => expect(refused).toHaveLength(subjects.length), waiting)
  for (const [i, subject] of subjects.entries()) {
    expect(refused[i]).toContain(`Permissions Violation for Publish to "${subject}"`)
  }
})

test.each<readonly [User, readonly string[]]>([
  ['reader', ['stowage.live.>', 'stowage.qry.main.get', 'stowage.>', '_INBOX.>', '_INBOX.*.x', '$KV.>', '>']],
  ['writer', ['stowage.cmd.main.put', 'stowage.evt.>', '_INBOX.>', '_INBOX.reader.>', '$O.>', '$SRV.>', '>']],
  ['follower', ['stowage.cmd.>', '_INBOX.>', '_INBOX.writer.>', '>']],
])('%s may subscribe to nothing that is for others', async (user, subjects) => {
  const refused: string[] = []
  const connection = await as(user, refused)
  for (const subject of subjects) connection.subscribe(subject, { callback: () => undefined })
  await vi.waitFor(() => expect(refused).toHaveLength(subjects.length), waiting)
  for (const [i, subject] of subjects.entries()) {
    expect(refused[i]).toContain(`Permissions Violation for Subscription to "${subject}"`)
  }
})

test('a node may not take the event log away either', async () => {
  await startNode()
  const refused: string[] = []
  const connection = await as('stowage', refused)
  connection.publish('$JS.API.STREAM.DELETE.stowage_events', '')
  await vi.waitFor(() => expect(refused).toHaveLength(1), waiting)
})

test('nobody comes in without a password', async () => {
  await expect(connect({ servers: server.url, user: 'writer', pass: 'wrong' })).rejects.toThrow(/authorization/i)
  await expect(connect({ servers: server.url })).rejects.toThrow(/authorization/i)
})

test('an answer of JetStream does not carry a client past the log, whatever reply subject it names', async () => {
  await startNode()
  const manager = await jetstreamManager(await as('stowage'))
  const writer = await as('writer')
  const lasts = () =>
    Promise.all(
      ['KV_stowage_names', 'stowage_events', block].map(
        async (name) => (await manager.streams.info(name)).state.last_seq,
      ),
    )
  const before = await lasts()
  for (const reply of [
    '$KV.stowage_names.main.forged',
    'stowage.evt.local.main.name.set.forged',
    '$O.stowage-main-local-a-0.C.x',
  ]) {
    for (const subject of ['stowage.qry.main.status', 'stowage.qry.main.get', '$SRV.PING', 'stowage.xfer.x']) {
      writer.publish(subject, 'x', { reply })
    }
    // Acknowledged by JetStream, and dead letters since they are no commands.
    writer.publish('stowage.queue.main.nothing', 'x', { reply })
    writer.publish('stowage.queue.main.name', 'x', { reply })
  }
  await vi.waitFor(async () => {
    expect((await manager.streams.info('stowage_dead')).state.messages).toBe(6)
  }, waiting)
  // The dead letters are events; nothing else is there.
  const [names, events, blocks] = before
  await vi.waitFor(async () => expect(await lasts()).toEqual([names, (events ?? 0) + 6, blocks]), waiting)
  await expect(
    manager.streams.getMessage('stowage_events', { last_by_subj: 'stowage.evt.*.main.name.set.forged' }),
  ).resolves.toBeNull()
})

test('large content goes down and up in parts between the accounts', async () => {
  await startNode()
  const writer = await as('writer')
  const client = createNatsClient(writer, {
    domain: 'stowage',
    headers,
    timeoutMs: 10_000,
    inboxPrefix: '_INBOX.writer',
  })
  const content = randomBytes(3 * 1024 * 1024 + 17)
  await client.put(slices(content), { Name: 'large' })
  const parts: Uint8Array[] = []
  for await (const part of (await client.get('large')).body) parts.push(part)
  expect(parts.length).toBeGreaterThan(1)
  expect(Buffer.compare(Buffer.concat(parts), content)).toBe(0)
})

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 100_000) yield bytes.subarray(at, at + 100_000)
}

test('domain and space are those of the settings', async () => {
  const { stdout } = await run(tmpdir(), ['nats-permissions', '--space', 'photos'], { env: { STOWAGE_DOMAIN: 'home' } })
  expect(stdout).toContain('"home.cmd.photos.>"')
  expect(stdout).not.toContain('"stowage.')
})
