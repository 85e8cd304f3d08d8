import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startCluster } from '../support/cluster.ts'
import { startSites } from '../support/sites.ts'

const waiting = { timeout: 40_000, interval: 20 }

async function client(url: string) {
  const connection = await connect({ servers: url.split(','), maxReconnectAttempts: -1, reconnectTimeWait: 100 })
  onTestFinished(() => connection.close())
  return connection
}

test('a cluster keeps three replicas, and settles again when a server that was cut off is back', async () => {
  const cluster = await startCluster({ linked: true })
  onTestFinished(() => cluster.stop())
  const manager = await jetstreamManager(await client(cluster.url))
  await manager.streams.add({ name: 'kept', subjects: ['kept'], num_replicas: 3 })
  await cluster.settled()
  const leader = await cluster.leaderOf('kept')
  const follower = cluster.servers.find((server) => server !== leader)
  const publish = jetstream(await client(leader?.url ?? ''))
  await publish.publish('kept', 'one')
  follower?.isolate()
  expect(cluster.servers.filter(({ running }) => running)).toHaveLength(2)
  await publish.publish('kept', 'two')
  follower?.rejoin()
  await cluster.settled()
  const { state, cluster: replicas } = await manager.streams.info('kept')
  expect(state.messages).toBe(2)
  await vi.waitFor(async () => {
    const { cluster: now } = await manager.streams.info('kept')
    expect(now?.replicas?.map(({ current }) => current)).toEqual([true, true])
  }, waiting)
  expect(replicas?.leader).toBe(leader?.name)
})

test('sites hear each other over links that count, and are alone when the link is cut', async () => {
  const sites = await startSites()
  onTestFinished(() => sites.stop())
  const paris = sites.leaf('paris')
  const hub = await client(sites.hub.url)
  const atHub = await jetstreamManager(hub, { domain: 'hub' })
  const atParis = await jetstreamManager(await client(paris.url), { domain: 'paris' })
  await atHub.streams.add({ name: 'log', subjects: ['log.hub.>'] })
  await atParis.streams.add({
    name: 'log',
    subjects: ['log.paris.>'],
    sources: [{ name: 'log', filter_subject: 'log.hub.>', external: { api: '$JS.hub.API', deliver: '' } }],
  })
  const publish = jetstream(hub, { domain: 'hub' })
  const messages = async () => (await atParis.streams.info('log')).state.messages
  await publish.publish('log.hub.x', 'first')
  // A source that cannot be set up is tried again after half a minute only: first let it be.
  await vi.waitFor(async () => expect(await messages()).toBe(1), waiting)
  await paris.cut()
  await vi.waitFor(() => expect(paris.link.refused).toBeGreaterThan(1), waiting)
  const before = paris.link.bytes.received
  for (let i = 0; i < 10; i++) await publish.publish('log.hub.x', Buffer.alloc(1024))
  expect(await messages()).toBe(1)
  expect(paris.link.bytes.received).toBe(before)
  await paris.mend()
  await vi.waitFor(async () => expect(await messages()).toBe(11), waiting)
  expect(paris.link.bytes.received - before).toBeGreaterThan(10 * 1024)
})
