import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as dagPb from '@ipld/dag-pb'
import { connect, headers as natsHeaders } from '@nats-io/transport-node'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test, vi } from 'vitest'
import { type HashedBlock, hashBlock } from '../../src/blocks/block.ts'
import { blockKey } from '../../src/blocks/block-object.ts'
import { readConfig } from '../../src/config.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { blockBucket, chunkSubject, metaSubject, objectStream, shardOf } from '../../src/nats/layout.ts'
import { carV1, cborNode, raw } from '../support/cars.ts'
import { type NodeCli, openNodeCli } from '../support/full-node.ts'
import { silent } from '../support/stores.ts'

const here = raw('what was put of it')
const never = raw('what was never put')
const top = cborNode({ here: here.cid, never: never.cid })

const uncached = { STOWAGE_CACHE_BYTES: '0' }

const importAs = async ({ node, token }: NodeCli, car: Uint8Array, query = '') => {
  const response = await fetch(`${node.apiUrl}/api/v1/objects${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/vnd.ipld.car' },
    body: car,
  })
  return { status: response.status, location: response.headers.get('location'), body: await response.json() }
}

const read = async ({ node }: NodeCli, path: string) => {
  const response = await fetch(`${node.gatewayUrl}/ipfs/${path}?format=raw`, {
    headers: { accept: 'application/json' },
  })
  const text = await response.text()
  return { status: response.status, text }
}

const json = async (url: string) => (await fetch(url)).json() as Promise<Record<string, never>>

/** A whole round that began after it was asked for. */
async function scrub({ node, token }: NodeCli): Promise<void> {
  const askedAt = new Date().toISOString()
  const url = `${node.apiUrl}/api/v1/scrub`
  await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
  await vi.waitFor(
    async () => {
      const { stores } = (await json(url)) as unknown as { stores: { round?: unknown; last?: { startedAt: string } }[] }
      expect(stores.every(({ round, last }) => !round && (last?.startedAt ?? '') >= askedAt)).toBe(true)
    },
    { timeout: 60_000, interval: 100 },
  )
}

const statusOf = ({ node }: NodeCli, cid: CID) => json(`${node.apiUrl}/api/v1/status/${cid}`)

const eventsOf = async (cli: NodeCli, verb: string) =>
  (await cli.run(['events', '--since', '1h', '--entity', 'object', '--verb', verb, '--json'])).stdout
    .split('\n')
    .filter((line) => line !== '')

/** Takes messages of a block out of its stream, as damage at rest does. */
async function remove({ nats }: NodeCli, { cid }: HashedBlock, what: readonly ('chunk' | 'meta')[]): Promise<void> {
  const { layout, nats: settings } = readConfig({ STOWAGE_NATS_URL: nats.url, STOWAGE_SHARDS: '2' })
  const connection = await connectNats(nats.url, settings, silent)
  const bucket = blockBucket(layout, shardOf(cid.multihash.digest, 2))
  const subjectOf = { chunk: chunkSubject(bucket, blockKey(cid)), meta: metaSubject(bucket, blockKey(cid)) }
  for (const one of what) {
    await connection.jsm.streams.purge(objectStream(bucket), { filter: subjectOf[one] })
  }
  await connection.close()
}

test('of a partial CAR a part that was never put is not found, no scrub calls it lost, and the rest makes it whole', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const part = carV1([top.cid], [top, here])
  expect((await importAs(cli, part)).status).toBe(400)
  const taken = await importAs(cli, part, '?partial=true')
  expect(taken).toMatchObject({
    status: 201,
    body: { partial: true, missing: [`${never.cid}`], roots: [`${top.cid}`] },
  })
  expect(await read(cli, `${top.cid}/here`)).toEqual({ status: 200, text: 'what was put of it' })
  const absent = await read(cli, `${top.cid}/never`)
  expect(absent.status).toBe(404)
  expect(JSON.parse(absent.text)).toMatchObject({ code: 'block_not_found', hint: expect.stringContaining('partial') })
  await scrub(cli)
  expect((await read(cli, `${top.cid}/never`)).status).toBe(404)
  expect(await eventsOf(cli, 'lost')).toEqual([])
  expect(await statusOf(cli, top.cid)).toMatchObject({ partial: true, missing: 1, lost: false })
  const shown = (await cli.run(['status', `${top.cid}`])).stdout
  expect(shown).toMatch(/1 verified of a part/)
  expect(shown).toMatch(/partial: 1 block was never put; of what was put: satisfied/)
  // The rest comes by another put: the next look at all of it finds it whole.
  expect((await importAs(cli, carV1([never.cid], [never]))).status).toBe(201)
  await scrub(cli)
  await vi.waitFor(
    async () => expect(await statusOf(cli, top.cid)).toMatchObject({ partial: false, missing: 0 }),
    20_000,
  )
  expect((await read(cli, `${top.cid}/never`)).status).toBe(200)
  // What is whole and loses a part is lost.
  await remove(cli, never, ['chunk', 'meta'])
  await scrub(cli)
  expect(await eventsOf(cli, 'lost')).not.toEqual([])
  expect((await read(cli, `${top.cid}/never`)).status).toBe(500)
}, 180_000)

test('a root of which only a part was put is named once all of it is here, in whatever way it is asked', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const { node, token, nats } = cli
  const headers = { authorization: `Bearer ${token}` }
  const connection = await connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  const cid = `${top.cid}`
  const put = await importAs(cli, carV1([top.cid], [top, here]), '?partial=true&name=at-once')
  expect(put).toMatchObject({
    status: 400,
    body: { message: expect.stringMatching(/all here/), hint: expect.any(String) },
  })
  expect((await importAs(cli, carV1([top.cid], [top, here]), '?partial=true')).status).toBe(201)
  const ways: readonly (readonly [way: string, name: () => Promise<string>])[] = [
    ['PUT', async () => (await fetch(`${node.apiUrl}/api/v1/names/a?cid=${cid}`, { method: 'PUT', headers })).text()],
    [
      'POST',
      async () => {
        const body = JSON.stringify({ changes: [{ kind: 'set', name: 'b', cid }] })
        return (await fetch(`${node.apiUrl}/api/v1/names`, { method: 'POST', headers, body })).text()
      },
    ],
    [
      'NATS',
      async () => {
        const message = natsHeaders()
        message.set('Name', 'c')
        message.set('Stowage-Token', token)
        return (await connection.request('stowage.cmd.main.name', cid, { headers: message, timeout: 20_000 })).string()
      },
    ],
    [
      'CLI',
      async () => {
        const { stdout, stderr } = await cli.run(['name', 'set', 'd', cid])
        return stdout + stderr
      },
    ],
  ]
  const refused = new RegExp(`only a part of ${cid} was put, and its block ${never.cid} is not here`)
  for (const [way, name] of ways) expect([way, await name()]).toEqual([way, expect.stringMatching(refused)])
  expect(((await json(`${node.apiUrl}/api/v1/names`)) as unknown as { names: unknown[] }).names).toEqual([])
  // What is whole inside of it has no part to lack.
  expect((await fetch(`${node.apiUrl}/api/v1/names/e?cid=${here.cid}`, { method: 'PUT', headers })).status).toBe(201)
  expect((await importAs(cli, carV1([never.cid], [never]))).status).toBe(201)
  for (const [way, name] of ways) expect([way, await name()]).toEqual([way, expect.not.stringMatching(/only a part/)])
  const { names } = (await json(`${node.apiUrl}/api/v1/names`)) as unknown as { names: { name: string; cid: string }[] }
  expect(names.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd', 'e'])
})

test('get of a folder of which a part never came says so, and how to complete it, however deep that lies', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const file = (text: string) => hashBlock(Buffer.from(text), 0x55)
  const [kept, absent] = [file('kept'), file('never put')]
  const folder = (links: readonly { readonly name: string; readonly block: HashedBlock }[]) =>
    hashBlock(
      dagPb.encode(
        dagPb.prepare({
          Data: Buffer.of(8, 1),
          Links: links.map(({ name, block }) => ({ Name: name, Hash: block.cid, Tsize: block.bytes.byteLength })),
        }),
      ),
      0x70,
    )
  const gone = folder([{ name: 'deep', block: file('deep') }])
  const inner = folder([{ name: 'absent.txt', block: absent }])
  for (const missing of [absent, gone]) {
    const sub = missing === absent ? inner : folder([{ name: 'gone', block: gone }])
    const root = folder([
      { name: 'kept.txt', block: kept },
      { name: 'sub', block: sub },
    ])
    expect((await importAs(cli, carV1([root.cid], [root, kept, sub]), '?partial=true')).status).toBe(201)
    await vi.waitFor(async () => expect(await statusOf(cli, root.cid)).toMatchObject({ partial: true }), 20_000)
    const got = await cli.run(['get', `${root.cid}`, '-o', `out-${missing.cid}`])
    expect(got.exitCode).not.toBe(0)
    expect(got.stderr).toContain(`the block ${missing.cid} is not among those that were put of ${root.cid}`)
    expect(got.stderr).toMatch(/imported as partial: import the CAR of what is missing/)
    // So do all forms of it.
    for (const format of ['tar', 'car']) {
      const url = `${cli.node.gatewayUrl}/ipfs/${root.cid}?format=${format}`
      const reply = await fetch(url, { headers: { accept: 'application/json' } })
      const text = await reply.text().catch(() => 'cut')
      expect([format, text]).toEqual([format, expect.stringMatching(/imported as partial|cut/)])
    }
  }
}, 120_000)

test('of what was put of a partial CAR, a block that is gone is lost', async ({ onTestFinished }) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  await importAs(cli, carV1([top.cid], [top, here]), '?partial=true')
  expect(await read(cli, `${top.cid}/here`)).toMatchObject({ status: 200 })
  await remove(cli, here, ['chunk', 'meta'])
  expect((await read(cli, `${top.cid}/never`)).status).toBe(404)
  const lost = await read(cli, `${top.cid}/here`)
  expect([lost.status, JSON.parse(lost.text).code]).toEqual([500, 'block_lost'])
  await scrub(cli)
  expect(await eventsOf(cli, 'lost')).toHaveLength(1)
}, 120_000)

test('a CAR without roots is taken as partial: its blocks can be read, and the answer is the same when it is sent again', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const bag = carV1([], [here, never])
  expect(await importAs(cli, bag)).toMatchObject({ status: 400, body: { code: 'car_invalid' } })
  const none = { cid: null, path: null, roots: [], partial: true, missing: null, blocks: 2, newBlocks: 0 }
  expect(await importAs(cli, bag, '?partial=true')).toEqual({
    status: 201,
    location: null,
    body: expect.objectContaining(none),
  })
  expect((await read(cli, `${here.cid}`)).text).toBe('what was put of it')
  await writeFile(join(cli.folder, 'bag.car'), carV1([], [raw('another')]))
  expect((await cli.run(['car', 'import', 'bag.car'])).exitCode).not.toBe(0)
  expect((await cli.run(['car', 'import', '--partial', 'bag.car'])).stdout).toBe('imported 1 blocks without a root\n')
  expect((await cli.run(['car', 'import', '--partial', '--quiet', 'bag.car'])).stdout).toBe('')
  const headers = {
    authorization: `Bearer ${cli.token}`,
    'content-type': 'application/vnd.ipld.car',
    'idempotency-key': 'k1',
  }
  const send = () =>
    fetch(`${cli.node.apiUrl}/api/v1/objects?partial=true`, {
      method: 'POST',
      headers,
      body: carV1([], [raw('third')]),
    })
  const first = await (await send()).json()
  expect(await (await send()).json()).toEqual(first)
  const [event] = await eventsOf(cli, 'imported')
  expect(JSON.parse(event ?? '{}')).toMatchObject({
    event: { data: { cid: null, roots: [], partial: true, blocks: 2 } },
  })
}, 120_000)

test('a CAR whose root lies in its own CID is whole with what that links to alone', async ({ onTestFinished }) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const root = CID.createV1(0x71, Digest.create(0x00, cborNode([here.cid]).bytes))
  expect(await importAs(cli, carV1([root], []))).toMatchObject({ status: 400, body: { code: 'car_invalid' } })
  expect((await importAs(cli, carV1([root], [here]))).status).toBe(201)
  await scrub(cli)
  await remove(cli, here, ['chunk', 'meta'])
  await scrub(cli)
  expect(await statusOf(cli, root)).toMatchObject({ lost: true })
}, 120_000)

test('a lost block that is asked for by its own CID is lost, not unknown', async ({ onTestFinished }) => {
  const cli = await openNodeCli(onTestFinished, uncached)
  const leaf = hashBlock(Buffer.from('a leaf'), 0x55)
  const inner = cborNode([leaf.cid])
  const root = cborNode({ inner: inner.cid })
  await importAs(cli, carV1([root.cid], [root, inner, leaf]))
  const unknown = await read(cli, `${raw('nobody put this').cid}`)
  expect(unknown.status).toBe(404)
  const isLost = async (cid: CID) => {
    const { status, text } = await read(cli, `${cid}`)
    return status === 500 && JSON.parse(text).code === 'block_lost'
  }
  for (const what of [['chunk'], ['chunk', 'meta']] as const) {
    await remove(cli, inner, what)
    // Without a trace it is known below its root only, until somebody has met it there.
    if (what.length === 2) expect((await read(cli, `${root.cid}/inner/0`)).status).toBe(500)
    await vi.waitFor(async () => expect(await isLost(inner.cid)).toBe(true), 20_000)
    await scrub(cli)
    expect(await isLost(inner.cid)).toBe(true)
    await importAs(cli, carV1([root.cid], [root, inner, leaf]))
    expect((await read(cli, `${inner.cid}`)).status).toBe(200)
    expect((await read(cli, `${root.cid}/inner/0`)).text).toBe('a leaf')
  }
}, 180_000)
