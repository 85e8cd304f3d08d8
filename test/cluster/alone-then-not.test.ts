import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { setPolicy, waitForEvents } from '../support/placement-node.ts'
import { type Sites, startSites } from '../support/sites.ts'

let sites: Sites
const ending: (() => unknown)[] = []
const onEnd: TestContext['onTestFinished'] = (close) => void ending.push(close as () => unknown)

beforeAll(async () => {
  sites = await startSites(['paris', 'berlin'])
})

afterAll(async () => {
  for (const close of ending.reverse()) await close()
  await sites.stop()
})

const nodeAt = (site: string, url: string): Promise<FullNode> =>
  startFullNode(onEnd, { nats: { url }, env: { STOWAGE_SITE: site } })

interface CopyEvent {
  readonly type: string
  readonly correlationid: string
  readonly data: { readonly site?: string; readonly store?: string; readonly failureDomains?: number }
}

const at = ({ data }: CopyEvent) => `${data.site}/${data.store}`

// Acceptance scenario 3.
test('alone, three copies are three stores and one failure domain; when sites join they spread, and the surplus goes', async () => {
  const home = await nodeAt('hub', sites.hub.url)
  await setPolicy(home, { version: 1, rules: [{ name: 'three', copies: 3 }] })
  const content = Buffer.alloc(2_500_000, 'stowage')
  const put = await fetch(`${home.node.apiUrl}/api/v1/objects`, {
    method: 'POST',
    body: content,
    headers: { authorization: `Bearer ${home.token}`, 'content-type': 'application/octet-stream' },
  })
  const { cid } = (await put.json()) as { cid: string }

  const alone = await waitForEvents<CopyEvent>(
    home,
    cid,
    (events) => events.filter(({ type }) => type.includes('copy.verified')).length === 2,
  )
  const verified = alone.filter(({ type }) => type.includes('copy.verified')).map(at)
  expect(verified.sort()).toEqual(['hub/b', 'hub/c'])
  expect(alone.filter(({ type }) => type.includes('copy.degraded')).at(-1)?.data.failureDomains).toBe(1)
  expect(alone.some(({ type }) => type.includes('copy.satisfied'))).toBe(false)

  const paris = await nodeAt('paris', sites.leaf('paris').url)
  await nodeAt('berlin', sites.leaf('berlin').url)
  const spread = await waitForEvents<CopyEvent>(
    home,
    cid,
    (events) => events.filter(({ type }) => type.includes('copy.removed')).length === 2,
  )
  const places = new Set<string>(['hub/a'])
  let least = 3
  for (const event of spread) {
    if (event.type.includes('copy.verified')) places.add(at(event))
    if (event.type.includes('copy.removed')) places.delete(at(event))
    if (places.size >= 3) least = Math.min(least, places.size)
  }
  expect(least).toBe(3)
  expect(new Set([...places].map((place) => place.split('/')[0]))).toEqual(new Set(['hub', 'paris', 'berlin']))
  const satisfied = await waitForEvents<CopyEvent>(home, cid, (events) =>
    events.some(({ type }) => type.includes('copy.satisfied')),
  )
  const correlation = new Set(satisfied.map(({ correlationid }) => correlationid))
  expect(correlation.size).toBe(1)

  // Read at a leaf out of its own copy: the gateway of paris serves the same bytes.
  const read = await fetch(`${paris.node.gatewayUrl}/ipfs/${cid}`)
  expect(Buffer.from(await read.arrayBuffer()).equals(content)).toBe(true)
  expect(home.errors).toEqual([])
}, 120_000)
