import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, headers } from '@nats-io/transport-node'
import { CID } from 'multiformats/cid'
import { expect, type TestContext, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { Stores } from '../../src/blocks/stores.ts'
import { createNatsClient } from '../../src/comms/client.ts'
import { readConfig } from '../../src/config.ts'
import { ByteRate } from '../../src/lib/byte-rate.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { chunkSubject, shardOf } from '../../src/nats/layout.ts'
import { publish } from '../../src/nats/publish.ts'
import { verifyDag } from '../../src/placement/copy-dag.ts'
import { run, testFolder } from '../support/cli.ts'
import { limits, signal } from '../support/dags.ts'
import { deleteFile, flipBits, storeFiles } from '../support/damage.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { setPolicy, waitForEvents } from '../support/placement-node.ts'
import { freePorts } from '../support/ports.ts'
import { silent } from '../support/stores.ts'

type OnFinished = TestContext['onTestFinished']
type Fields = Readonly<Record<string, unknown>>

interface Home extends FullNode {
  /** Stops the server, damages its files, and starts it again. */
  damage(stop: 'SIGTERM' | 'SIGKILL', work: (files: readonly string[]) => Promise<void>, store?: string): Promise<void>
  put(content: Uint8Array, mediaType?: string): Promise<string>
  get(path: string): Promise<Response>
  /** Has a round begin and waits for its end. */
  scrub(): Promise<Readonly<Record<string, Fields>>>
}

const env = {
  STOWAGE_SITE: 'home',
  // What lies in the cache would be served whatever has become of the store.
  STOWAGE_CACHE_BYTES: '0',
  STOWAGE_STORE_WAIT_SECONDS: '20',
  STOWAGE_SCRUB_BYTES_PER_SECOND: '1GiB',
}

/** A node on a server whose files can be damaged. */
async function openHome(onFinished: OnFinished): Promise<Home> {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-scrub-'))
  const [port = 0] = await freePorts(1)
  let server: TestNats = await startTestNats({ dataDir, port })
  onFinished(async () => {
    await server.stop()
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
  })
  const full = await startFullNode(onFinished, { nats: server, env })
  const { apiUrl, gatewayUrl } = full.node
  const headers = { authorization: `Bearer ${full.token}` }
  const ready = () =>
    vi.waitFor(async () => expect((await fetch(`${apiUrl}/readyz`)).status).toBe(200), { timeout: 30_000 })
  const states = async (method: string): Promise<Readonly<Record<string, Fields>>> => {
    const reply = await fetch(`${apiUrl}/api/v1/scrub`, { method, headers })
    expect(reply.ok).toBe(true)
    const { stores } = (await reply.json()) as { stores: Fields[] }
    return Object.fromEntries(stores.map((store) => [String(store.store), store]))
  }
  return {
    ...full,
    damage: async (stop, work, store = 'a') => {
      await server.kill(stop)
      await work(await storeFiles(dataDir, `stowage-main-home-${store}-`))
      server = await startTestNats({ dataDir, port })
      await ready()
    },
    put: async (content, mediaType = 'application/octet-stream') => {
      const reply = await fetch(`${apiUrl}/api/v1/objects`, {
        method: 'POST',
        body: Buffer.from(content),
        headers: { ...headers, 'content-type': mediaType },
      })
      expect(reply.status).toBe(201)
      return String(((await reply.json()) as Fields).cid)
    },
    get: (path) => fetch(`${gatewayUrl}${path}`),
    scrub: async () => {
      await states('POST')
      return vi.waitFor(
        async () => {
          const now = await states('GET')
          expect(Object.values(now).every(({ wanted, round, last }) => !wanted && !round && last)).toBe(true)
          return now
        },
        { timeout: 60_000, interval: 200 },
      )
    },
  }
}

/** The stores of the node, through a connection of our own. */
async function openStores(home: Home, onFinished: OnFinished): Promise<Stores> {
  const config = readConfig({ STOWAGE_NATS_URL: home.nats.url, STOWAGE_SITE: 'home', STOWAGE_SHARDS: '2' })
  const nats = await connectNats(home.nats.url, config.nats, silent)
  onFinished(() => nats.close())
  return Stores.open(nats, config.layout, config.store)
}

/** Roots that cannot be read whole out of this store alone. */
async function notWhole(stores: Stores, store: string, roots: readonly string[]): Promise<string[]> {
  const handle = await stores.find({ site: 'home', store })
  if (handle === undefined) throw new Error(`no store ${store}`)
  const options = { signal, limits, rate: new ByteRate(Number.POSITIVE_INFINITY), readAheadBytes: MiB }
  const read = await Promise.allSettled(roots.map((root) => verifyDag(CID.parse(root), handle.blocks, options)))
  return roots.filter((_, i) => read[i]?.status === 'rejected')
}

const sizes = [2 * KiB, 40 * KiB, 300 * KiB, 3 * MiB, 9 * KiB, 2.5 * MiB, 700, 5 * MiB, 100 * KiB, 4 * MiB]

async function putAll(home: Home): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>()
  for (const size of sizes) {
    const content = randomBytes(size)
    contents.set(await home.put(content), content)
  }
  return contents
}

async function verifiedIn(home: Home, store: string, roots: Iterable<string>): Promise<void> {
  for (const cid of roots) {
    await waitForEvents<{ type: string; data: Fields }>(home, cid, (events) =>
      events.some(({ type, data }) => type.includes('copy.verified') && data.store === store),
    )
  }
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'flipped bits, other bytes and deleted files in one store are all repaired from the other, and never served (%s)',
  async (stop) => {
    const finished: (() => unknown)[] = []
    const onFinished: OnFinished = (done) => void finished.push(done as () => unknown)
    try {
      const home = await openHome(onFinished)
      await setPolicy(home, { version: 1, rules: [{ name: 'two', copies: 2 }] })
      const contents = await putAll(home)
      await verifiedIn(home, 'b', contents.keys())
      const stores = await openStores(home, onFinished)
      // No root leads to it: what an upload left that was given up.
      const loose = hashBlock(randomBytes(50 * KiB), 0x55)
      for (const store of ['a', 'b']) await (await stores.make(store)).blocks.put(loose, { signal })
      await home.damage(stop, async (files) => {
        expect(files.length).toBeGreaterThanOrEqual(4)
        for (const file of files) await flipBits(file, 3)
        await deleteFile(files[1] ?? '')
      })
      // Bytes that nats-server takes for good: only a hash tells.
      const swapped = [...contents.keys()].filter((_, i) => (sizes[i] ?? 0) < MiB)
      for (const root of [...swapped, loose.cid.toString()]) await swap(home, stores, root, onFinished)
      expect((await notWhole(stores, 'a', [...contents.keys()])).length).toBeGreaterThanOrEqual(swapped.length)

      let reads = 0
      let scrubbing = true
      const readAll = async () => {
        for (const [root, content] of contents) {
          const reply = await home.get(`/ipfs/${root}`)
          expect(reply.status).toBe(200)
          expect(Buffer.from(await reply.arrayBuffer()).equals(content)).toBe(true)
          reads++
        }
      }
      const reading = (async () => {
        while (scrubbing) await readAll()
      })()
      const after = await home.scrub()
      scrubbing = false
      await reading
      expect(reads).toBeGreaterThanOrEqual(sizes.length)
      expect(await notWhole(stores, 'a', [...contents.keys()])).toEqual([])
      expect(await notWhole(stores, 'b', [...contents.keys()])).toEqual([])
      await expect(stores.primary.blocks.get(loose.cid, { signal })).resolves.toHaveLength(50 * KiB)
      expect(after.a?.last).toMatchObject({ sums: { bad: expect.toSatisfy((bad: number) => bad >= 1) } })
      expect(after.a?.last).toMatchObject({ sums: { failedRoots: 0, roots: sizes.length } })
      const { node } = (await (await fetch(`${home.node.apiUrl}/api/v1/scrub`)).json()) as { node: Fields }
      expect(node.repaired).toBeGreaterThan(1)
      expect(node.lost).toBe(0)
      // Nothing is left to be found.
      const calm = await home.scrub()
      expect(calm.a?.last).toMatchObject({ sums: { bad: 0, failedRoots: 0 } })
      expect(home.errors.filter((line) => !line.includes('/readyz'))).toEqual([])
    } finally {
      for (const done of finished.reverse()) await done()
    }
  },
  180_000,
)

test('a read that meets a bad block serves the good one and repairs it at once', async ({ onTestFinished }) => {
  const home = await openHome(onTestFinished)
  await setPolicy(home, { version: 1, rules: [{ name: 'two', copies: 2 }] })
  const content = randomBytes(20 * KiB)
  const root = await home.put(content)
  await verifiedIn(home, 'b', [root])
  const stores = await openStores(home, onTestFinished)
  await swap(home, stores, root, onTestFinished)
  expect(await notWhole(stores, 'a', [root])).toEqual([root])
  const reply = await home.get(`/ipfs/${root}`)
  expect(Buffer.from(await reply.arrayBuffer()).equals(content)).toBe(true)
  const events = await waitForEvents<{ type: string; data: Fields }>(home, root, (all) =>
    all.some(({ type }) => type.includes('copy.repaired')),
  )
  expect(events.find(({ type }) => type.includes('copy.repaired'))?.data).toMatchObject({
    site: 'home',
    store: 'a',
    from: 'home/b',
  })
  expect(await notWhole(stores, 'a', [root])).toEqual([])
  const { node } = (await (await fetch(`${home.node.apiUrl}/api/v1/scrub`)).json()) as { node: Fields }
  expect(node).toMatchObject({ repaired: 1, onRead: 1 })
}, 60_000)

test('content whose only copy is gone is lost and told so, never not found, until somebody puts it again', async ({
  onTestFinished,
}) => {
  const home = await openHome(onTestFinished)
  const content = randomBytes(3 * MiB)
  const root = await home.put(content)
  const kept = await home.put(randomBytes(10 * KiB))
  await home.damage('SIGKILL', async (files) => {
    for (const file of files) await deleteFile(file)
  })
  for (const query of ['', '?format=car', '?format=tar', '?format=raw']) {
    const reply = await fetch(`${home.node.gatewayUrl}/ipfs/${root}${query}`, {
      headers: { accept: 'application/json' },
    })
    const body = await reply.text()
    expect([query, reply.status, body]).toEqual([query, 500, expect.stringContaining('block_lost')])
  }
  const never = await home.get('/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
  expect(never.status).toBe(404)
  const after = await home.scrub()
  expect(after.a?.last).toMatchObject({ sums: { failedRoots: 2 } })
  const lost = await eventsOf(home, 'object', root)
  expect(lost.filter((type) => type.includes('object.lost'))).toHaveLength(1)
  expect((await home.get(`/ipfs/${root}`)).status).toBe(500)
  const connection = await connect({ servers: home.nats.url })
  onTestFinished(() => connection.close())
  const client = createNatsClient(connection, { headers })
  await expect(client.get(root)).rejects.toMatchObject({ code: 'BLOCK_LOST' })
  const metrics = await fetch(`${home.node.apiUrl}/metrics`).then((reply) => reply.text())
  expect(metrics).toContain('stowage_objects_lost_total 2')
  const shown = await run(await testFolder(onTestFinished), ['scrub', '--status'], { env: home.env })
  expect(shown.stdout).toMatch(/home\/a {2}last full round .*0 roots verified, 2 roots not whole/)
  expect(shown.stdout).toContain('2 objects lost')
  expect(home.errors.join()).toContain('no whole copy is left')
  expect(await home.put(content)).toBe(root)
  const again = await home.get(`/ipfs/${root}`)
  expect(Buffer.from(await again.arrayBuffer()).equals(content)).toBe(true)
  expect((await home.get(`/ipfs/${kept}`)).status).toBe(500)
}, 90_000)

/** Other bytes in the place of a block of store `a`. */
async function swap(home: Home, { primary }: Stores, root: string, onFinished: OnFinished): Promise<void> {
  const nats = await connectNats(home.nats.url, readConfig({ STOWAGE_NATS_URL: home.nats.url }).nats, silent)
  onFinished(() => nats.close())
  const cid = CID.parse(root)
  const { bucket = '' } = primary.buckets[shardOf(cid.multihash.digest, 2)] ?? {}
  await publish(nats.requests, { subject: chunkSubject(bucket, blockKey(cid)), payload: randomBytes(2 * KiB) })
}

async function eventsOf({ node, token }: FullNode, entity: string, cid: string): Promise<string[]> {
  const query = new URLSearchParams({ follow: 'false', entity, cid })
  const reply = await fetch(`${node.apiUrl}/api/v1/events?${query}`, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/x-ndjson' },
  })
  const lines = (await reply.text()).split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    const value = JSON.parse(line) as { type?: string; event?: { type: string } }
    return value.event?.type ?? String(value.type)
  })
}
