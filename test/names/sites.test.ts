import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { isAppError } from '../../src/errors.ts'
import { headsOf } from '../../src/names/name-heads.ts'
import { NameLog } from '../../src/names/name-log.ts'
import { dumpIndex, rebuildIndex, verifyIndex } from '../../src/names/rebuild.ts'
import { sourcePeer } from '../../src/nats/event-stream.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import { carV1 } from '../support/cars.ts'
import { type Sites, startSites } from '../support/sites.ts'
import { contextOf, fileOf, freshDomain, openTestVerbs, signal } from '../support/verbs.ts'

let sites: Sites
beforeAll(async () => {
  sites = await startSites(['paris'])
})
afterAll(() => sites.stop())

async function openSite(url: string, domain: string, site: string) {
  const node = await openTestVerbs(url, onTestFinished, { domain, site })
  const ids = async () => (await node.names.log.history('n', signal)).map(({ eventId }) => eventId)
  return { ...node, site, ids }
}
type OpenSite = Awaited<ReturnType<typeof openSite>>

async function openBoth() {
  const domain = freshDomain()
  const hub = await openSite(sites.hub.url, domain, 'hub')
  const paris = await openSite(sites.leaf('paris').url, domain, 'paris')
  const join = (one: OpenSite, other: OpenSite) =>
    sourcePeer(one.nats, one.config.layout, { site: other.site, jetstreamDomain: other.site })
  await Promise.all([join(hub, paris), join(paris, hub)])
  return { hub, paris, all: [hub, paris] }
}

/** Each log has all events of both, and each index what its log says. */
async function converged(all: readonly OpenSite[]): Promise<void> {
  const endMs = performance.now() + 60_000
  for (;;) {
    const logs = await Promise.all(all.map(async ({ names }) => (await eventIds(names)).sort().join()))
    if (new Set(logs).size === 1) break
    if (performance.now() > endMs) throw new Error('the logs do not become the same')
    await delay(50)
  }
  for (const { projector } of all) await projector?.waitCaughtUp(10_000, signal)
}

async function eventIds({ reader, source }: OpenSite['names']): Promise<string[]> {
  const ids: string[] = []
  for await (const { subject, payload } of reader.from(`${source.domain}.evt.*.main.>`, 1, signal)) {
    if (!subject.includes('.name.conflicted.')) ids.push(JSON.parse(Buffer.from(payload).toString()).id)
  }
  return ids
}

const put = ({ verbs }: OpenSite, text: string, more: object = {}) =>
  verbs.put(contextOf(), fileOf(text), { name: 'n', signal, ...more })

test('of a name that two sites write all the time, each change replaces all that its log had, and both sites agree', async () => {
  const { hub, paris, all } = await openBoth()
  let refused = 0
  const write = async (site: OpenSite, client: number) => {
    for (let i = 0; i < 25; i++) {
      const seen = await site.verbs.resolveName('n', { signal }).catch(() => undefined)
      // Half of them go by what they have read.
      const more = client % 2 === 0 && seen !== undefined ? { expect: { revision: seen.revision } } : {}
      await put(site, `${site.site} ${client} ${i}`, more).catch((error: unknown) => {
        if (!isAppError(error, 'REVISION_CONFLICT')) throw error
        refused++
      })
    }
  }
  await Promise.all(all.flatMap((site) => [0, 1, 2, 3].map((client) => write(site, client))))
  await converged(all)
  expect(refused).toBeGreaterThan(0)

  for (const { names, site } of all) {
    const history = await names.log.history('n', signal)
    expect(new Set(history.map((version) => version.site))).toEqual(new Set(['hub', 'paris']))
    for (const [at, version] of history.entries()) {
      if (version.site !== site) continue
      const replaced = headsOf(history.slice(0, at)).map(({ eventId }) => eventId)
      expect([...(version.parents ?? [])].sort()).toEqual(replaced.sort())
    }
  }
  const [atHub, atParis] = await Promise.all(all.map(({ verbs }) => verbs.resolveName('n', { signal })))
  expect({ ...atHub, revision: 0 }).toEqual({ ...atParis, revision: 0 })

  for (const { names } of all) {
    const before = await dumpIndex(names, signal)
    expect(await verifyIndex(names, { repair: false, signal })).toMatchObject({ differences: [] })
    await rebuildIndex(names, signal)
    expect(await dumpIndex(names, signal)).toBe(before)
  }
  // A cluster's leader tells one message of a name only: the same comes of it.
  const ofLeader = new LogReader(hub.nats, hub.log.stream, { replicas: 3, waitMs: 5_000 })
  const log = new NameLog(ofLeader, hub.source, (name) => hub.names.index.get(name, signal))
  expect(await log.head('n', signal)).toEqual(await hub.names.log.head('n', signal))
  expect((await paris.names.log.head('n', signal)).version?.cid).toBe(atParis?.cid)
})

/** Both change the name before they hear each other. */
async function conflict(): Promise<Awaited<ReturnType<typeof openBoth>>> {
  const { hub, paris, all } = await openBoth()
  await put(hub, 'base')
  await converged(all)
  const link = sites.leaf('paris')
  await link.cut()
  await put(hub, 'hub')
  await put(paris, 'paris')
  await link.mend()
  await converged(all)
  return { hub, paris, all }
}

const text = (entry: { readonly cid: string } | null | undefined) => entry?.cid

test('a conflict is undone, renamed over and looked at as of then like any change, and is over', async () => {
  const { hub, paris, all } = await conflict()
  const [base, ...two] = await hub.names.log.history('n', signal)
  expect(two.map(({ parents }) => parents)).toEqual([[base?.eventId], [base?.eventId]])
  const entry = await hub.verbs.resolveName('n', { signal })
  expect(entry.heads).toHaveLength(2)
  const stood = (revision: number) => hub.verbs.resolveName(`n@${revision}`, { signal })
  expect(await stood(entry.revision)).toEqual(entry)
  expect(text(await stood(base?.revision ?? 0))).toBe(base?.cid)
  expect((await hub.verbs.resolveName(`n@${new Date().toISOString()}`, { signal })).heads).toEqual(entry.heads)
  expect((await hub.verbs.listNames('', { limit: 10, signal })).names).toEqual([entry])

  // The last that hub heard of was the change in paris: without it the name stood for that of the hub.
  const undone = await hub.verbs.undoName(contextOf(), 'n', undefined, { signal })
  expect(undone.entries[0]?.cid).toBe(two[0]?.cid)
  expect(undone.entries[0]?.heads).toBeUndefined()
  await converged(all)
  expect((await paris.verbs.resolveName('n', { signal })).cid).toBe(two[0]?.cid)

  const again = await conflict()
  const before = await again.paris.verbs.resolveName('n', { signal })
  await again.paris.verbs.renameName(contextOf(), { from: 'n', to: 'm', expect: 'any', replace: false }, { signal })
  await converged(again.all)
  for (const { verbs } of again.all) {
    expect(await verbs.resolveName('m', { signal })).toMatchObject({ cid: before.cid })
    await expect(verbs.resolveName('n', { signal })).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  }
})

test('a command that one site carried out has the same outcome at the other, also where events of others lie between', async () => {
  const { hub, paris, all } = await openBoth()
  const { cid } = await put(hub, 'content')
  await converged(all)
  const change = { kind: 'set', cid: cid.toString(), size: null, mediaType: null, expect: 'any' } as const
  const changes = Array.from({ length: 100 }, (_, i) => ({ ...change, name: `many/${i}` }))
  for (let parted = false; !parted; ) {
    const context = contextOf()
    let done = false
    const between = (async () => {
      while (!done) await Promise.all([0, 1, 2, 3].map((i) => put(paris, `between ${i}`)))
    })()
    const first = await hub.verbs.changeNames(context, changes, { signal })
    await delay(20)
    done = true
    await between
    await converged(all)
    const again = await paris.verbs.changeNames(context, changes, { signal })
    expect(again.repeated).toBe(true)
    const cids = (outcome: typeof first) => outcome.entries.map((entry) => `${entry?.name} ${entry?.cid}`)
    expect(cids(again)).toEqual(cids(first))
    const [begin = 0, end = 0] = [again.sequences[0], again.sequences.at(-1)]
    parted = end - begin >= changes.length
  }
})

const isDeletedAt = ({ verbs }: OpenSite, cid: CID) => verbs.isDeleted(cid, { signal })
const putAlone = ({ verbs }: OpenSite, text: string) => verbs.put(contextOf(), fileOf(text), { signal })
const deleteAt = ({ verbs }: OpenSite, cid: CID) => verbs.deleteObject(contextOf(), cid, { signal, force: false })

/** Two roots in one CAR; the second has no place of its own in the event. */
const pair = (text: string) =>
  [hashBlock(Buffer.from(`before ${text}`), 0x55), hashBlock(Buffer.from(text), 0x55)] as const
const putPair = ({ verbs }: OpenSite, text: string) => {
  const blocks = pair(text)
  const car = carV1(
    blocks.map(({ cid }) => cid),
    blocks,
  )
  const source = (async function* () {
    yield car
  })()
  return verbs.put(contextOf(), { kind: 'car', source }, { signal })
}

/** What is deleted is the same at both, and their indexes are what their logs say. */
async function agree(all: readonly OpenSite[], cid: CID, deleted: boolean): Promise<void> {
  await converged(all)
  for (const site of all) {
    expect([site.site, await isDeletedAt(site, cid)]).toEqual([site.site, deleted])
    expect(await verifyIndex(site.names, { repair: false, signal })).toMatchObject({ differences: [], skipped: 0 })
    const before = await dumpIndex(site.names, signal)
    await rebuildIndex(site.names, signal)
    expect(await dumpIndex(site.names, signal)).toBe(before)
  }
}

test('what one site deletes while the other one puts it again ends the same at both, the later one', async () => {
  const { hub, paris, all } = await openBoth()
  const link = sites.leaf('paris')
  const texts = ['deleted, then put', 'put, then deleted', 'deleted at paris, then put', 'put at hub, then deleted']
  const cids: CID[] = []
  for (const text of texts) {
    cids.push((await putAlone(hub, text)).cid)
    await putAlone(paris, text)
  }
  for (const site of all) await putPair(site, 'of a pair')
  const [first, second, third, fourth] = cids as [CID, CID, CID, CID]
  const ofPair = pair('of a pair')[1].cid
  await converged(all)

  await link.cut()
  await deleteAt(hub, first)
  await deleteAt(hub, ofPair)
  await putAlone(paris, texts[0] ?? '')
  await putAlone(paris, texts[1] ?? '')
  await putPair(paris, 'of a pair')
  await deleteAt(hub, second)
  await deleteAt(paris, third)
  await putAlone(hub, texts[2] ?? '')
  await putAlone(hub, texts[3] ?? '')
  await deleteAt(paris, fourth)
  await link.mend()

  for (const [cid, deleted] of [
    [first, false],
    [second, true],
    [third, false],
    [fourth, true],
    [ofPair, false],
  ] as const) {
    await agree(all, cid, deleted)
  }
  // And what is said now is said in knowledge of all that.
  await deleteAt(paris, first)
  await converged(all)
  await putAlone(hub, texts[0] ?? '')
  await deleteAt(hub, third)
  await agree(all, first, false)
  await agree(all, third, true)
})

test('a site whose clock is late deletes and puts with effect, since it says what it has heard', async () => {
  const { hub, paris, all } = await openBoth()
  const text = 'from the future'
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
  onTestFinished(() => void vi.useRealTimers())
  const { cid } = await putAlone(hub, text)
  vi.useRealTimers()
  await putAlone(paris, text)
  await converged(all)
  await deleteAt(paris, cid)
  await agree(all, cid, true)
  await putAlone(paris, text)
  await agree(all, cid, false)

  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 7_200_000 })
  await deleteAt(hub, cid)
  vi.useRealTimers()
  await agree(all, cid, true)
  await putAlone(paris, text)
  await agree(all, cid, false)
})
