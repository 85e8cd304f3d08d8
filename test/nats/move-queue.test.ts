import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { openMoveQueue } from '../../src/nats/move-queue.ts'
import { type Cluster, startCluster } from '../support/cluster.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

let server: TestNats
let cluster: Cluster
beforeAll(async () => {
  server = await startTestNats()
  cluster = await startCluster()
}, 60_000)
afterAll(async () => {
  await server.stop()
  await cluster.stop()
})

const data = Buffer.from('work')
const urlOf = (kind: string) => (kind === 'one server' ? server.url : cluster.url)

async function openQueue(url: string, { onTestFinished }: TestContext, more: Record<string, string> = {}) {
  const domain = more.DOMAIN ?? `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(url, onTestFinished, { ...more, DOMAIN: domain, SHARDS: '1' })
  const queue = await openMoveQueue(nats, config.layout)
  onTestFinished(() => queue.stop())
  return { domain, nats, queue }
}

for (const [kind, replicas] of [
  ['one server', '1'],
  ['a cluster', '3'],
] as const) {
  test(`${kind}: the same work is queued once, until it is done`, async (context) => {
    const { queue } = await openQueue(urlOf(kind), context, { REPLICAS: replicas })
    expect(await queue.add('b.root', data)).toBe(true)
    expect(await queue.add('b.root', data)).toBe(false)
    expect(await queue.add('c.root', data)).toBe(true)
    const move = await queue.next()
    expect(move).toMatchObject({ deliveries: 1 })
    // Under way is not done.
    expect(await queue.add('b.root', data)).toBe(false)
    move?.ack()
    await vi.waitFor(async () => expect(await queue.add('b.root', data)).toBe(true), { timeout: 10_000, interval: 20 })
  })
}

test('work that is given back comes again, also to another node, and counts its deliveries', async (context) => {
  const one = await openQueue(server.url, context)
  const other = await openQueue(server.url, context, { DOMAIN: one.domain })
  await one.queue.add('b.root', data)
  const move = await one.queue.next()
  move?.retryAfter(50)
  expect(await other.queue.next()).toMatchObject({ deliveries: 2, data })
})

test('a full stream is told, and is not taken for work that is queued', async (context) => {
  const { domain, nats, queue } = await openQueue(server.url, context)
  const { config } = await nats.jsm.streams.info(`${domain}_moves`)
  await nats.jsm.streams.update(`${domain}_moves`, { ...config, max_bytes: 2_000 })
  const fill = async () => {
    for (let i = 0; i < 100; i++) await queue.add(`b.root${i}`, data)
  }
  await expect(fill()).rejects.toMatchObject({ code: 'STORE_FULL' })
})

test('a consumer that another version made is brought up to date, and one that was deleted is made again', async (context) => {
  const { domain, nats, queue } = await openQueue(server.url, context)
  const stream = `${domain}_moves`
  const [info] = await nats.jsm.consumers.list(stream).next()
  await nats.jsm.consumers.update(stream, info?.name ?? '', { max_ack_pending: 7 })
  await openQueue(server.url, context, { DOMAIN: domain })
  expect((await nats.jsm.consumers.info(stream, info?.name ?? '')).config.max_ack_pending).toBe(100_000)
  await nats.jsm.consumers.delete(stream, info?.name ?? '')
  await queue.add('b.root', data)
  await vi.waitFor(async () => expect(await queue.next()).toMatchObject({ data }), { timeout: 20_000, interval: 20 })
}, 30_000)
