import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { readConfig } from '../../src/config.ts'
import { type Draft, encodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { KvBucket, type KvRecord } from '../../src/nats/kv-bucket.ts'
import { eventStream } from '../../src/nats/layout.ts'
import { RequestMux, type Requests, TransientError } from '../../src/nats/requests.ts'
import { openTokenHashes } from '../../src/nats/token-hashes.ts'
import { type Cluster, type ClusterServer, startCluster } from '../support/cluster.ts'
import { contextOf } from '../support/event-log.ts'
import { silent } from '../support/stores.ts'

const rawCodec = 0x55
const { signal } = new AbortController()
const config = readConfig({}, { SITE: 'main', STORE: 'a', SHARDS: '1', REPLICAS: '3', STORE_WAIT_SECONDS: '20' })
const stream = 'OBJ_stowage-main-main-a-0'

const domain = 'lagging'
const { layout } = readConfig({}, { DOMAIN: domain, REPLICAS: '3' })
const keys = { name: 'keys', options: { replicas: 3, waitMs: 20_000, description: 'test' } }

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ linked: true })
  // Now, since a server that was cut off counts as offline for a while, and no stream is placed there.
  const nats = await connectNats(cluster.url, config.nats, silent)
  await openEventStream(nats, layout)
  await openTokenHashes(nats, domain, 3)
  await KvBucket.open(nats, keys.name, keys.options)
  await nats.close()
})
afterAll(() => cluster.stop())

async function natsAt(url: string): Promise<Nats> {
  const nats = await connectNats(url, config.nats, silent)
  onTestFinished(() => nats.close())
  return nats
}

const blockstore = (nats: Nats) => openNatsBlockstore(nats, config.layout, config.store)

async function followerOf(name: string): Promise<readonly [leader: ClusterServer, follower: ClusterServer]> {
  await cluster.settled()
  const leader = await cluster.leaderOf(name)
  const follower = cluster.servers.find((server) => server !== leader)
  if (leader === undefined || follower === undefined) throw new Error(`${name} has no leader`)
  return [leader, follower]
}

type Asked = Pick<Nats, 'requests'>

/** Any replica may answer a Direct Get; here it is always that one. */
class Divided extends RequestMux {
  readonly #rest: Asked
  readonly #directGets: Asked

  constructor(rest: Asked, directGets: Asked) {
    super({ inbox: 'none', publish: () => undefined })
    this.#rest = rest
    this.#directGets = directGets
  }

  override many(...ask: Parameters<RequestMux['many']>): Promise<void> {
    const { requests } = ask[0].startsWith('$JS.API.DIRECT.GET.') ? this.#directGets : this.#rest
    return requests.many(...ask)
  }
}

/** A store whose blocks are asked for at a follower, and one that goes by the leader alone. */
async function openDivided() {
  await blockstore(await natsAt(cluster.url))
  const [leader, follower] = await followerOf(stream)
  const atLeader = await natsAt(leader.url)
  const atFollower = await natsAt(follower.url)
  const divided: Nats = { ...atLeader, requests: new Divided(atLeader, atFollower) }
  return { follower, present: await blockstore(atLeader), lagging: await blockstore(divided) }
}

test.each([
  ['of one message', 700],
  ['of a large message', MiB],
  ['of several chunks', 1.9 * MiB],
])('a block %s that a follower does not have yet is neither lost nor not found', async (_label, bytes) => {
  const { follower, present, lagging } = await openDivided()
  onTestFinished(() => cluster.settled())
  onTestFinished(() => follower.rejoin())
  follower.isolate()
  const block = hashBlock(randomBytes(bytes), rawCodec)
  await present.put(block, { signal })
  expect(Buffer.compare(await lagging.get(block.cid, { signal }), block.bytes)).toBe(0)
  const [batch] = await lagging.getBatch([{ cid: block.cid }], { signal })
  expect(Buffer.compare(batch ?? Buffer.alloc(0), block.bytes)).toBe(0)
  expect(await lagging.has(block.cid, { signal })).toBe(true)
  const absent = hashBlock(randomBytes(KiB), rawCodec)
  await expect(lagging.get(absent.cid, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

test('an event whose acknowledgement was lost is known for ours, though a follower does not have it yet', async () => {
  const log = eventStream(domain)
  const [leader, follower] = await followerOf(log)
  const atLeader = await natsAt(leader.url)
  const requests = new Divided(atLeader.log, (await natsAt(follower.url)).log)
  onTestFinished(() => cluster.settled())
  onTestFinished(() => follower.rejoin())
  follower.isolate()
  let tries = 0
  const forget = (subject: string) => {
    if (subject === event.natsSubject && tries++ === 0) throw new TransientError('the acknowledgement was lost')
  }
  const forgetful: Requests = {
    one: async (...ask) => {
      const reply = await requests.one(...ask)
      forget(ask[0])
      return reply
    },
    many: async (...ask) => {
      await requests.many(...ask)
      forget(ask[0])
    },
  }
  const context = contextOf()
  const draft: Draft = { entity: 'name', verb: 'set', key: 'k', subject: 'k', data: {} }
  const event = encodeEvent(draft, context, { domain, site: 'local', space: 'main', node: 'test' }, context.id)
  const events = new EventLog({ ...atLeader, log: { ...atLeader.log, requests: forgetful } }, log, 20_000)
  const expectation = { filter: event.natsSubject, lastSequence: 0 }
  expect(await events.append([{ event, expect: expectation }])).toEqual([1])
  expect(tries).toBeGreaterThan(1)
})

test('a token that was changed is valid at once, whatever a follower has', async () => {
  const [leader, follower] = await followerOf(`KV_${domain}_tokens`)
  const writing = await openTokenHashes(await natsAt(leader.url), domain, 3)
  await writing.set('admin', 'before')
  await cluster.settled()
  const there = await natsAt(follower.url)
  const here = await natsAt(leader.url)
  // Whatever nats.js would ask with a Direct Get, the follower answers.
  const reading = await openTokenHashes({ ...here, js: there.js }, domain, 3)
  onTestFinished(() => cluster.settled())
  onTestFinished(() => follower.rejoin())
  follower.isolate()
  await writing.set('admin', 'after')
  expect(await reading.get('admin')).toBe('after')
})

test('of many keys those that a follower lacks are asked for at the leader, and for decisions all of them', async () => {
  const { name: bucket, options } = keys
  const [leader, follower] = await followerOf(`KV_${bucket}`)
  const atLeader = await natsAt(leader.url)
  const writing = await KvBucket.open(atLeader, bucket, options)
  const first = await writing.write('old', Buffer.from('1'), 0)
  await cluster.settled()
  const divided = new Divided(atLeader.log, (await natsAt(follower.url)).log)
  const reading = await KvBucket.open({ ...atLeader, log: { ...atLeader.log, requests: divided } }, bucket, options)
  onTestFinished(() => cluster.settled())
  onTestFinished(() => follower.rejoin())
  follower.isolate()
  await writing.write('old', Buffer.from('2'), first ?? 0)
  await writing.write('new', Buffer.from('1'), 0)
  const shown = (records: Map<string, KvRecord>) => [...records].map(([key, { value }]) => `${key}=${value}`).sort()
  expect(shown(await reading.getMany(['old', 'new', 'never']))).toEqual(['new=1', 'old=1'])
  expect(shown(await reading.getEach(['old', 'new', 'never']))).toEqual(['new=1', 'old=2'])
})

test('a block that was deleted and put again is stored, whatever a follower says that it has', async () => {
  const { follower, present, lagging } = await openDivided()
  const blocks = Array.from({ length: 3 }, () => hashBlock(randomBytes(700), rawCodec))
  const [deleted, ...kept] = blocks
  if (deleted === undefined) throw new Error('no block')
  for (const block of blocks) await present.put(block, { signal })
  await cluster.settled()
  onTestFinished(() => cluster.settled())
  onTestFinished(() => follower.rejoin())
  follower.isolate()
  await present.delete(deleted.cid, { signal })
  const writer = lagging.openWriter({ signal })
  for (const block of [...kept, deleted]) await writer.put(block)
  expect(await writer.flush()).toEqual({ blocks: 3, newBlocks: 1 })
  expect(Buffer.compare(await present.get(deleted.cid, { signal }), deleted.bytes)).toBe(0)
})
