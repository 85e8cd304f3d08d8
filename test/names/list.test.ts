import { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { encodeEvent } from '../../src/events/envelope.ts'
import type { NameChange } from '../../src/names/name-entry.ts'
import { verifyIndex } from '../../src/names/rebuild.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, freshDomain, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

async function setAll({ verbs }: TestVerbs, names: readonly string[]): Promise<string> {
  const { cid } = await verbs.put(contextOf(), fileOf('content'), { signal })
  const set = (name: string): NameChange => ({
    kind: 'set',
    name,
    cid: cid.toString(),
    size: null,
    mediaType: null,
    expect: 'absent',
  })
  for (let at = 0; at < names.length; at += 200) {
    await verbs.changeNames(contextOf(), names.slice(at, at + 200).map(set), { signal })
  }
  return cid.toString()
}

async function pagesOf({ verbs }: TestVerbs, prefix: string, limit: number): Promise<string[][]> {
  const pages: string[][] = []
  let cursor: string | undefined
  do {
    const page = await verbs.listNames(prefix, { limit, signal, ...(cursor === undefined ? {} : { cursor }) })
    pages.push(page.names.map(({ name }) => name))
    cursor = page.next
  } while (cursor !== undefined)
  return pages
}

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

test('pages come in the order of UTF-8 bytes, complete and without repetition, at any limit and prefix', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  // U+FB01 sorts before U+1F600 by bytes, after it by UTF-16 code units.
  const names = [
    'a',
    'a b',
    'a.b',
    'a/b',
    'a/b/c',
    'aa',
    'ab',
    'b',
    'é',
    '日本',
    '\u{10400}',
    '豈',
    '\u{1F600}',
    'a-',
    'a_',
  ]
    .map((name) => name.normalize('NFC'))
    .concat(Array.from({ length: 1500 }, (_, i) => `many/${i}`))
  const cid = await setAll(node, names)
  const sorted = [...names].sort(byBytes)
  for (const limit of [1, 7, 100, 1000]) {
    const pages = await pagesOf(node, '', limit)
    expect(pages.flat()).toEqual(sorted)
    for (const page of pages.slice(0, -1)) expect(page).toHaveLength(limit)
  }
  expect((await pagesOf(node, 'a/', 1)).flat()).toEqual(['a/b', 'a/b/c'])
  expect((await pagesOf(node, 'many/1', 50)).flat()).toEqual(sorted.filter((name) => name.startsWith('many/1')))
  expect(await pagesOf(node, 'zzz', 5)).toEqual([[]])
  // More than one multi_last of the server can tell.
  expect((await node.verbs.namesOf(CID.parse(cid), { signal })).map(({ name }) => name)).toEqual(sorted)
  expect(await verifyIndex(node.names, { repair: false, signal })).toMatchObject({ differences: [] })
  await expect(node.verbs.listNames('', { limit: 0, signal })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})

test('another node sees names come and go, and a new one has them at once', async ({ onTestFinished }) => {
  const domain = freshDomain()
  const one = await openTestVerbs(server.url, onTestFinished, { domain })
  const two = await openTestVerbs(server.url, onTestFinished, { domain })
  await setAll(one, ['x', 'y'])
  await vi.waitFor(async () => expect(await pagesOf(two, '', 9)).toEqual([['x', 'y']]))
  await one.verbs.changeNames(contextOf(), [{ kind: 'remove', name: 'x', expect: 'any' }], { signal })
  expect(await pagesOf(one, '', 9)).toEqual([['y']])
  await vi.waitFor(() => expect(two.names.list.size).toBe(1))
  const three = await openTestVerbs(server.url, onTestFinished, { domain })
  expect(await pagesOf(three, '', 9)).toEqual([['y']])
})

test('watches leave no consumer behind', async ({ onTestFinished }) => {
  const domain = freshDomain()
  const one = await openTestVerbs(server.url, onTestFinished, { domain })
  const consumersOf = async () => (await one.nats.jsm.streams.info(`KV_${domain}_names`)).state.consumer_count
  expect(await consumersOf()).toBe(1)
  const closes: (() => unknown)[] = []
  await openTestVerbs(server.url, (close) => closes.push(close as () => unknown), { domain })
  expect(await consumersOf()).toBe(2)
  for (const close of closes.reverse()) await close()
  expect(await consumersOf()).toBe(1)
})

test('who hears that a name was changed sees the change, also when its maker died before the index', async ({
  onTestFinished,
}) => {
  const { verbs, names, log, source } = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const { name } = await verbs.put(contextOf(), fileOf('one'), { name: 'a', signal })
  const { cid } = await verbs.put(contextOf(), fileOf('two'), { signal })
  const data = { name: 'a', cid: { '/': cid.toString() }, size: 3, mediaType: null, previous: name?.revision ?? 0 }
  const event = encodeEvent({ entity: 'name', verb: 'set', key: 'a', subject: 'a', data }, contextOf(), source)
  const [revision] = await log.append([{ event, expect: (await names.log.head('a', signal)).expect }])
  const stale = { kind: 'remove', name: 'a', expect: { revision: name?.revision ?? 0 } } as const
  expect((await verbs.resolveName('a', { signal })).revision).toBe(name?.revision)
  await expect(verbs.changeNames(contextOf(), [stale], { signal })).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
  expect(await verbs.resolveName('a', { signal })).toMatchObject({ revision, cid: cid.toString() })
})
