import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import { run, testFolder } from '../support/cli.ts'
import { startFullNode } from '../support/full-node.ts'
import { httpOf } from '../support/node-http.ts'
import { type Site, type Sites, startSites } from '../support/sites.ts'
import { silent } from '../support/stores.ts'

let sites: Sites
beforeAll(async () => {
  sites = await startSites(['paris'])
})
afterAll(() => sites.stop())

const signal = new AbortController().signal

interface Named {
  readonly cid: string
  readonly revision: number
  readonly heads?: readonly { readonly site: string; readonly cid: string | null }[]
}

/** A whole node at a site, as `stowage serve --nats` starts it there. */
async function openSite({ name, url }: Site) {
  const full = await startFullNode(onTestFinished, { nats: { url }, env: { STOWAGE_SITE: name } })
  const nats = await connectNats(url, readConfig({}).nats, silent)
  onTestFinished(() => nats.close())
  const reader = new LogReader(nats, 'stowage_events', { replicas: 1, waitMs: 10_000 })
  const http = httpOf(full)
  return {
    name,
    http,
    errors: full.errors,
    nats: nats.control,
    cli: async (...argv: string[]) => run(await testFolder(onTestFinished), argv, { env: full.env }),
    async put(path: string, text: string, headers: Readonly<Record<string, string>> = {}): Promise<Named> {
      const { status, json, text: said } = await http.put(path, text, headers)
      if (status !== 200 && status !== 201) throw new Error(`PUT ${path} at ${name}: ${status} ${said}`)
      return json as unknown as Named
    },
    async named(path: string): Promise<Named | undefined> {
      const { status, json } = await http.api(`/names/${path}`)
      return status === 200 ? (json as unknown as Named) : undefined
    },
    async content(path: string): Promise<string> {
      const { status, text } = await http.gateway(`/names/${path}`)
      return `${status} ${text}`
    },
    async events(): Promise<CloudEvent[]> {
      const events: CloudEvent[] = []
      for await (const { payload } of reader.from('stowage.evt.>', 1, signal)) {
        const event = decodeEvent(payload)
        if (event !== undefined) events.push(event)
      }
      return events
    },
  }
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 60_000
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
    await delay(100)
  }
}

const openAll = () => Promise.all([openSite(sites.hub), openSite(sites.leaf('paris'))])
type OpenSite = Awaited<ReturnType<typeof openSite>>

const isEverywhere = (all: readonly OpenSite[], path: string, heads = 1) =>
  until(`${path} has ${heads} heads at all sites`, async () => {
    const found = await Promise.all(all.map((site) => site.named(path)))
    return found.every((entry) => entry !== undefined && (entry.heads?.length ?? 1) === heads)
  })

const verbs = (events: readonly CloudEvent[], verb: string) =>
  events.filter(({ type }) => type.endsWith(`.${verb}.v1`)).map(({ subject }) => subject)

test('a leaf that is cut off goes on, and afterwards both sides have all events and agree on all names', async () => {
  const all = await openAll()
  const [hub, paris] = all
  await hub.put('docs/shared', 'before')
  await paris.put('docs/paris', 'of paris, before')
  await paris.put('docs/gone', 'to be removed')
  for (const path of ['docs/shared', 'docs/paris', 'docs/gone']) await isEverywhere(all, path)

  const link = sites.leaf('paris')
  await link.cut()
  // Put, get and name go on at both sides.
  for (const site of all) {
    await site.put(`only/${site.name}`, `only at ${site.name}`)
    await site.put('docs/shared', `shared, by ${site.name}`)
    expect(await site.content(`only/${site.name}`)).toBe(`200 only at ${site.name}`)
    expect(await site.content('docs/shared')).toBe(`200 shared, by ${site.name}`)
  }
  expect((await hub.http.api('/names/docs/gone', { method: 'DELETE' })).status).toBe(200)
  await paris.put('docs/gone', 'still wanted in paris')
  expect(await paris.named('only/hub')).toBeUndefined()

  await link.mend()
  await isEverywhere(all, 'docs/shared', 2)
  await isEverywhere(all, 'docs/gone', 2)
  for (const site of all) await isEverywhere(all, `only/${site.name}`)

  // Both show both heads and the same winner; what one side has set wins over the other's removal.
  const [atHub, atParis] = [await hub.named('docs/shared'), await paris.named('docs/shared')]
  expect(atHub?.heads).toEqual(atParis?.heads)
  expect(atHub?.cid).toBe(atParis?.cid)
  expect(atHub?.heads?.map(({ site }) => site)).toEqual(['paris', 'hub'])
  expect(await paris.content('docs/gone')).toBe('200 still wanted in paris')
  expect((await hub.named('docs/gone'))?.heads).toMatchObject([{ site: 'paris' }, { site: 'hub', cid: null }])
  for (const site of all) {
    expect((await site.http.api('/names/docs/shared')).headers.get('stowage-name-heads')).toBe('2')
    expect((await site.http.api('/names/docs/shared', { headers: { 'if-none-match': '*' } })).status).toBe(304)
    const page = await site.http.api('/names?prefix=docs/')
    expect(page.json?.names).toHaveLength(3)
    const history = await site.http.api('/names/docs/shared?history=true')
    expect(history.json?.versions).toHaveLength(3)
    // Until that site is heard again its content is unavailable, not absent.
    await until('what is served is read', async () => (await site.content('docs/shared')) === '200 shared, by paris')
    const served = await site.http.gateway('/names/docs/shared')
    expect([served.text, served.headers.get('stowage-name-heads')]).toEqual(['shared, by paris', '2'])
    const reply = await site.nats.request('stowage.qry.main.get', 'docs/shared', { timeout: 10_000 })
    expect([reply.string(), reply.headers?.get('Stowage-Name-Heads')]).toEqual(['shared, by paris', '2'])
    expect((await site.cli('names', 'docs/')).stdout).toMatch(/docs\/shared {2}\(2 heads\)/)
    expect((await site.cli('name', 'get', 'docs/shared')).stderr).toContain('2 sites')
    const branches = (await site.cli('name', 'history', 'docs/shared')).stdout.trim().split('\n')
    expect(branches.map((line) => /\b(hub|paris)\b/.exec(line)?.[0]).sort()).toEqual(['hub', 'hub', 'paris'])
  }

  // The next change replaces both, with the revision that shows them; an older one is refused.
  const stale = await hub.http.put('docs/shared', 'stale', { 'if-match': `"${(atHub?.revision ?? 0) - 1}"` })
  expect(stale.status).toBe(412)
  const agreed = await hub.put('docs/shared', 'agreed', { 'if-match': `"${atHub?.revision}"` })
  await until('both show what was agreed', async () => (await paris.named('docs/shared'))?.cid === agreed.cid)
  await isEverywhere(all, 'docs/shared')

  // Nothing is lost, nothing is there twice, and each index is what its log says.
  await until('both logs hold the same', async () => {
    const [one, other] = await Promise.all(all.map(async (site) => (await site.events()).map(({ id }) => id).sort()))
    return JSON.stringify(one) === JSON.stringify(other)
  })
  for (const site of all) {
    const events = await site.events()
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length)
    expect(verbs(events, 'name.conflicted').sort()).toEqual(['docs/gone', 'docs/shared'])
    expect(verbs(events, 'name.resolved')).toEqual(['docs/shared'])
    const told = (await site.cli('events', '--entity', 'name', '--verb', 'conflicted')).stdout
    expect(told).toContain('docs/shared  (2 heads)')
    const verified = await site.http.api('/index/verify', { method: 'POST' })
    expect(verified.json).toMatchObject({ differences: 0, skipped: 0 })
    const before = await Promise.all(['docs/shared', 'docs/gone'].map((path) => site.named(path)))
    expect((await site.http.api('/index/rebuild', { method: 'POST' })).status).toBe(200)
    expect(await Promise.all(['docs/shared', 'docs/gone'].map((path) => site.named(path)))).toEqual(before)
  }

  // What one side took while they were apart is read at the other one.
  await until('hub reads of paris', async () => (await hub.content('only/paris')) === '200 only at paris')
  await until('paris reads of hub', async () => (await paris.content('only/hub')) === '200 only at hub')
})

test('content that one site took is read at the other one', async () => {
  const all = await openAll()
  const [hub, paris] = all
  await paris.put('far/paris', 'only at paris')
  await hub.put('far/hub', 'only at the hub')
  for (const path of ['far/paris', 'far/hub']) await isEverywhere(all, path)
  await until('hub reads of paris', async () => (await hub.content('far/paris')) === '200 only at paris')
  await until('paris reads of hub', async () => (await paris.content('far/hub')) === '200 only at the hub')

  // Also what it took while it was cut off, which is no absence until it is heard again.
  const link = sites.leaf('paris')
  await link.cut()
  await paris.put('far/cut', 'put while cut off')
  await link.mend()
  await isEverywhere(all, 'far/cut')
  await until('hub reads what paris took', async () => (await hub.content('far/cut')) === '200 put while cut off')
})

test('content that one side deletes while the other one puts it again is served by both afterwards, or by none', async () => {
  const all = await openAll()
  const [hub, paris] = all
  const put = async (site: OpenSite, text: string) => {
    const { status, json } = await site.http.api('/objects', { method: 'POST', body: text })
    if (status !== 201) throw new Error(`POST at ${site.name}: ${status}`)
    return String(json?.cid)
  }
  const remove = async (site: OpenSite, cid: string) =>
    expect((await site.http.api(`/objects/${cid}`, { method: 'DELETE' })).status).toBe(200)
  const texts = ['deleted at the hub, then put', 'put at paris, then deleted', 'deleted in paris, then put']
  const cids = await Promise.all(texts.map((text) => put(hub, text)))
  for (const text of texts) await put(paris, text)
  const [back = '', gone = '', again = ''] = cids
  const logsAreSame = () =>
    until('both logs hold the same', async () => {
      const [one, other] = await Promise.all(all.map(async (site) => (await site.events()).map(({ id }) => id).sort()))
      return JSON.stringify(one) === JSON.stringify(other)
    })
  await logsAreSame()

  const link = sites.leaf('paris')
  await link.cut()
  await remove(hub, back)
  await put(paris, texts[0] ?? '')
  await put(paris, texts[1] ?? '')
  await remove(hub, gone)
  await remove(paris, again)
  await put(hub, texts[2] ?? '')
  await link.mend()
  await logsAreSame()

  for (const site of all) {
    for (const [cid, status] of [
      [back, 200],
      [gone, 410],
      [again, 200],
    ] as const) {
      const what = `${site.name} answers ${status}`
      await until(what, async () => (await site.http.gateway(`/ipfs/${cid}`)).status === status)
      const { json } = await site.http.api(`/why/${cid}`)
      expect([site.name, json?.deleted]).toEqual([site.name, status === 410])
    }
    expect((await site.http.api('/index/verify', { method: 'POST' })).json).toMatchObject({
      differences: 0,
      skipped: 0,
    })
  }
  // Whoever has heard all of it decides anew.
  await put(paris, texts[1] ?? '')
  await until('hub serves it again', async () => (await hub.http.gateway(`/ipfs/${gone}`)).status === 200)
})
