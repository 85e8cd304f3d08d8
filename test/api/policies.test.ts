import { connect } from '@nats-io/transport-node'
import { expect, test } from 'vitest'
import { copies, type PlacedNode, startPlacedNode } from '../support/placed.ts'

const policies = 'policies/main'

async function eventsOf({ node, token }: PlacedNode, entity: string): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${node.apiUrl}/api/v1/events?follow=false&entity=${entity}`, {
    headers: { accept: 'application/x-ndjson', authorization: `Bearer ${token}` },
  })
  const lines = (await response.text()).trim()
  return lines === ''
    ? []
    : lines.split('\n').map((line) => (JSON.parse(line) as { readonly event: Record<string, unknown> }).event)
}

test('a policy is set by compare-and-set, kept with its history, read as it was, and taken back by a new event', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished)
  const { call } = node
  expect(await call('GET', policies)).toMatchObject({ status: 404, json: { code: 'policy_not_found' } })

  const first = await call('PUT', policies, copies(1), { 'if-none-match': '*' })
  expect(first).toMatchObject({
    status: 201,
    json: { space: 'main', policy: { rules: [{ copies: { min: 1, max: 1 } }] } },
  })
  const { revision } = first.json
  expect(first.headers.get('etag')).toBe(`"${String(revision)}"`)
  expect(first.headers.get('stowage-sequence')).toBe(String(revision))
  expect((await call('PUT', policies, copies(2), { 'if-none-match': '*' })).status).toBe(412)
  expect((await call('PUT', policies, copies(2), { 'if-match': '"999999"' })).status).toBe(412)

  const second = await call('PUT', policies, copies(2), { 'if-match': `"${String(revision)}"` })
  expect(second.status).toBe(200)
  const now = await call('GET', policies)
  expect(now.json).toMatchObject({
    revision: second.json.revision,
    policy: { rules: [{ copies: { min: 2, max: 2 } }] },
  })
  const then = await call('GET', `${policies}?at=${String(revision)}`)
  expect(then.json).toMatchObject({ revision, policy: { rules: [{ copies: { min: 1, max: 1 } }] } })
  expect((await call('GET', `${policies}?at=2020-01-01T00:00:00Z`)).status).toBe(404)
  expect((await call('GET', `${policies}?at=never`)).status).toBe(400)

  const undone = await call('POST', `${policies}/undo`)
  expect(undone.json).toMatchObject({
    undoes: second.json.revision,
    policy: { rules: [{ copies: { min: 1, max: 1 } }] },
  })
  const history = (await call('GET', `${policies}/history`)).json.versions as { readonly revision: number }[]
  expect(history.map((version) => version.revision)).toEqual([revision, second.json.revision, undone.json.revision])
  expect((await call('GET', 'policies/other')).status).toBe(404)
  expect((await call('DELETE', policies)).headers.get('allow')).toBe('GET, HEAD, PUT')
})

test('a command with one id has one effect, and an id of another command is refused', async ({ onTestFinished }) => {
  const { call } = await startPlacedNode(onTestFinished)
  const id = { 'stowage-command-id': '0193d3a0-1111-7111-8111-111111111111' }
  const once = await call('PUT', policies, copies(2), id)
  const again = await call('PUT', policies, copies(2), id)
  expect(again.json).toEqual(once.json)
  expect(again.headers.get('stowage-repeated')).toBe('true')
  expect(((await call('GET', `${policies}/history`)).json.versions as unknown[]).length).toBe(1)
  expect(await call('POST', 'stores', { store: 'b' }, id)).toMatchObject({
    status: 409,
    json: { code: 'command_id_taken' },
  })
})

test('a document that is wrong is refused with every problem of it, and leaves a failure event and no policy', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished)
  const wrong = { version: 1, rules: [{ name: 'a', copies: -1, sites: ['mars'], spread: 'moon', extra: 1 }] }
  const refused = await node.call('PUT', policies, wrong)
  expect(refused).toMatchObject({ status: 400, json: { code: 'policy_invalid' } })
  for (const part of ['rules[0].copies', 'there is no site "mars"', 'rules[0].spread', 'has no field "extra"']) {
    expect(refused.json.message).toContain(part)
  }
  expect((await node.call('POST', `${policies}/check`, wrong)).status).toBe(400)
  expect((await node.call('POST', `${policies}/check`, copies(3, { sites: ['home'] }))).json).toMatchObject({
    ok: true,
  })
  expect((await node.call('PUT', policies, '{')).status).toBe(400)
  expect((await node.call('PUT', policies, '')).status).toBe(400)
  expect((await node.call('PUT', policies, copies(1, { when: 'x'.repeat(70_000) }))).status).toBe(413)
  expect((await node.call('GET', policies)).status).toBe(404)
  await expect
    .poll(async () => (await eventsOf(node, 'policy')).map(({ type }) => type))
    .toEqual(['stowage.policy.failed.v1'])
  const anonymous = await fetch(`${node.node.apiUrl}/api/v1/${policies}`, { method: 'PUT', body: '{}' })
  expect(anonymous.status).toBe(401)
})

test('of eight who set the policy at the same revision one is taken; of eight who set it in any case all are, one after the other', async ({
  onTestFinished,
}) => {
  const { call } = await startPlacedNode(onTestFinished)
  const { revision } = (await call('PUT', policies, copies(1))).json
  const raced = await Promise.all(
    Array.from({ length: 8 }, (_, i) => call('PUT', policies, copies(i + 1), { 'if-match': `"${String(revision)}"` })),
  )
  expect(raced.map(({ status }) => status).sort()).toEqual([200, ...Array.from({ length: 7 }, () => 412)])
  const all = await Promise.all(Array.from({ length: 8 }, (_, i) => call('PUT', policies, copies(i + 1))))
  expect(all.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200))
  expect(((await call('GET', `${policies}/history`)).json.versions as unknown[]).length).toBe(10)
})

test('a plan says what a policy would do, with bytes and time, and does nothing; then why says what it did', async ({
  onTestFinished,
}) => {
  const node = await startPlacedNode(onTestFinished, { STOWAGE_COPY_BYTES_PER_SECOND: '1MiB' })
  const cid = await node.put('x'.repeat(200_000), 'docs/a.txt')
  await node.put('small')
  await expect.poll(async () => (await node.call('POST', `${policies}/plan`)).json.roots).toBe(2)
  const plan = await node.call('POST', `${policies}/plan`, copies(3))
  expect(plan).toMatchObject({
    status: 200,
    json: { roots: 2, rootsSkipped: 0, satisfied: 0, adds: { copies: 4 }, rules: { all: 2 } },
  })
  const { adds, steps, estimatedSeconds } = plan.json as unknown as {
    adds: { bytes: number }
    steps: { why: string; newStore: boolean }[]
    estimatedSeconds: number
  }
  expect(adds.bytes).toBeGreaterThanOrEqual(400_000)
  expect(estimatedSeconds).toBeCloseTo((2 * adds.bytes) / (1024 * 1024), 0)
  expect(steps).toHaveLength(4)
  expect(steps.every(({ newStore, why }) => newStore && why.startsWith('rule all: '))).toBe(true)
  expect((await node.call('POST', `${policies}/plan?limit=1`, copies(3))).json.steps).toHaveLength(1)
  expect((await node.call('POST', `${policies}/plan`)).json).toMatchObject({ roots: 2, adds: { copies: 0 } })
  expect((await node.call('GET', policies)).status).toBe(404)

  const first = { name: 'pictures', when: { '==': [{ var: 'mediaType' }, 'image/png'] }, copies: 1 }
  await node.call('PUT', policies, { version: 1, rules: [first, ...copies(3).rules] })
  const why = await node.untilWhy(
    'docs/a.txt',
    ({ satisfied, steps }) => satisfied === true && Array.isArray(steps) && steps.length === 0,
  )
  expect(why).toMatchObject({
    cid,
    name: 'docs/a.txt',
    rule: 'all',
    wanted: { min: 3, max: 3 },
    verified: 3,
    failureDomains: 1,
    degraded: true,
    steps: [],
    rules: [
      { rule: 'pictures', applies: false },
      { rule: 'all', applies: true, why: 'it has no when' },
    ],
  })
  expect(why.confidence).toBeGreaterThan(0.9)
  const [, second] = why.copies as { store: string; events: { type: string; sequence: number }[] }[]
  expect(second).toMatchObject({ store: 'b', state: 'verified' })
  expect(second?.events.map(({ type }) => type)).toEqual(['copy.requested', 'copy.made', 'copy.verified'])
  await node.untilWhy(cid, ({ events }) => JSON.stringify(events).includes('copy.degraded'))
  expect((await node.call('GET', 'why/nobody')).status).toBe(404)
  expect((await node.call('GET', 'why/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')).status).toBe(404)
})

test('why answers on NATS as on HTTP, by name, by CID and by subject', async ({ onTestFinished }) => {
  const node = await startPlacedNode(onTestFinished)
  const cid = await node.put('hello', 'docs/a.txt')
  await node.untilWhy(cid, (why) => Array.isArray(why.copies) && why.copies.length === 1)
  const nats = await connect({ servers: node.nats.url })
  onTestFinished(() => nats.close())
  const over = (await node.call('GET', 'why/docs/a.txt')).json
  const ask = async (subject: string, body = '') => (await nats.request(subject, body)).json<Record<string, unknown>>()
  for (const reply of [
    await ask('stowage.qry.main.why', 'docs/a.txt'),
    await ask('stowage.qry.main.why', cid),
    await ask(`stowage.qry.main.why.${cid}`),
  ]) {
    expect(reply).toMatchObject({ cid, rule: 'default', verified: 1, rules: over.rules, events: over.events })
  }
  expect(await ask('stowage.qry.main.why', 'nobody')).toMatchObject({ code: 'name_not_found' })
})
