import { connect } from '@nats-io/transport-node'
import { expect, type TestContext, test } from 'vitest'
import { copies, type Fields, type PlacedNode, startPlacedNode } from '../support/placed.ts'

interface Store {
  readonly store: string
  readonly site: string
  readonly state: string
  readonly shards: number
}

async function storesOf({ call }: PlacedNode): Promise<readonly Store[]> {
  return (await call('GET', 'stores')).json.stores as Store[]
}

async function storeOf(node: PlacedNode, name: string): Promise<Store | undefined> {
  return (await storesOf(node)).find(({ store }) => store === name)
}

/** Streams behind the buckets of a store. */
async function streamsOf(
  node: PlacedNode,
  store: string,
  onFinished: TestContext['onTestFinished'],
): Promise<string[]> {
  const nats = await connect({ servers: node.nats.url })
  onFinished(() => nats.close())
  const reply = await nats.request('$JS.API.STREAM.NAMES', '')
  const { streams } = reply.json<{ readonly streams: readonly string[] }>()
  return streams.filter((name) => name.startsWith(`OBJ_stowage-main-home-${store}-`)).sort()
}

const held = (why: Fields): string[] =>
  (why.copies as { store: string; state: string }[]).flatMap(({ store, state }) =>
    state === 'verified' ? [store] : [],
  )

test('sites and stores are listed with what is known of them', async ({ onTestFinished }) => {
  const node = await startPlacedNode(onTestFinished, { STOWAGE_SITE_LABELS: 'region=eu,zone=a' })
  await expect.poll(() => storesOf(node)).toHaveLength(1)
  const { sites } = (await node.call('GET', 'sites')).json
  expect(sites).toMatchObject([
    { site: 'home', labels: { region: 'eu', zone: 'a' }, up: true, here: true, stores: ['a'] },
  ])
  expect((await node.call('GET', 'stores')).json.stores).toMatchObject([
    { site: 'home', store: 'a', shards: 2, state: 'active', primary: true, up: true },
  ])
})

test('a store is added, takes copies, is drained of them while it runs, and is removed with its buckets when it is empty', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished)
  const { call } = node
  const cid = await node.put('x'.repeat(3000))
  expect(await call('POST', 'stores', { store: 'b', shards: 4 })).toMatchObject({
    status: 201,
    json: { stores: [{ site: 'home', store: 'b', shards: 4, state: 'active', primary: false }] },
  })
  expect((await call('POST', 'stores', { store: 'b' })).status).toBe(409)
  expect((await call('POST', 'stores', { store: 'c d' })).status).toBe(400)
  expect((await call('POST', 'stores', { store: 'c', shards: 3 })).status).toBe(400)
  expect(await streamsOf(node, 'b', onTestFinished)).toHaveLength(4)

  await call('PUT', 'policies/main', copies(2))
  expect(held(await node.untilWhy(cid, (why) => held(why).length === 2))).toEqual(['a', 'b'])
  expect(await call('DELETE', 'stores/b')).toMatchObject({ status: 409, json: { code: 'place_in_use' } })

  expect((await call('POST', 'stores/b/drain')).json).toMatchObject({ stores: [{ store: 'b', state: 'draining' }] })
  expect(held(await node.untilWhy(cid, (why) => held(why).join() === 'a,c'))).toEqual(['a', 'c'])
  expect(await call('DELETE', 'stores/b')).toMatchObject({ status: 200, json: { stores: [{ state: 'removed' }] } })
  await expect.poll(() => streamsOf(node, 'b', onTestFinished)).toEqual([])
  expect((await storeOf(node, 'b'))?.state).toBe('removed')
  expect((await call('DELETE', 'stores/b')).status).toBe(404)
  expect(await call('POST', 'stores', { store: 'b' })).toMatchObject({ status: 409 })
  expect((await fetch(`${node.node.gatewayUrl}/ipfs/${cid}`)).status).toBe(200)
})

test('a store that holds what lies nowhere else is not removed, and the one that takes puts neither drained nor removed', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished)
  const { call } = node
  const cid = await node.put('precious')
  for (const [method, path] of [
    ['DELETE', 'stores/a'],
    ['POST', 'stores/a/drain'],
    ['POST', 'stores/a/reshard'],
  ] as const) {
    const refused = await call(method, path, method === 'POST' ? { shards: 4 } : undefined)
    expect(refused).toMatchObject({
      status: 409,
      json: { code: 'place_in_use', hint: expect.stringContaining('STOWAGE_STORE') },
    })
  }
  expect((await call('POST', 'stores/zz/drain')).status).toBe(404)
  expect((await fetch(`${node.node.gatewayUrl}/ipfs/${cid}`)).status).toBe(200)
})

test('a store is re-sharded: a new one with other shards takes over, and the old one is emptied', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished)
  const { call } = node
  const cids = await Promise.all(Array.from({ length: 5 }, (_, i) => node.put(`content ${i}`.repeat(500))))
  await call('PUT', 'policies/main', copies(2))
  for (const cid of cids) await node.untilWhy(cid, (why) => held(why).join() === 'a,b')
  const resharded = await call('POST', 'stores/b/reshard', { shards: 8 })
  expect(resharded.json.stores).toMatchObject([
    { store: 'c', shards: 8, state: 'active' },
    { store: 'b', state: 'draining' },
  ])
  for (const cid of cids) await node.untilWhy(cid, (why) => held(why).join() === 'a,c')
  expect((await call('DELETE', 'stores/b')).status).toBe(200)
  expect(await streamsOf(node, 'c', onTestFinished)).toHaveLength(8)
  await expect.poll(() => streamsOf(node, 'b', onTestFinished)).toEqual([])
})

test('a site that is heard is not removed, and one that nobody knows is not found', async ({ onTestFinished }) => {
  const { call } = await startPlacedNode(onTestFinished)
  expect(await call('POST', 'sites/home/remove')).toMatchObject({ status: 409, json: { code: 'place_in_use' } })
  expect((await call('POST', 'sites/mars/remove')).status).toBe(404)
})
