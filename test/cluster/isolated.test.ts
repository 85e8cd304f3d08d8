import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { readConfig } from '../../src/config.ts'
import { encodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { KiB } from '../../src/lib/units.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { publishBatch } from '../../src/nats/batch.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { wireAnswers } from '../../src/nats/failover.ts'
import { chunkSubject, eventStream } from '../../src/nats/layout.ts'
import { publish } from '../../src/nats/publish.ts'
import { type Cluster, type ClusterServer, startCluster } from '../support/cluster.ts'
import { contextOf } from '../support/event-log.ts'
import { silent } from '../support/stores.ts'

const rawCodec = 0x55
const { signal } = new AbortController()
const config = readConfig({}, { SITE: 'main', STORE: 'a', SHARDS: '1', REPLICAS: '3', STORE_WAIT_SECONDS: '50' })
const bucket = 'stowage-main-main-a-0'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ linked: true })
  // Now, since a server that was cut off counts as offline for a while, and no stream is placed there.
  const nats = await connectNats(cluster.url, config.nats, silent)
  await openNatsBlockstore(nats, config.layout, config.store)
  await openEventStream(nats, config.layout)
  await nats.close()
})
afterAll(() => cluster.stop())

/** Our connections begin with the first of the list. */
async function natsAt(server: ClusterServer | undefined): Promise<Nats> {
  if (server === undefined) throw new Error('no such server')
  const urls = [server, ...cluster.servers.filter((other) => other !== server)].map(({ url }) => url)
  const nats = await connectNats(urls.join(','), config.nats, silent)
  onTestFinished(() => nats.close())
  return nats
}

/** Until the test is over. */
function cutOff(server: ClusterServer | undefined): void {
  onTestFinished(() => cluster.settled())
  onTestFinished(() => server?.rejoin())
  server?.isolate()
}

test('connections to a server that is cut off from its cluster move to one that is not, and work goes on', async () => {
  await cluster.settled()
  const [first] = cluster.servers
  const nats = await natsAt(first)
  const blocks = await openNatsBlockstore(nats, config.layout, config.store)
  cutOff(first)
  const block = hashBlock(randomBytes(700), rawCodec)
  await blocks.put(block, { signal })
  expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
  expect(await wireAnswers(nats.log.requests)).toBe(true)
  await vi.waitFor(() => expect(`nats://${nats.control.getServer()}`).not.toBe(first?.url), {
    timeout: 50_000,
    interval: 250,
  })
  await vi.waitFor(() => nats.jsm.getAccountInfo(), { timeout: 20_000, interval: 250 })
}, 150_000)

// A leader that is cut off refuses what it has under way already, and can never have it stored. The first try is the test's own
// and is never repeated: what the put goes by is the refusal alone.
test.each([
  ['small', 700],
  ['large', 200 * KiB],
])(
  'a %s block that a leader who is cut off has only under way is not taken for stored',
  async (_label, bytes) => {
    await cluster.settled()
    const leader = await cluster.leaderOf(`OBJ_${bucket}`)
    const nats = await natsAt(leader)
    const blocks = await openNatsBlockstore(nats, config.layout, config.store)
    const block = hashBlock(randomBytes(bytes), rawCodec)
    cutOff(leader)
    const subject = chunkSubject(bucket, blockKey(block.cid))
    const tried = publish(nats.requests, { subject, payload: block.bytes, expectedLastSequence: 0 })
    await Promise.all([blocks.put(block, { signal }), expect(tried).rejects.toThrow()])
    expect(Buffer.compare(await blocks.get(block.cid, { signal }), block.bytes)).toBe(0)
  },
  150_000,
)

test('blocks of one batch, one of which is only under way at a leader who is cut off, are all stored', async () => {
  await cluster.settled()
  const leader = await cluster.leaderOf(`OBJ_${bucket}`)
  const nats = await natsAt(leader)
  const blocks = await openNatsBlockstore(nats, config.layout, config.store)
  const some = Array.from({ length: 20 }, () => hashBlock(randomBytes(700), rawCodec))
  cutOff(leader)
  const publications = some.slice(0, 2).map(({ cid, bytes }) => ({
    subject: chunkSubject(bucket, blockKey(cid)),
    payload: bytes,
    expectedLastSequence: 0,
  }))
  const tried = publishBatch(nats.data, nats.requests, publications)
  await Promise.all([...some.map((block) => blocks.put(block, { signal })), expect(tried).rejects.toThrow()])
  for (const { cid, bytes } of some) expect(Buffer.compare(await blocks.get(cid, { signal }), bytes)).toBe(0)
}, 150_000)

test('an event that expects what is only under way at a leader who is cut off is no conflict', async () => {
  await cluster.settled()
  const leader = await cluster.leaderOf(eventStream(config.layout.domain))
  const nats = await natsAt(leader)
  const { domain, site, space } = config.layout
  const log = new EventLog(nats, eventStream(domain), 50_000)
  const key = `k${randomBytes(4).toString('hex')}`
  const append = (id: string) => {
    const draft = { entity: 'name', verb: 'set', key, subject: key, data: { name: key } } as const
    const event = encodeEvent(draft, contextOf({ id }), { domain, site, space, node: 'test' }, id)
    return { event, expect: { filter: event.natsSubject, lastSequence: 0 } }
  }
  cutOff(leader)
  // A log of its own, which gives up before the leader is deposed.
  const tried = new EventLog(nats, eventStream(domain), 100).append([append(uuidv7())])
  const [[sequence = 0]] = await Promise.all([
    log.append([append(uuidv7())]),
    expect(tried).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' }),
  ])
  expect(sequence).toBeGreaterThan(0)
  await expect(log.append([append(uuidv7())])).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
}, 150_000)
