import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers, type NatsConnection } from '@nats-io/transport-node'
import { expect, test } from 'vitest'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { openNodeCli, startFullNode } from '../support/full-node.ts'

const open = { STOWAGE_NATS_COMMANDS: 'open' }

async function allEvents(connection: NatsConnection): Promise<CloudEvent[]> {
  const manager = await jetstreamManager(connection)
  const { state } = await manager.streams.info('stowage_events')
  const events: CloudEvent[] = []
  for (let seq = 1; seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage('stowage_events', { seq })
    const event = decodeEvent(message?.data ?? new Uint8Array())
    if (event === undefined) throw new Error(`event ${seq} cannot be read`)
    events.push(event)
  }
  return events
}

/** What a node tells of itself at its first start, beside what anybody did; all else that it tells is an act's. */
const nodesOwn = new Set(['site.set', 'store.set', 'copy.requested', 'copy.made', 'copy.verified', 'copy.satisfied'])
const isNodesOwn = ({ type, authtype }: CloudEvent): boolean =>
  authtype === 'system' && nodesOwn.has(type.split('.').slice(1, 3).join('.'))

const storyOf = (events: readonly CloudEvent[]) =>
  events.map(({ type, subject }) => `${type.split('.').slice(1, 3).join('.')} ${subject}`)

test('every act over the command line, HTTP and NATS is an event, in the order of the acts, failures too', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished, open)
  const connection = await connect({ servers: cli.nats.url })
  onTestFinished(() => connection.close())
  const command = async (verb: string, body: string, more: Record<string, string> = {}) => {
    const sent = headers()
    for (const [name, value] of Object.entries(more)) sent.set(name, value)
    const reply = await connection.request(`stowage.cmd.main.${verb}`, body, { headers: sent, timeout: 10_000 })
    return reply.headers?.get('Nats-Service-Error-Code') ?? ''
  }
  const http = async (method: string, path: string, body?: string, more: Record<string, string> = {}) => {
    const init = { method, headers: { authorization: `Bearer ${cli.token}`, ...more } }
    const response = await fetch(`${cli.node.apiUrl}/api/v1${path}`, body === undefined ? init : { ...init, body })
    await response.arrayBuffer()
    return response.status
  }

  const file = join(cli.folder, 'a.txt')
  await writeFile(file, 'from the command line')
  const added = await cli.run(['add', '-q', '--name', 'cli/a', file])
  const cid = added.stdout.trim()
  expect(await http('PUT', '/names/http/b', 'over HTTP')).toBe(201)
  expect(await command('put', 'over NATS', { Name: 'nats/c' })).toBe('')
  expect(await http('PUT', '/names/http/b', 'too late', { 'if-match': '"1"' })).toBe(412)
  expect(await command('name', cid, { Name: 'nats/d', 'If-Match': '99' })).toBe('412')
  expect((await cli.run(['name', 'set', 'cli/a', cid, '--if-absent'])).exitCode).toBe(7)
  expect((await cli.run(['name', 'mv', 'cli/a', 'cli/z'])).exitCode).toBe(0)
  expect(await command('unname', 'nats/c')).toBe('')
  expect(await http('DELETE', `/objects/${cid}`)).toBe(409)
  expect(await http('DELETE', `/objects/${cid}?force=true`)).toBe(200)

  const events = await allEvents(connection)
  const story = storyOf(events.filter((event) => !isNodesOwn(event)))
  const acts = story.map((line) => line.replace(/baf\w+/, 'CID'))
  expect(acts).toEqual([
    'object.added CID',
    'name.set cli/a',
    'object.added CID',
    'name.set http/b',
    'object.added CID',
    'name.set nats/c',
    'object.failed http/b',
    'name.failed nats/d',
    'name.failed cli/a',
    'name.set cli/z',
    'name.removed cli/a',
    'name.removed nats/c',
    'object.failed CID',
    'object.deleted CID',
    'name.removed cli/z',
  ])
})

test('a consumer that is cut off for 1,000 events gets exactly those afterwards, once and in order', async ({
  onTestFinished,
}) => {
  const { nats, node, token } = await startFullNode(onTestFinished, { env: open })
  const put = await fetch(`${node.apiUrl}/api/v1/names/seed`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}` },
    body: 'seed',
  })
  const { cid } = (await put.json()) as { cid: string }
  const first = await connect({ servers: nats.url })
  const manager = await jetstreamManager(first)
  await manager.consumers.add('stowage_events', {
    durable_name: 'follower',
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.New,
    filter_subject: 'stowage.evt.*.main.name.set.>',
  })
  const setNames = async (from: number, count: number) => {
    const changes = Array.from({ length: count }, (_, i) => ({ kind: 'set', name: `n/${from + i}`, cid }))
    const response = await fetch(`${node.apiUrl}/api/v1/names`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'stowage-command-id': randomUUID() },
      body: JSON.stringify({ changes }),
    })
    expect(response.status).toBe(200)
  }
  const take = async (connection: NatsConnection, count: number) => {
    const consumer = await jetstream(connection).consumers.get('stowage_events', 'follower')
    const seen: string[] = []
    while (seen.length < count) {
      const messages = await consumer.fetch({ max_messages: count - seen.length, expires: 5_000 })
      for await (const message of messages) {
        seen.push(decodeEvent(message.data)?.subject ?? '')
        message.ack()
      }
    }
    await connection.flush()
    return seen
  }
  await setNames(0, 10)
  expect(await take(first, 10)).toEqual(Array.from({ length: 10 }, (_, i) => `n/${i}`))
  await first.close()
  for (let from = 10; from < 1010; from += 250) await setNames(from, 250)
  const second = await connect({ servers: nats.url })
  onTestFinished(() => second.close())
  expect(await take(second, 1000)).toEqual(Array.from({ length: 1000 }, (_, i) => `n/${10 + i}`))
  const { num_pending, num_ack_pending } = await (await jetstreamManager(second)).consumers.info(
    'stowage_events',
    'follower',
  )
  expect([num_pending, num_ack_pending]).toEqual([0, 0])
})
