import { setTimeout as delay } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { expect, onTestFinished, test } from 'vitest'
import { startFullNode } from '../support/full-node.ts'

const count = 20

/** Two nodes of a site with names, and every list of them over HTTP and NATS, each with how many items make it whole. */
async function listsOfNode() {
  const { node, nats, token } = await startFullNode(onTestFinished, {
    env: { STOWAGE_KEYS_SECRET: 'a secret of some length' },
  })
  const second = await startFullNode(onTestFinished, { nats, env: { STOWAGE_KEYS_SECRET: 'a secret of some length' } })
  const connection = await connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  const { streams } = await jetstreamManager(connection)
  const headers = { authorization: `Bearer ${token}` }
  const call = async (path: string, init: RequestInit = {}) => {
    const reply = await fetch(`${node.apiUrl}/api/v1/${path}`, { headers, ...init })
    const text = await reply.text()
    return { status: reply.status, body: JSON.parse(text) as Record<string, unknown> }
  }
  let named = 0
  const name = async () => {
    const reply = await call(`names/n-${named}`, { method: 'PUT', body: 'the same for all' })
    named++
    return reply
  }
  for (let i = 0; i < count; i++) expect((await name()).status).toBe(201)
  const { cid } = (await call('names/n-0')).body
  for (let i = 0; i < 3; i++)
    expect((await call(`ipns/d${i}.example`, { method: 'PUT', body: `/ipfs/${cid}` })).status).toBeLessThan(300)
  for (let i = 0; i < 2; i++) {
    const made = await call('keys', { method: 'POST', body: JSON.stringify({ label: `k${i}` }) })
    expect(made.status).toBeLessThan(300)
  }
  const http = (path: string, field: string, whole: () => number) => ({ path, field, whole, ask: () => call(path) })
  const overNats = (verb: string, payload: object, field: string, whole: () => number) => ({
    path: `NATS ${verb} ${JSON.stringify(payload)}`,
    field,
    whole,
    ask: async () => {
      const reply = await connection.request(`stowage.qry.main.${verb}`, JSON.stringify(payload), { timeout: 40_000 })
      const code = reply.headers?.get('Nats-Service-Error-Code') || '200'
      return { status: Number(code), body: JSON.parse(reply.string()) as Record<string, unknown> }
    },
  })
  const all = () => named
  const atSecond = (path: string, field: string, whole: () => number) => ({
    path: `second node: ${path}`,
    field,
    whole,
    ask: async () => {
      const reply = await fetch(`${second.node.apiUrl}/api/v1/${path}`, { headers })
      return { status: reply.status, body: (await reply.json()) as Record<string, unknown> }
    },
  })
  const lists = [
    atSecond('names', 'names', () => named),
    atSecond(`names?cid=${cid}`, 'names', () => named),
    atSecond('ipns', 'entries', () => 3),
    http('names', 'names', all),
    http('names?prefix=n-1&limit=1', 'names', () => 1),
    http(`names?cid=${cid}`, 'names', all),
    http('names/n-0?history=true', 'versions', () => 1),
    http('ipns', 'entries', () => 3),
    http('keys', 'keys', () => 2),
    overNats('names', {}, 'names', all),
    overNats('names', { cid }, 'names', all),
  ]
  return { node, streams, name, lists, call }
}

type Harm = (streams: Awaited<ReturnType<typeof listsOfNode>>['streams'], stream: string) => Promise<void>

const seal: Harm = async (streams, stream) => {
  const { config } = await streams.info(stream)
  await streams.update(stream, { ...config, ...{ sealed: true } })
}
const drop: Harm = async (streams, stream) => void (await streams.delete(stream))

/** Asks for all lists until each is whole again. @returns what was answered in the place of a whole list and of a clear refusal */
async function wrongUntilWhole(lists: Awaited<ReturnType<typeof listsOfNode>>['lists']): Promise<string[]> {
  const wrong = new Set<string>()
  for (let isWhole = false; !isWhole; await delay(10)) {
    isWhole = true
    for (const { path, field, whole, ask } of lists) {
      const { status, body } = await ask()
      const items = body[field]
      if (status === 200 && Array.isArray(items) && items.length === whole()) continue
      isWhole = false
      if (status === 503 && body.code === 'store_unavailable' && typeof body.hint === 'string') continue
      wrong.add(`${path}: ${status} ${Array.isArray(items) ? items.length : JSON.stringify(body)}`)
    }
  }
  return [...wrong]
}

test.each([
  ['sealed', seal],
  ['deleted', drop],
] as const)(
  'an index that is %s: no list is short, and each comes back by itself',
  { timeout: 120_000 },
  async (_, harm) => {
    const { streams, name, lists } = await listsOfNode()
    for (const bucket of ['names', 'refs', 'ipns', 'outcomes']) {
      await harm(streams, `KV_stowage_${bucket}`)
      expect([bucket, (await name()).status]).toEqual([bucket, 201])
      expect([bucket, await wrongUntilWhole(lists)]).toEqual([bucket, []])
    }
  },
)

test('what is deleted while the index of deletions takes nothing is out of view at once', async () => {
  const { node, streams, call, lists } = await listsOfNode()
  const { cid } = (await call('objects', { method: 'POST', body: 'to be deleted' })).body
  const read = async () => (await fetch(`${node.gatewayUrl}/ipfs/${cid}`)).status
  expect(await read()).toBe(200)
  await seal(streams, 'KV_stowage_deleted')
  expect((await call(`objects/${cid}`, { method: 'DELETE' })).status).toBe(200)
  // Whether a name holds it cannot be known now, or is known already.
  expect([503, 410]).toContain(await read())
  expect(await wrongUntilWhole(lists)).toEqual([])
  expect(await read()).toBe(410)
})
