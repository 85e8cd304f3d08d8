import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { setPolicy, waitForEvents } from '../support/placement-node.ts'
import { differingFacts, factsBytes } from '../support/same-facts.ts'
import { type Site, type Sites, startSites } from '../support/sites.ts'
import { silent } from '../support/stores.ts'

let sites: Sites
let hub: Opened
let paris: Opened
const ending: (() => unknown)[] = []
const onEnd: TestContext['onTestFinished'] = (close) => void ending.push(close as () => unknown)
const waiting = { timeout: 60_000, interval: 100 }

interface Opened {
  readonly full: FullNode
  readonly nats: Nats
}

interface Report {
  readonly asked: readonly { readonly site: string; readonly questions?: number; readonly error?: string }[]
  readonly events: readonly {
    readonly site: string
    readonly here: number
    readonly there: number
    readonly events?: number
  }[]
  readonly unknown: {
    readonly count: number
    readonly roots: readonly { readonly key: string; readonly at: string[] }[]
  }
  readonly unplaced: {
    readonly count: number
    readonly roots: readonly { readonly cid: string; readonly site: string }[]
  }
  readonly caughtUp: readonly { readonly site: string; readonly time: string }[]
  readonly fetched?: { readonly queued: number; readonly joined: readonly string[] }
}

async function open({ name, url }: Site): Promise<Opened> {
  const env = { STOWAGE_SITE: name, STOWAGE_SITE_DOWN_SECONDS: '3' }
  const full = await startFullNode(onEnd, { nats: { url }, env })
  const nats = await connectNats(url, readConfig({}).nats, silent)
  onEnd(() => nats.close())
  return { full, nats }
}

beforeAll(async () => {
  sites = await startSites(['paris'])
  hub = await open(sites.hub)
  paris = await open(sites.leaf('paris'))
}, 60_000)

afterAll(async () => {
  for (const close of ending.reverse()) await close()
  await sites.stop()
})

async function put({ full }: Opened, text: string): Promise<{ readonly cid: string; readonly correlation: string }> {
  const reply = await fetch(`${full.node.apiUrl}/api/v1/objects`, {
    method: 'POST',
    body: text,
    headers: { authorization: `Bearer ${full.token}`, 'content-type': 'application/octet-stream' },
  })
  const { cid } = (await reply.json()) as { readonly cid: string }
  return { cid, correlation: reply.headers.get('stowage-correlation-id') ?? '' }
}

async function missing({ full }: Opened, query = '', method = 'GET'): Promise<Report> {
  const headers = { authorization: `Bearer ${full.token}` }
  const reply = await fetch(`${full.node.apiUrl}/api/v1/missing${query}`, { method, headers })
  const report: unknown = await reply.json()
  if (!reply.ok) throw new Error(JSON.stringify(report))
  return report as Report
}

async function eventsOf({ full }: Opened, query: string): Promise<readonly Event[]> {
  const headers = { authorization: `Bearer ${full.token}`, accept: 'application/x-ndjson' }
  const reply = await fetch(`${full.node.apiUrl}/api/v1/events?${query}`, { headers })
  const lines = (await reply.text()).split('\n').filter((line) => line !== '')
  return lines.map((line) => (JSON.parse(line) as { readonly event: Event }).event)
}

interface Event {
  readonly id: string
  readonly type: string
  readonly source: string
  readonly correlationid: string
  readonly causationid: string
  readonly data: Readonly<Record<string, unknown>>
}

const agree = () => expect.poll(() => differingFacts(hub.nats, paris.nats), waiting).toEqual([])
const heard = () =>
  expect.poll(async () => (await missing(hub)).asked.map(({ site }) => site), waiting).toEqual(['paris'])

test('an announcement tells another site what it is, how large, where it lies and what is wanted for it', async () => {
  await heard()
  await setPolicy(hub.full, { version: 1, rules: [{ name: 'two', copies: 2 }] })
  await expect.poll(async () => (await put(hub, `seen ${Date.now()}`)).cid !== '' && classOf(hub), waiting).toBe('two')
  const { cid, correlation } = await put(hub, 'announced')
  const announced = async () => (await eventsOf(paris, `correlation=${correlation}`)).at(0)
  await expect.poll(async () => (await announced())?.type, waiting).toBe('stowage.object.added.v1')
  const event = await announced()
  expect(event?.source).toMatch(/^\/\/stowage\/hub\/[0-9a-f-]{36}$/)
  expect(event?.data).toMatchObject({ cid: { '/': cid }, size: 9, blocks: 1, store: 'a', policyClass: 'two' })
})

async function classOf(site: Opened): Promise<unknown> {
  return (await eventsOf(site, 'entity=object&verb=added')).at(-1)?.data.policyClass
}

test('what one put causes is one tree of events, also at another site', async () => {
  const { cid, correlation } = await put(hub, 'with all its copies')
  await waitForEvents(hub.full, cid, (events) => events.some(({ type }) => type === 'stowage.copy.satisfied.v1'))
  const events = await eventsOf(hub, `correlation=${correlation}`)
  const verbs = events.map(({ type }) => type.split('.').slice(1, 3).join('.'))
  for (const verb of ['object.added', 'copy.requested', 'copy.made', 'copy.verified', 'copy.satisfied']) {
    expect(verbs.indexOf(verb), `${verb} in ${verbs.join(' ')}`).toBeGreaterThanOrEqual(0)
  }
  expect(verbs.indexOf('copy.requested')).toBeLessThan(verbs.indexOf('copy.made'))
  expect(verbs.indexOf('copy.made')).toBeLessThan(verbs.indexOf('copy.verified'))
  expect(verbs.indexOf('copy.verified')).toBeLessThan(verbs.indexOf('copy.satisfied'))
  // Each but the first is caused by one of them.
  const ids = new Set(events.map(({ id }) => id))
  for (const event of events.slice(1)) expect(ids.has(event.causationid), `${event.type} has no cause`).toBe(true)
  await expect
    .poll(async () => (await eventsOf(paris, `correlation=${correlation}`)).length, waiting)
    .toBe(events.length)
  expect((await eventsOf(hub, `correlation=${correlation}&entity=copy`)).length).toBe(events.length - 1)
})

test('after a cut both sides learn what was put at the other, know the same byte for byte, and catch up by themselves', async () => {
  await agree()
  const link = sites.leaf('paris')
  await link.cut()
  const puts: string[] = []
  for (let i = 0; i < 12; i++)
    for (const site of [hub, paris]) puts.push((await put(site, `apart ${i} at ${site.full.node.apiUrl}`)).cid)
  // Silent for longer than a site may be.
  await expect.poll(async () => (await missing(hub)).asked, waiting).toEqual([])
  expect((await differingFacts(hub.nats, paris.nats)).length).toBeGreaterThanOrEqual(24)
  const mendedAt = new Date().toISOString()
  await link.mend()
  await heard()
  await agree()
  expect((await factsBytes(paris.nats)).size).toBe((await factsBytes(hub.nats)).size)
  // Of the copies too: each lies at both in the end.
  for (const cid of puts) {
    await waitForEvents(hub.full, cid, (events) => events.some(({ type }) => type === 'stowage.copy.satisfied.v1'))
  }
  await agree()
  // Each side has asked the other one once more since then, by itself.
  for (const [site, peer] of [
    [hub, 'paris'],
    [paris, 'hub'],
  ] as const) {
    const caughtUp = async () => (await missing(site)).caughtUp.find((one) => one.site === peer && one.time > mendedAt)
    await expect.poll(caughtUp, waiting).toMatchObject({ behind: 0, unknown: 0 })
  }
  const report = await missing(paris)
  expect(report).toMatchObject({ unknown: { count: 0 }, unplaced: { count: 0 } })
}, 120_000)

test('a site whose log does not come in is told which events and roots it lacks, in few questions', async () => {
  await agree()
  // As if the server had lost it: nothing of paris comes to the hub.
  const { config } = await hub.nats.jsm.streams.info('stowage_events')
  const { sources: _sources, ...alone } = config
  await hub.nats.jsm.streams.update('stowage_events', { ...alone, sources: [] })
  const cids: string[] = []
  for (let i = 0; i < 5; i++) cids.push((await put(paris, `not announced ${i}`)).cid)
  await expect.poll(async () => (await missing(hub)).unknown.count, waiting).toBe(5)
  const report = await missing(hub, '?peer=paris')
  const [late] = report.events
  expect(late?.site).toBe('paris')
  expect(late?.events).toBeGreaterThanOrEqual(5)
  expect(report.unknown.roots.map(({ at }) => at)).toEqual(cids.map(() => ['paris']))
  expect(report.asked[0]?.questions).toBeLessThan(10)
  // Its log is asked for again, and the copies follow.
  const fetched = await missing(hub, '', 'POST')
  expect(fetched.fetched?.joined).toEqual(['paris'])
  await agree()
  for (const cid of cids) {
    await waitForEvents(hub.full, cid, (events) => events.some(({ type }) => type === 'stowage.copy.satisfied.v1'))
  }
  expect(await missing(hub)).toMatchObject({ events: [], unknown: { count: 0 }, unplaced: { count: 0 } })
  await expect(missing(hub, '?peer=nowhere')).rejects.toThrow('heard now: paris')
}, 120_000)

test('any client of NATS finds who answers, and what it may not ask is refused with a reason', async () => {
  const client = await connect({ servers: sites.hub.url })
  ending.push(() => client.close())
  const answers = new Map<string, unknown>()
  for await (const message of await client.requestMany('stowage.qry.main.missing', '{}', {
    maxWait: 2_000,
    maxMessages: 2,
  })) {
    const answer = message.json<{ readonly site: string; readonly behind: readonly unknown[] }>()
    answers.set(answer.site, answer.behind.length)
  }
  // Each site once, whoever is asked.
  expect([...answers.keys()].sort()).toEqual(['hub', 'paris'])
  const ask = async (subject: string, body: object) =>
    (await client.request(subject, JSON.stringify(body), { timeout: 5_000 })).json<Record<string, unknown>>()
  expect(await ask('stowage.qry.main.missing.paris', {})).toMatchObject({ site: 'paris', ranges: [] })
  for (const body of [{ ranges: [{ from: 1 }] }, { positions: { paris: -1 } }, { ranges: 'all' }, { peers: [] }]) {
    expect(await ask('stowage.qry.main.missing.hub', body)).toMatchObject({ code: 'request_invalid' })
  }
})
