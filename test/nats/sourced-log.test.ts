import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Draft, encodeEvent } from '../../src/events/envelope.ts'
import { Feed } from '../../src/events/feed.ts'
import { EventLog } from '../../src/events/log.ts'
import { openEventStream, sourcedSites, sourcePeer, unsourcePeer } from '../../src/nats/event-stream.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import { contextOf } from '../support/event-log.ts'
import { type Site, type Sites, startSites } from '../support/sites.ts'
import { openTestStore } from '../support/stores.ts'

let sites: Sites
beforeAll(async () => {
  sites = await startSites(['paris', 'berlin'])
})
afterAll(() => sites.stop())

const signal = new AbortController().signal

async function openSite({ name, url }: Site, domain: string) {
  const { nats, config } = await openTestStore(url, onTestFinished, { DOMAIN: domain, SITE: name, SHARDS: '1' })
  const stream = await openEventStream(nats, config.layout)
  const log = new EventLog(nats, stream, 10_000)
  const reader = new LogReader(nats, stream, { replicas: 1, waitMs: 5_000 })
  const feed = new Feed({ nats, stream, domain, site: name, space: 'main', waitMs: 5_000 })
  const encode = (key: string, id?: string) => {
    const draft: Draft = { entity: 'name', verb: 'set', key, subject: key, data: { key } }
    return encodeEvent(draft, contextOf(), { domain, site: name, space: 'main', node: 'test' }, id)
  }
  return {
    name,
    nats,
    layout: config.layout,
    stream,
    log,
    feed,
    encode,
    /** One commit of this many events. */
    commit: (from: number, count: number) =>
      log.append(Array.from({ length: count }, (_, i) => ({ event: encode(`${name}-${from + i}`) }))),
    source: (peer: string) => sourcePeer(nats, config.layout, { site: peer, jetstreamDomain: peer }),
    /** The keys of all events, in the order of this log. */
    async keys(): Promise<string[]> {
      const keys: string[] = []
      for await (const { subject } of reader.from(`${domain}.evt.>`, 1, signal))
        keys.push(subject.split('.').at(-1) ?? '')
      return keys
    },
  }
}
type OpenSite = Awaited<ReturnType<typeof openSite>>

const openAll = (domain: string): Promise<OpenSite[]> =>
  Promise.all([sites.hub, ...sites.leaves].map((site) => openSite(site, domain)))

/** Every one takes up the events of every other one. */
async function connectAll(all: readonly OpenSite[]): Promise<void> {
  await Promise.all(all.flatMap((site) => all.filter((peer) => peer !== site).map((peer) => site.source(peer.name))))
}

async function until(what: string, isSo: () => Promise<boolean>, msMax = 120_000): Promise<void> {
  const endMs = performance.now() + msMax
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
    await delay(50)
  }
}

/** All logs have this many events. */
const reach = (all: readonly OpenSite[], count: number): Promise<void> =>
  until(`each log has ${count} events`, async () => {
    const lengths = await Promise.all(all.map(async (site) => (await site.keys()).length))
    return lengths.every((length) => length >= count)
  })

const expected = (site: OpenSite, count: number) => Array.from({ length: count }, (_, i) => `${site.name}-${i}`)

test('a leaf that was cut off and the others catch up in both directions: nothing lost, nothing twice, in order', async () => {
  const all = await openAll('cutoff')
  const [, paris] = all
  await connectAll(all)
  for (const site of all) await site.commit(0, 20)
  await reach(all, 60)

  const link = sites.leaf('paris')
  await link.cut()
  // Each of these is acknowledged by the site's own log, at once.
  for (let i = 20; i < 40; i++) for (const site of all) await site.commit(i, 1)
  const cutOff = await paris?.keys()
  expect(cutOff?.filter((key) => !key.startsWith('paris'))).toHaveLength(40)
  expect(cutOff?.filter((key) => key.startsWith('paris'))).toHaveLength(40)

  await link.mend()
  await reach(all, 120)
  for (const site of all) {
    const keys = await site.keys()
    expect(new Set(keys).size).toBe(120)
    expect(keys).toHaveLength(120)
    for (const origin of all) {
      expect(keys.filter((key) => key.startsWith(origin.name))).toEqual(expected(origin, 40))
    }
  }
})

test.each([
  ['paris', 'its server is killed'],
  ['paris', 'its link lets nothing through and nobody is told'],
])(
  '%s: when %s while all write, each log has all events once, in order',
  async (name, trouble) => {
    const all = await openAll(`trouble${name}${trouble.length}`)
    await connectAll(all)
    const count = 150
    const writing = Promise.all(
      all.map(async (site) => {
        for (let i = 0; i < count; i++) {
          await site.commit(i, 1)
          await delay(5)
        }
      }),
    )
    const site = sites.leaf(name)
    await delay(200)
    if (trouble.startsWith('its server')) {
      await site.kill()
      await site.start()
    } else {
      site.link.stall()
      await delay(500)
      await site.mend()
    }
    await writing
    await reach(all, 3 * count)
    for (const one of all) {
      const keys = await one.keys()
      expect(keys).toHaveLength(3 * count)
      for (const origin of all) {
        expect(keys.filter((key) => key.startsWith(origin.name))).toEqual(expected(origin, count))
      }
    }
  },
  180_000,
)

test('who follows the log of a site hears the events of all sites once, in the order of that log', async () => {
  const all = await openAll('followed')
  const [hub, paris] = all
  if (hub === undefined || paris === undefined) throw new Error('no sites')
  await connectAll(all)
  const stop = new AbortController()
  const heard: { readonly sequence: number; readonly key: unknown }[] = []
  const following = (async () => {
    for await (const { sequence, event } of paris.feed.follow({}, 0, { signal: stop.signal, live: true })) {
      heard.push({ sequence, key: event.data.key })
    }
  })().catch(() => undefined)
  for (let i = 0; i < 30; i++) await Promise.all(all.map((site) => site.commit(i, 1)))
  await until('all is heard', async () => heard.length >= 90)
  await reach(all, 90)
  stop.abort()
  await following
  expect(heard.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 90 }, (_, i) => i + 1))
  expect(heard.map(({ key }) => key)).toEqual(await paris.keys())
})

test('nodes that add different sites at once lose none, and a restart changes nothing', async () => {
  const { hub } = sites
  const nodes = await Promise.all([openSite(hub, 'atonce'), openSite(hub, 'atonce')])
  await Promise.all(nodes.flatMap((node, at) => ['a', 'b', 'c'].map((peer) => node.source(`${peer}${at}`))))
  const [first] = nodes
  if (first === undefined) throw new Error('no node')
  const wanted = ['a0', 'a1', 'b0', 'b1', 'c0', 'c1']
  expect((await sourcedSites(first.nats, first.layout)).sort()).toEqual(wanted)
  // As an earlier version made it: what the stream is to have is brought up to date, and its sources stay.
  const { config } = await first.nats.jsm.streams.info(first.stream)
  await first.nats.jsm.streams.update(first.stream, {
    ...config,
    republish: { src: 'atonce.evt.>', dest: 'atonce.live.>' },
  })
  await openEventStream(first.nats, first.layout)
  const { republish } = (await first.nats.jsm.streams.info(first.stream)).config
  expect(republish?.dest).toBe('atonce.live.hub.>')
  await first.source('a0')
  expect((await sourcedSites(first.nats, first.layout)).sort()).toEqual(wanted)
  await unsourcePeer(first.nats, first.layout, 'b0')
  expect((await sourcedSites(first.nats, first.layout)).sort()).toEqual(wanted.filter((name) => name !== 'b0'))
})

test('a site that nobody can reach does not hold up what is written here', async () => {
  const node = await openSite(sites.hub, 'unreachable')
  await node.source('nowhere')
  for (let i = 0; i < 10; i++) await node.commit(i, 1)
  expect(await node.keys()).toEqual(expected(node, 10))
})

test('a compare-and-set sees what came from another site', async () => {
  const all = await openAll('compared')
  const [hub, paris] = all
  if (hub === undefined || paris === undefined) throw new Error('no sites')
  await connectAll(all)
  await paris.log.append([{ event: paris.encode('shared') }])
  await reach(all, 1)
  const filter = 'compared.evt.*.main.name.*.shared'
  const late = hub.log.append([{ event: hub.encode('shared'), expect: { filter, lastSequence: 0 } }])
  await expect(late).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
  await hub.log.append([{ event: hub.encode('shared'), expect: { filter, lastSequence: 1 } }])
})

test('the same command carried out at two sites that did not hear each other is in both logs twice', async () => {
  const all = await openAll('repeated')
  const [, paris, berlin] = all
  if (paris === undefined || berlin === undefined) throw new Error('no sites')
  await connectAll(all)
  await paris.commit(0, 1)
  await reach(all, 1)
  const link = sites.leaf('paris')
  await link.cut()
  const id = crypto.randomUUID()
  await paris.log.append([{ event: paris.encode('paris-command', id) }])
  await berlin.log.append([{ event: berlin.encode('berlin-command', id) }])
  await link.mend()
  await reach(all, 3)
})
