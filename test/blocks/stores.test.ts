import { afterAll, beforeAll, expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { Stores } from '../../src/blocks/stores.ts'
import { readConfig } from '../../src/config.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { type Sites, startSites } from '../support/sites.ts'
import { silent } from '../support/stores.ts'

const { signal } = new AbortController()
let sites: Sites
const open: Nats[] = []

async function storesAt(site: string, url: string): Promise<Stores> {
  const { nats, layout, store } = readConfig({}, { SITE: site, SHARDS: '2', NATS_URL: url })
  const connection = await connectNats(url, nats, silent)
  open.push(connection)
  return Stores.open(connection, layout, store)
}

beforeAll(async () => {
  sites = await startSites(['paris'])
})

afterAll(async () => {
  for (const nats of open) await nats.close()
  await sites.stop()
})

test('a block of one site is read at the other, verified, and never stored at both', async () => {
  const hub = await storesAt('hub', sites.hub.url)
  const paris = await storesAt('paris', sites.leaf('paris').url)
  const block = hashBlock(Buffer.from('over the link'), 0x55)
  await hub.primary.blocks.put(block, { signal })
  await expect(paris.primary.blocks.has(block.cid, { signal })).resolves.toBe(false)
  const remote = await paris.find({ site: 'hub', store: 'a' })
  expect(Buffer.from((await remote?.blocks.get(block.cid, { signal })) ?? [])).toEqual(Buffer.from(block.bytes))
  await expect(paris.find({ site: 'hub', store: 'nowhere' })).resolves.toBeUndefined()
})

test('a store is made, found by another node, and removed with all that it holds', async () => {
  const one = await storesAt('hub', sites.hub.url)
  const other = await storesAt('hub', sites.hub.url)
  await expect(other.find({ site: 'hub', store: 'b' })).resolves.toBeUndefined()
  const made = await one.make('b', 4)
  const block = hashBlock(Buffer.from('a copy'), 0x55)
  await made.blocks.put(block, { signal })
  const found = await other.find({ site: 'hub', store: 'b' })
  expect(found?.buckets).toHaveLength(4)
  await expect(found?.blocks.has(block.cid, { signal })).resolves.toBe(true)
  await one.remove('b')
  await expect(one.find({ site: 'hub', store: 'b' })).resolves.toBeUndefined()
  await expect(one.remove('a')).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})

test('a site that is cut off is an outage, found out soon, and not an absence', async () => {
  const hub = await storesAt('hub', sites.hub.url)
  const block = hashBlock(Buffer.from('cut off'), 0x55)
  await hub.primary.blocks.put(block, { signal })
  const leaf = sites.leaf('paris')
  const paris = await storesAt('paris', leaf.url)
  const remote = await paris.find({ site: 'hub', store: 'a' })
  await leaf.cut()
  await expect(remote?.blocks.get(block.cid, { signal })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(paris.find({ site: 'hub', store: 'z' })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await leaf.mend()
  await expect(remote?.blocks.has(block.cid, { signal })).resolves.toBe(true)
})
