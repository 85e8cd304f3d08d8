import { headers as natsHeaders } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { clientConnection } from '../support/comms.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { setPolicy } from '../support/placement-node.ts'

let nats: TestNats
/** Holds the lease, or does not: each has to tell the same. */
let nodes: readonly FullNode[]
const ending: (() => unknown)[] = []
const onEnd: TestContext['onTestFinished'] = (close) => void ending.push(close as () => unknown)

beforeAll(async () => {
  nats = await startTestNats()
  const env = { STOWAGE_NATS_COMMANDS: 'open', STOWAGE_PUT_WAIT_SECONDS_MAX: '20' }
  nodes = [await startFullNode(onEnd, { nats, env }), await startFullNode(onEnd, { nats, env })]
})

afterAll(async () => {
  for (const close of ending.reverse()) await close()
  await nats.stop()
})

const first = (): FullNode => nodes[0] as FullNode
let count = 0
const put = ({ node, token }: FullNode, prefer?: string) =>
  fetch(`${node.apiUrl}/api/v1/objects`, {
    method: 'POST',
    body: `content ${count++}`,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/octet-stream',
      ...(prefer === undefined ? {} : { prefer }),
    },
  })

interface PutBody {
  readonly cid: string
  readonly provisional?: boolean
  readonly copies?: { readonly verified: number; readonly wanted: number }
}
const bodyOf = async (reply: Response) => (await reply.json()) as PutBody
const told = ({ headers }: Response) => [headers.get('stowage-provisional'), headers.get('stowage-copies')]
const statusOf = async ({ node }: FullNode, cid: string) =>
  (await (await fetch(`${node.apiUrl}/api/v1/status/${cid}`)).json()) as Readonly<Record<string, unknown>>

const until = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
  const endMs = performance.now() + 30_000
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('without a policy nothing is told, and a put that wishes for it is satisfied at once', async () => {
  const plain = await put(first())
  const { cid, ...rest } = await bodyOf(plain)
  expect(plain.headers.get('preference-applied')).toBeNull()
  expect(told(plain)).toEqual([null, null])
  expect(rest).not.toHaveProperty('copies')
  const wished = await put(first(), 'wait=policy')
  expect(wished.headers.get('preference-applied')).toBe('wait=policy')
  expect(await bodyOf(wished)).toMatchObject({ provisional: false, copies: { verified: 1, wanted: 1 } })
  const read = await fetch(`${first().node.gatewayUrl}/ipfs/${cid}`)
  expect(told(read)).toEqual([null, null])
  expect(await statusOf(first(), cid)).toMatchObject({
    rule: 'default',
    verified: 1,
    satisfied: true,
    provisional: false,
    failureDomains: 1,
    copies: [{ site: 'local', store: 'a', state: 'verified', reachable: true }],
  })
})

test('what was never put is not found, and a path is no root', async () => {
  const absent = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
  const reply = await fetch(`${first().node.apiUrl}/api/v1/status/${absent}`)
  expect(reply.status).toBe(404)
  expect(await reply.json()).toMatchObject({ code: 'block_not_found' })
})

test('a put waits for the copies that are wished for, at any node of the site, and says so', async () => {
  await setPolicy(first(), { version: 1, rules: [{ name: 'three', copies: 3 }] })
  for (const node of nodes) {
    await until('the policy is known', async () => (await bodyOf(await put(node, 'wait=local'))).copies?.wanted === 3)
    const policy = await put(node, 'wait=policy, timeout=20')
    expect(policy.status).toBe(201)
    expect(policy.headers.get('preference-applied')).toBe('wait=policy')
    const body = await bodyOf(policy)
    expect(body).toMatchObject({ provisional: false, copies: { verified: 3, wanted: 3 } })
    expect(told(policy)).toEqual([null, '3/3'])
    for (const asked of nodes) {
      const status = await statusOf(asked, body.cid)
      expect(status).toMatchObject({ rule: 'three', verified: 3, satisfied: true, degraded: true, failureDomains: 1 })
      expect(status.confidence).toBeGreaterThan(0.98)
      expect(status.confidence).toBeLessThanOrEqual(0.99)
    }
    const copies = await put(node, 'copies=2; timeout=20')
    expect(copies.headers.get('preference-applied')).toBe('copies=2')
    expect((await bodyOf(copies)).copies?.verified).toBeGreaterThanOrEqual(2)
  }
})

test('what is provisional is told until its copies are there, and then no more', async () => {
  for (const node of nodes) {
    const { cid, provisional } = await bodyOf(await put(node, 'wait=local'))
    expect(provisional).toBe(true)
    const reads = () => Promise.all(nodes.map(({ node: { gatewayUrl } }) => fetch(`${gatewayUrl}/ipfs/${cid}`)))
    // Asked at once, so that it is remembered as provisional.
    const early = (await reads()).map(told)
    expect(early.flat().filter((text) => text !== null && text !== 'true' && !/^[12]\/3$/.test(text))).toEqual([])
    await until('nobody is told any more', async () =>
      (await reads()).every((read) => told(read).every((text) => text === null)),
    )
  }
})

test('what is wished for beyond the rule, or longer than allowed, ends with the put done and nothing applied', async () => {
  const tooMany = await put(first(), 'copies=9')
  expect(tooMany.status).toBe(201)
  expect(tooMany.headers.get('preference-applied')).toBeNull()
  await setPolicy(first(), { version: 1, rules: [{ name: 'mars', copies: 2, sites: ['role=mars'] }] })
  for (const node of nodes) {
    await until('the policy is known', async () => (await bodyOf(await put(node, 'wait=local'))).copies?.wanted === 2)
    const reply = await put(node, 'wait=policy, timeout=0.2')
    expect(reply.status).toBe(201)
    expect(reply.headers.get('preference-applied')).toBeNull()
    const { cid, provisional, copies } = await bodyOf(reply)
    expect([provisional, copies]).toEqual([true, { verified: 0, wanted: 2 }])
    expect(told(reply)).toEqual(['true', '0/2'])
    // It is provisional for whoever reads it, at any node.
    for (const {
      node: { gatewayUrl, apiUrl },
    } of nodes) {
      for (const method of ['GET', 'HEAD']) {
        const read = await fetch(`${gatewayUrl}/ipfs/${cid}`, { method })
        expect(told(read)).toEqual(['true', '0/2'])
      }
      const stat = await fetch(`${apiUrl}/api/v1/objects/${cid}`)
      expect(told(stat)).toEqual(['true', '0/2'])
      expect(await stat.json()).toMatchObject({ provisional: true, copies: { verified: 0, wanted: 2 } })
    }
  }
})

test('a rule that asks for it makes every put wait, unless the request wishes otherwise', async () => {
  const rules = [{ name: 'safe', copies: 2, ack: 'policy' }]
  await setPolicy(first(), { version: 1, rules })
  await until('the rule is known', async () => (await put(first(), 'copies=1')).headers.has('preference-applied'))
  const reply = await put(first())
  // Nothing was wished for, so nothing is said to be applied.
  expect(reply.headers.get('preference-applied')).toBeNull()
  expect(await bodyOf(reply)).toMatchObject({ provisional: false, copies: { verified: 2, wanted: 2 } })
  const local = await put(first(), 'wait=local')
  expect(local.headers.get('preference-applied')).toBe('wait=local')
})

test('over NATS the same: Wait on a put, headers on get and stat, status of content', async () => {
  const connection = await clientConnection(nats.url, onEnd)
  const headers = natsHeaders()
  headers.set('Wait', 'policy')
  const reply = await connection.request('stowage.cmd.main.put', 'over NATS', { headers, timeout: 20_000 })
  expect(reply.json()).toMatchObject({ provisional: false, copies: { verified: 2, wanted: 2 } })
  const { cid } = reply.json() as PutBody
  expect((await connection.request('stowage.qry.main.status', cid)).json()).toMatchObject({
    cid,
    rule: 'safe',
    verified: 2,
  })
  expect((await connection.request(`stowage.qry.main.status.${cid}`)).json()).toMatchObject({ cid, verified: 2 })
  expect((await connection.request('stowage.qry.main.status')).json()).toMatchObject({ site: 'local' })
  expect((await connection.request('stowage.qry.main.get', cid)).headers?.get('Stowage-Provisional')).toBe('')

  await setPolicy(first(), { version: 1, rules: [{ name: 'mars', copies: 2, sites: ['role=mars'] }] })
  await until('it is provisional for readers on NATS, content and stat', async () => {
    const replies = await Promise.all(
      ['get', 'stat'].map((verb) => connection.request(`stowage.qry.main.${verb}`, cid)),
    )
    return replies.every((one) => one.headers?.get('Stowage-Copies') === '0/2')
  })
})

test('a projection over NATS is registered, listed and ended', async () => {
  const connection = await clientConnection(nats.url, onEnd)
  const body = JSON.stringify({ projection: 'blog', site: 'local', name: 'blog/' })
  expect((await connection.request('stowage.cmd.main.project', body)).json()).toMatchObject({
    id: 'blog',
    name: 'blog/',
  })
  const list = async () => (await fetch(`${first().node.apiUrl}/api/v1/projections`)).json()
  await until('it is listed', async () => JSON.stringify(await list()).includes('"blog/"'))
  expect((await connection.request('stowage.cmd.main.unproject', 'blog')).json()).toMatchObject({ id: 'blog' })
  await until('it is listed no more', async () => !JSON.stringify(await list()).includes('"blog/"'))
  const nowhere = JSON.stringify({ projection: 'blog', site: 'mars', name: 'blog/' })
  expect((await connection.request('stowage.cmd.main.project', nowhere)).headers?.get('Nats-Service-Error-Code')).toBe(
    '400',
  )
})
