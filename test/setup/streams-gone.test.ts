import { setTimeout as delay } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { keepHashes } from '../../src/auth/kept-hashes.ts'
import { createAuth } from '../../src/auth/token.ts'
import { neededStreams } from '../../src/nats/layout.ts'
import { openTokenHashes } from '../../src/nats/token-hashes.ts'
import { startFullNode } from '../support/full-node.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'
import { freshDomain } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

async function nodeAndServer() {
  const full = await startFullNode(onTestFinished, { env: { STOWAGE_KEYS_SECRET: 'a secret of some length' } })
  const connection = await connect({ servers: full.nats.url })
  onTestFinished(() => connection.close())
  const { streams } = await jetstreamManager(connection)
  const call = async (method: string, path: string, body?: string, token = full.token) => {
    const headers = { authorization: `Bearer ${token}` }
    const reply = await fetch(`${full.node.apiUrl}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    })
    return { status: reply.status, text: await reply.text() }
  }
  const isThere = async (stream: string) =>
    streams.info(stream).then(
      () => true,
      () => false,
    )
  /** Until what was seen of the streams is what is there now. */
  const untilSeen = async () => {
    const marks = async () => {
      const { data } =
        (await streams.getMessage('KV_stowage_names', { last_by_subj: '$KV.stowage_names.=streams' })) ?? {}
      return data === undefined ? '' : Buffer.from(data).toString()
    }
    while (!(await marks()).includes('stowage_dead')) await delay(50)
  }
  return { ...full, streams, call, isThere, untilSeen }
}

const notFolded = [
  'stowage_reads',
  'stowage_dead',
  'stowage_queue',
  'stowage_moves',
  'KV_stowage_keys',
  'KV_stowage_tokens',
]

test('streams that hold what is not in the log: deleted while the node runs, they are told, made again and used', async () => {
  const { node, nats, streams, call, isThere, untilSeen, errors } = await nodeAndServer()
  await untilSeen()
  expect((await call('GET', '/readyz')).status).toBe(200)
  await Promise.all(notFolded.map((stream) => streams.delete(stream)))
  const { status, text } = await call('GET', '/readyz')
  expect([status, text]).toEqual([500, expect.stringMatching(/stream \w+ is gone/)])
  for (const stream of notFolded) {
    while (!(await isThere(stream))) await delay(50)
    while (!errors.some((line) => line.includes(`${stream} is damaged: it was gone`))) await delay(50)
  }
  while ((await call('GET', '/readyz')).status !== 200) await delay(50)
  const put = await call('POST', '/api/v1/objects', 'content')
  expect(put.status).toBe(201)
  expect((await call('POST', '/api/v1/keys', '{"label":"after"}')).status).toBe(201)
  // Reads are recorded again, the queue is worked on, and what cannot be carried out buried.
  const { cid } = JSON.parse(put.text) as { cid: string }
  expect((await fetch(`${node.gatewayUrl}/ipfs/${cid}`)).status).toBe(200)
  while ((await streams.info('stowage_reads')).state.messages === 0) await delay(50)
  const connection = await connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  await connection.request('stowage.queue.main.name', 'what nobody can carry out', { timeout: 10_000 })
  while ((await streams.info('stowage_dead')).state.messages === 0) await delay(50)
})

test('each of them is among the streams that make a node ready', () => {
  const needed = neededStreams('stowage', { reads: { on: true }, placement: { on: true } })
  expect(needed).toEqual(expect.arrayContaining(notFolded))
  expect(neededStreams('stowage', { reads: { on: false }, placement: { on: false } })).not.toContain('stowage_reads')
})

test('tokens that are gone: nobody gets in, the reason is told, and the same token is valid again', {
  timeout: 60_000,
}, async () => {
  const { streams, call, isThere, untilSeen } = await nodeAndServer()
  await untilSeen()
  await streams.delete('KV_stowage_tokens')
  const refused = new Set<string>()
  for (let isBack = false; !isBack; await delay(20)) {
    expect((await call('PUT', '/api/v1/names/b', 'content', 'stw_of_somebody_else')).status).toBeGreaterThanOrEqual(400)
    const { status, text } = await call('PUT', '/api/v1/names/a', 'content')
    if (status >= 400) refused.add(`${status} ${text}`)
    isBack = (await isThere('KV_stowage_tokens')) && status < 400
  }
  for (const answer of refused) expect(answer).toMatch(/^503 .*"code":"store_unavailable".*"hint":/)
  expect((await call('PUT', '/api/v1/names/b', 'content', 'stw_of_somebody_else')).status).toBe(401)
})

test('the store of tokens says that it is gone; made anew, it takes back what was valid last, and nothing else', async () => {
  const { nats } = await openTestStore(server.url, onTestFinished)
  const domain = freshDomain()
  const hashes = await openTokenHashes(nats, domain, 1)
  await hashes.set('admin', 'first')
  const kept = await keepHashes(hashes)
  await hashes.set('admin', 'second')
  await kept.seen()
  await nats.jsm.streams.delete(`KV_${domain}_tokens`)
  const gone = { code: 'STORE_UNAVAILABLE', message: expect.stringContaining('is gone'), hint: expect.any(String) }
  await expect(hashes.get('admin')).rejects.toMatchObject(gone)
  await expect(kept.seen()).rejects.toMatchObject(gone)
  expect(await kept.restore()).toContain('valid as before')
  expect(await hashes.get('admin')).toBe('second')
  // Another node was there first, with a token that was set meanwhile.
  await hashes.set('admin', 'third')
  await kept.restore()
  expect(await hashes.get('admin')).toBe('third')
  await nats.jsm.streams.delete(`KV_${domain}_tokens`)
  await hashes.makeAnew()
  const stranger = await keepHashes(hashes)
  await stranger.restore()
  expect(await hashes.get('admin')).toBeUndefined()
  const auth = createAuth(hashes)
  await expect(auth.authenticate('Bearer stw_any')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(auth.authenticate(undefined)).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
})
