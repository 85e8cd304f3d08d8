import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { setPolicy, waitForEvents } from '../support/placement-node.ts'
import { type LeafSite, type Sites, startSites } from '../support/sites.ts'

let sites: Sites
let paris: LeafSite
const ending: (() => unknown)[] = []
const onEnd: TestContext['onTestFinished'] = (close) => void ending.push(close as () => unknown)

beforeAll(async () => {
  sites = await startSites(['paris'])
  paris = sites.leaf('paris')
})

afterAll(async () => {
  for (const close of ending.reverse()) await close()
  await sites.stop()
})

/** Without a cache of blocks: a second read is as telling as the first. */
const nodeAt = (site: string, url: string, env: Readonly<Record<string, string>> = {}): Promise<FullNode> =>
  startFullNode(onEnd, { nats: { url }, env: { STOWAGE_SITE: site, STOWAGE_CACHE_BYTES: '0', ...env } })

interface CopyEvent {
  readonly type: string
  readonly correlationid: string
  readonly data: { readonly site?: string; readonly store?: string; readonly action?: string; readonly why?: string }
}

const api = async ({ node, token }: FullNode, path: string, init: RequestInit = {}) => {
  const reply = await fetch(`${node.apiUrl}/api/v1/${path}`, {
    ...init,
    headers: { authorization: `Bearer ${token}`, ...init.headers },
  })
  const text = await reply.text()
  if (!reply.ok) throw new Error(`${reply.status} ${text}`)
  return JSON.parse(text) as Record<string, unknown>
}

const putNamed = async (node: FullNode, name: string, content: Uint8Array): Promise<string> => {
  const headers = { 'content-type': 'application/octet-stream' }
  const reply = await api(node, `objects?name=${encodeURIComponent(name)}`, {
    method: 'POST',
    body: Buffer.from(content),
    headers,
  })
  return String(reply.cid)
}

const until = async (what: string, isSo: () => boolean | Promise<boolean>, waitMs = 30_000): Promise<void> => {
  const endMs = performance.now() + waitMs
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const isRead = async (node: FullNode, cid: string, size: number): Promise<boolean> => {
  const reply = await fetch(`${node.node.gatewayUrl}/ipfs/${cid}`)
  return (await reply.arrayBuffer()).byteLength === size && reply.ok
}

/** Bytes that cross the uplink of paris meanwhile, both ways. */
const crossing = async (work: () => Promise<void>): Promise<number> => {
  const sum = () => paris.link.bytes.sent + paris.link.bytes.received
  const before = sum()
  await work()
  return sum() - before
}

const size = 4_000_000
const readsCount = 5
const readAll = (node: FullNode, cid: string) => async () => {
  for (let i = 0; i < readsCount; i++) expect(await isRead(node, cid, size)).toBe(true)
}

/** Just after a site was joined it is known before it can be read: that is told, with 503. */
const isFault = (line: string) => !line.includes('STORE_UNAVAILABLE')

let hub: FullNode
let leaf: FullNode

// Acceptance scenario 4.
test('what a website at another site shows appears there unasked, reads there do not cross the uplink, and it goes when the website does', async () => {
  hub = await nodeAt('hub', sites.hub.url, { STOWAGE_DEMAND_HALF_LIFE_SECONDS: '5' })
  leaf = await nodeAt('paris', paris.url, { STOWAGE_DEMAND_HALF_LIFE_SECONDS: '5' })
  const cid = await putNamed(hub, 'site/index.html', randomBytes(size))
  await until('paris reads it over the uplink', () => isRead(leaf, cid, size))
  const routed = await crossing(readAll(leaf, cid))
  expect(routed).toBeGreaterThan(readsCount * size)

  // No policy was ever set: the registration alone is enough. It is made at the hub, for paris.
  await until('the hub knows paris', async () => {
    const set = api(hub, 'projections/blog', { method: 'PUT', body: JSON.stringify({ site: 'paris', name: 'site/' }) })
    return set.then(
      () => true,
      () => false,
    )
  })
  const made = await waitForEvents<CopyEvent>(hub, cid, (events) => events.some(({ type }) => /verified/.test(type)))
  const steps = made.filter(({ data }) => data.site !== undefined)
  expect(steps.map(({ type, data }) => [type.split('.')[2], data.site])).toEqual([
    ['requested', 'paris'],
    ['made', 'paris'],
    ['verified', 'paris'],
  ])
  expect(new Set(made.map(({ correlationid }) => correlationid)).size).toBe(1)

  const local = await crossing(readAll(leaf, cid))
  // Heartbeats and the like go on; of the content nothing crosses.
  expect(local).toBeLessThan(size / 20)

  // A page that comes under the name later is brought too.
  const later = await putNamed(hub, 'site/news.html', randomBytes(size))
  await waitForEvents<CopyEvent>(hub, later, (events) => events.some(({ type }) => /verified/.test(type)))
  expect(await crossing(readAll(leaf, later))).toBeLessThan(size / 20)

  // And one that leaves it goes.
  await api(hub, 'names/site/news.html', { method: 'DELETE' })
  await waitForEvents<CopyEvent>(hub, later, (events) => events.some(({ type }) => /removed/.test(type)))

  await api(hub, 'projections/blog', { method: 'DELETE' })
  const gone = await waitForEvents<CopyEvent>(hub, cid, (events) => events.some(({ type }) => /removed/.test(type)))
  const removed = gone.filter(({ type }) => /removed/.test(type))
  expect(removed.map(({ data }) => `${data.site}/${data.store}`)).toEqual(['paris/a'])
  expect(hub.errors.filter(isFault)).toEqual([])
  expect(leaf.errors.filter(isFault)).toEqual([])
}, 120_000)

test('what is read much at a site gets a copy there, which goes when nobody reads it any more', async () => {
  const near = ['projections', 'demand']
  await setPolicy(hub, { version: 1, rules: [{ name: 'readers', copies: { min: 1, max: 2 }, near }] })
  const cid = await putNamed(hub, 'busy.bin', randomBytes(size))
  const other = await putNamed(hub, 'quiet.bin', randomBytes(size))
  await until('paris reads it', () => isRead(leaf, cid, size))
  await until('paris reads the other', () => isRead(leaf, other, size))
  await readAll(leaf, cid)()
  await waitForEvents<CopyEvent>(hub, cid, (events) => events.some(({ type }) => /verified/.test(type)))
  expect(await crossing(readAll(leaf, cid))).toBeLessThan(size / 20)
  const gone = await waitForEvents<CopyEvent>(hub, cid, (events) => events.some(({ type }) => /removed/.test(type)))
  expect(gone.filter(({ type }) => /removed/.test(type)).map(({ data }) => data.site)).toEqual(['paris'])
  const quiet = await waitForEvents<CopyEvent>(hub, other, () => true)
  expect(quiet.filter(({ type }) => /requested/.test(type))).toEqual([])
}, 120_000)
