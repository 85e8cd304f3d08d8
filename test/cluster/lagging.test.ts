import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { readConfig } from '../../src/config.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { RequestMux } from '../../src/nats/requests.ts'
import { type Cluster, type ClusterServer, startCluster } from '../support/cluster.ts'
import { silent } from '../support/stores.ts'

const rawCodec = 0x55
const { signal } = new AbortController()
const config = readConfig({}, { SITE: 'main', STORE: 'a', SHARDS: '1', REPLICAS: '3', STORE_WAIT_SECONDS: '20' })
const stream = 'OBJ_stowage-main-main-a-0'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ linked: true })
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

/** Any replica may answer a Direct Get; here it is always that one. */
class Divided extends RequestMux {
  readonly #rest: Nats
  readonly #directGets: Nats

  constructor(rest: Nats, directGets: Nats) {
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
