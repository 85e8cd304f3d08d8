import { randomBytes } from 'node:crypto'
import { stat, truncate } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { type StoreHandle, Stores } from '../../src/blocks/stores.ts'
import { thinBlocks } from '../../src/blocks/thin-blocks.ts'
import { readConfig } from '../../src/config.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { chunkSubject, shardOf } from '../../src/nats/layout.ts'
import { publish } from '../../src/nats/publish.ts'
import { type Cluster, type ClusterServer, startCluster } from '../support/cluster.ts'
import { signal } from '../support/dags.ts'
import { deleteFile, flipBits, storeFiles } from '../support/damage.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { setPolicy, waitForEvents } from '../support/placement-node.ts'
import { silent } from '../support/stores.ts'

type Fields = Readonly<Record<string, unknown>>

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster()
}, 60_000)
afterAll(() => cluster.stop())

/** A node over the whole cluster, whose blocks have three replicas. */
async function openNode(site: string): Promise<FullNode> {
  return startFullNode(onTestFinished, {
    nats: cluster,
    env: {
      STOWAGE_DOMAIN: site,
      STOWAGE_SITE: site,
      STOWAGE_REPLICAS: '3',
      // What lies in the cache would be served whatever has become of the store.
      STOWAGE_CACHE_BYTES: '0',
      STOWAGE_STORE_WAIT_SECONDS: '20',
      STOWAGE_SCRUB_BYTES_PER_SECOND: '1GiB',
    },
  })
}

/** Each shard has files of its own that are full, and one that is not. */
const sizes = [16 * MiB, 2 * KiB, 40 * KiB, 300 * KiB, 3 * MiB, 9 * KiB, 2.5 * MiB, 700, 5 * MiB, 100 * KiB, 4 * MiB]

async function putOne({ node, token }: FullNode, body: Buffer): Promise<string> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' }
  const reply = await fetch(`${node.apiUrl}/api/v1/objects`, { method: 'POST', body: Buffer.from(body), headers })
  expect(reply.status).toBe(201)
  return String(((await reply.json()) as Fields).cid)
}

async function putAll(node: FullNode): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>()
  for (const size of sizes) {
    const content = randomBytes(size)
    contents.set(await putOne(node, content), content)
  }
  return contents
}

/** As anybody reads it: the right bytes, whatever has become of one replica. */
async function readAll({ node }: FullNode, contents: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [root, content] of contents) {
    const reply = await fetch(`${node.gatewayUrl}/ipfs/${root}`)
    expect([root, reply.status]).toEqual([root, 200])
    expect(Buffer.from(await reply.arrayBuffer()).equals(content)).toBe(true)
  }
}

async function scrub({ node, token }: FullNode): Promise<Readonly<Record<string, Fields>>> {
  const states = async (method: string): Promise<readonly Fields[]> => {
    const reply = await fetch(`${node.apiUrl}/api/v1/scrub`, { method, headers: { authorization: `Bearer ${token}` } })
    expect(reply.ok).toBe(true)
    return ((await reply.json()) as { stores: Fields[] }).stores
  }
  await vi.waitFor(() => states('POST'), { timeout: 20_000 })
  const done = await vi.waitFor(
    async () => {
      const now = await states('GET')
      expect(now.every(({ wanted, round, last }) => !wanted && !round && last)).toBe(true)
      return now
    },
    { timeout: 90_000, interval: 200 },
  )
  return Object.fromEntries(done.map((one) => [String(one.store), (one.last as Fields).sums as Fields]))
}

/** What the node has repaired and lost since its start. */
async function counts({ node }: FullNode): Promise<Fields> {
  return ((await (await fetch(`${node.apiUrl}/api/v1/scrub`)).json()) as { node: Fields }).node
}

interface Opened {
  readonly server: ClusterServer
  readonly nats: Nats
  readonly handle: StoreHandle
}

async function follower(each: readonly Opened[]): Promise<Opened> {
  await cluster.settled()
  const leader = await cluster.leaderOf(each[0]?.handle.buckets[0]?.stream ?? '')
  const found = each.find(({ server }) => server !== leader)
  if (found === undefined) throw new Error('no follower')
  return found
}

/** A store, through a connection to each server. */
async function openEach(site: string, store = 'a'): Promise<readonly [Opened, ...Opened[]]> {
  const each = await Promise.all(
    cluster.servers.map(async (server) => {
      const config = readConfig({}, { DOMAIN: site, SITE: site, REPLICAS: '3', SHARDS: '2', STORE_WAIT_SECONDS: '20' })
      const nats = await connectNats(server.url, config.nats, silent)
      onTestFinished(() => nats.close())
      const handle = await (await Stores.open(nats, config.layout, config.store)).find({ site, store })
      if (handle === undefined) throw new Error(`no store ${store}`)
      return { server, nats, handle }
    }),
  )
  return each as [Opened, ...Opened[]]
}

/** The server leads all buckets of the store then. */
async function lead({ server, nats, handle }: Opened): Promise<void> {
  for (const { stream } of handle.buckets) {
    await vi.waitFor(
      async () => {
        if ((await cluster.leaderOf(stream)) === server) return
        const placement = { placement: { preferred: server.name } }
        await nats.control.request(`$JS.API.STREAM.LEADER.STEPDOWN.${stream}`, JSON.stringify(placement))
        await delay(500)
        await cluster.settled()
        expect((await cluster.leaderOf(stream))?.name).toBe(server.name)
      },
      { timeout: 30_000 },
    )
  }
}

/** Blocks that not all replicas have, once that can be told. */
async function thin({ nats, handle }: Opened): Promise<readonly CID[]> {
  const options = { signal, catchUpMs: 1_500 }
  return vi.waitFor(
    async () => {
      const found = await Promise.all(handle.buckets.map((bucket) => thinBlocks(nats, bucket, options)))
      return found.flatMap((cids) => {
        if (cids === undefined) throw new Error('a replica is behind')
        return cids
      })
    },
    { timeout: 60_000 },
  )
}

const prefixOf = (site: string, store = 'a') => `${site}-main-${site}-${store}-`

type Wound = (files: readonly string[]) => Promise<void>

/** Stops servers, damages their files of a store, and starts them again. */
async function damage(servers: readonly ClusterServer[], stop: NodeJS.Signals, wound: Wound, prefix: string) {
  for (const server of servers) await server.kill(stop)
  for (const { dataDir } of servers) {
    const files = await storeFiles(dataDir, prefix)
    expect(files.length).toBeGreaterThanOrEqual(4)
    await wound(files)
  }
  await Promise.all(servers.map((server) => server.start()))
  await cluster.settled()
}

const flipAll: Wound = async (files) => {
  for (const file of files) await flipBits(file, 5)
}
// The last file of a crashed server is made up for out of its log of changes; the others are not.
const wounds: readonly [string, NodeJS.Signals, Wound][] = [
  ['flipped bits', 'SIGTERM', flipAll],
  ['a file cut short', 'SIGKILL', async ([first = '']) => truncate(first, Math.floor((await stat(first)).size / 3))],
  ['a file that is gone', 'SIGTERM', ([first = '']) => deleteFile(first)],
]

test.each(wounds)(
  '%s on one server of three are served by the others and repaired from them',
  async (label, stop, work) => {
    const site = label.replaceAll(' ', '-')
    const before = await openNode(site)
    const contents = await putAll(before)
    // Nobody looks after it meanwhile.
    await before.close()
    const each = await openEach(site)
    const [first] = each
    const victim = await follower(each)
    expect(await thin(first)).toEqual([])
    await damage([victim.server], stop, work, prefixOf(site))
    const holes = await vi.waitFor(
      async () => {
        const found = await thin(first)
        expect(found.length).toBeGreaterThan(0)
        return found
      },
      { timeout: 30_000 },
    )
    // What the leader lacks is no more there for whoever asks it, and a Direct Get that it answers. Another one may lead again meanwhile.
    await vi.waitFor(async () => {
      await lead(victim)
      const asked = await Promise.allSettled(
        holes.flatMap((cid) => Array.from({ length: 10 }, () => victim.handle.blocks.get(cid, { signal }))),
      )
      expect(asked.some(({ status }) => status === 'rejected')).toBe(true)
    })
    const node = await openNode(site)
    for (let times = 0; times < 3; times++) await readAll(node, contents)

    const sums = (await scrub(node)).a
    expect(sums).toMatchObject({ failedRoots: 0, roots: sizes.length })
    await readAll(node, contents)
    expect(await thin(first)).toEqual([])
    for (const one of each) {
      await lead(one)
      for (const cid of holes) {
        for (const { handle } of each) await handle.blocks.get(cid, { signal })
      }
      await readAll(node, contents)
    }
    expect(await counts(node)).toMatchObject({ lost: 0 })
    expect((await scrub(node)).a).toMatchObject({ bad: 0, failedRoots: 0 })
  },
  180_000,
)

test('a server that comes back with holes is mended unasked, and others that catch up from it drop nothing', async () => {
  const site = 'unasked'
  const node = await openNode(site)
  const contents = await putAll(node)
  const each = await openEach(site)
  const victim = await follower(each)
  await damage([victim.server], 'SIGTERM', ([first = '']) => deleteFile(first), prefixOf(site))
  await vi.waitFor(async () => expect((await counts(node)).repaired).toBeGreaterThan(0), { timeout: 60_000 })
  expect(await thin(victim)).toEqual([])
  await lead(victim)
  for (const { server } of each.filter((one) => one !== victim)) {
    await server.kill('SIGTERM')
    // More than the server's log of changes keeps: what came back would catch up from a snapshot of its leader.
    for (let i = 0; i < 16; i++) await putOne(node, randomBytes(15 * MiB))
    await server.start()
    await cluster.settled()
  }
  await readAll(node, contents)
  expect(await thin(victim)).toEqual([])
}, 180_000)

test('what all three replicas have lost is repaired from the other store of the site', async () => {
  const site = 'all-three'
  const node = await openNode(site)
  await setPolicy(node, { version: 1, rules: [{ name: 'two', copies: 2 }] })
  const contents = await putAll(node)
  for (const cid of contents.keys()) {
    await waitForEvents<{ type: string; data: Fields }>(node, cid, (events) =>
      events.some(({ type, data }) => type.includes('copy.verified') && data.store === 'b'),
    )
  }
  const each = await openEach(site)
  await damage(
    cluster.servers,
    'SIGTERM',
    async ([first = '', ...rest]) => {
      await deleteFile(first)
      await flipAll(rest)
    },
    prefixOf(site),
  )
  await vi.waitFor(async () => expect((await fetch(`${node.node.apiUrl}/readyz`)).status).toBe(200), {
    timeout: 30_000,
  })
  await readAll(node, contents)
  const sums = await scrub(node)
  expect(sums.a).toMatchObject({ failedRoots: 0, roots: sizes.length })
  expect(await counts(node)).toMatchObject({ lost: 0, repaired: expect.toSatisfy((repaired: number) => repaired > 10) })
  for (const one of each.slice(0, 1)) expect(await thin(one)).toEqual([])
  expect(await scrub(node)).toMatchObject({ a: { bad: 0, failedRoots: 0 }, b: { bad: 0, failedRoots: 0 } })
  for (const one of each) {
    await lead(one)
    await readAll(node, contents)
  }
}, 180_000)

test('wrong bytes without a meta, in a store with replicas, end no round', async () => {
  const site = 'unnamed'
  const node = await openNode(site)
  const [first] = await openEach(site)
  const { cid } = hashBlock(randomBytes(KiB), 0x55)
  const { bucket = '', stream = '' } = first.handle.buckets[shardOf(cid.multihash.digest, 2)] ?? {}
  await publish(first.nats.requests, { subject: chunkSubject(bucket, blockKey(cid)), payload: randomBytes(KiB) })
  expect((await scrub(node)).a).toMatchObject({ blocks: 1, bad: 1, repaired: 0 })
  expect((await first.nats.jsm.streams.info(stream)).state.messages).toBe(0)
  expect((await scrub(node)).a).toMatchObject({ blocks: 0, bad: 0 })
}, 60_000)
