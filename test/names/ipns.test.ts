import { AckPolicy } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createIpnsResolver, parseIpnsName } from '../../src/content/resolve-ipns.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { Projector } from '../../src/names/projector.ts'
import { dumpIndex, rebuildIndex, verifyIndex } from '../../src/names/rebuild.ts'
import { testKey, testRecord } from '../support/ipns.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, storyOf, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const content = '/ipfs/bafkqablimvwgy3y'
const other = '/ipfs/bafkqaaa'

const resolverOf = (
  { names, config }: TestVerbs,
  lookupDnsLink?: Parameters<typeof createIpnsResolver>[0]['lookupDnsLink'],
) => createIpnsResolver({ names, limits: config.limits, ...(lookupDnsLink === undefined ? {} : { lookupDnsLink }) })

async function resolve(node: TestVerbs, name: string) {
  const { path, maxAgeSeconds } = await resolverOf(node).resolve(parseIpnsName(name), { signal })
  return { path: `/ipfs/${[path.root, ...path.segments].join('/')}`, maxAgeSeconds }
}

const take = (node: TestVerbs, name: string, bytes: Uint8Array, id?: string) =>
  node.verbs.importRecord(contextOf(id), name, bytes, { signal })

const link = (node: TestVerbs, domain: string, value: string, ttlSeconds: number | null = null) =>
  node.verbs.setDnsLink(contextOf(), domain, { value, ttlSeconds }, { signal })

test('a record is taken, resolved and given out as it came', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const bytes = testRecord(key, { value: `${content}`, sequence: 3n, ttlSeconds: 90 })
  const { entry, sequence } = await take(node, key.cid.toString(), bytes)
  expect(entry).toMatchObject({ name: key.name, kind: 'record', value: content, sequence: '3', ttlSeconds: 90 })
  expect(entry?.revision).toBe(sequence)
  expect(await resolve(node, key.name)).toEqual({ path: content, maxAgeSeconds: 90 })
  const record = await resolverOf(node).record(parseIpnsName(key.name), { signal })
  expect(Buffer.from(record.bytes).equals(bytes)).toBe(true)
  expect(storyOf(await node.events())).toEqual([`ipns.published ${key.name}`])
  expect(await node.verbs.listIpns({ limit: 10, signal })).toMatchObject({ entries: [{ name: key.name }] })
})

test('a sequence never goes back, also not after a removal, and of equal ones the longer one counts', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const record = (sequence: bigint, value = content, lifetimeSeconds = 1000) =>
    testRecord(key, { value, sequence, lifetimeSeconds })
  const conflict = expect.objectContaining({ code: 'REVISION_CONFLICT' })
  const first = record(5n)
  await take(node, key.name, first)
  await expect(take(node, key.name, record(4n))).rejects.toEqual(conflict)
  expect(await take(node, key.name, record(5n, other, 500))).toMatchObject({
    sequence: undefined,
    entry: { value: content },
  })
  expect(await take(node, key.name, first)).toMatchObject({ sequence: undefined, entry: { value: content } })
  expect(await take(node, key.name, record(5n, other, 2000))).toMatchObject({ entry: { value: other } })
  await node.verbs.removeIpns(contextOf(), key.name, { signal })
  await expect(resolve(node, key.name)).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED' })
  await expect(take(node, key.name, record(4n))).rejects.toEqual(conflict)
  expect(await take(node, key.name, record(6n))).toMatchObject({ entry: { value: content, sequence: '6' } })
  expect(storyOf(await node.events()).map((line) => line.split(' ')[0])).toEqual([
    'ipns.published',
    'ipns.failed',
    'ipns.published',
    'ipns.removed',
    'ipns.failed',
    'ipns.published',
  ])
})

test('of two nodes that take records of one key at once, none lowers its sequence', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const second = await openTestVerbs(server.url, onTestFinished, { domain: node.domain, projector: false })
  const keys = Array.from({ length: 60 }, () => testKey())
  await Promise.all(
    keys.map(async (key) => {
      // The higher one first: whoever read before it was there must hear of it.
      const high = take(node, key.name, testRecord(key, { value: other, sequence: 2n }))
      const low = take(second, key.name, testRecord(key, { value: content, sequence: 1n }))
      await Promise.allSettled([high, low])
      expect(await node.verbs.getIpns(key.name, { signal })).toMatchObject({ sequence: '2', value: other })
    }),
  )
  const last = new Map<string, string>()
  for (const { subject, payload } of await node.events()) {
    const { data } = JSON.parse(Buffer.from(payload).toString()) as { data: { name: string; sequence: string } }
    if (subject.includes('.ipns.published.')) last.set(data.name, data.sequence)
  }
  expect([...last.values()]).toEqual(keys.map(() => '2'))
})

test('a command that comes twice has one effect', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const id = uuidv7()
  const bytes = testRecord(key, { value: content })
  const first = await take(node, key.name, bytes, id)
  await take(node, key.name, testRecord(key, { value: other, sequence: 9n }))
  await node.projector?.waitCaughtUp(10_000, signal)
  expect(await take(node, key.name, bytes, id)).toEqual({ ...first, repeated: true })
  await expect(node.verbs.put(contextOf(id), fileOf('x'), { signal })).rejects.toMatchObject({
    code: 'COMMAND_ID_TAKEN',
  })
})

test('what is not valid, has expired or belongs to another key is refused, and leaves a failure event', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const bad = [
    Buffer.from('garbage'),
    testRecord(key, { value: content, lifetimeSeconds: -1 }),
    testRecord(testKey(), { value: content }),
    testRecord(key, { value: '/elsewhere' }),
    testRecord(key, { value: content, v1: {}, signatureV2: null, data: null }),
  ]
  for (const bytes of bad) await expect(take(node, key.name, bytes)).rejects.toMatchObject({ code: 'IPNS_INVALID' })
  await expect(take(node, 'example.org', testRecord(key, { value: content }))).rejects.toMatchObject({
    code: 'IPNS_INVALID',
  })
  expect(await node.verbs.listIpns({ limit: 10, signal })).toMatchObject({ entries: [] })
})

test('a record that has expired since resolves no more, and its age never outlives it', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const validity = Date.now() + 1500
  await take(
    node,
    key.name,
    testRecord(key, { value: content, ttlSeconds: 3600, validity: new Date(validity).toISOString() }),
  )
  const { maxAgeSeconds } = await resolve(node, key.name)
  expect(maxAgeSeconds).toBeLessThanOrEqual(1)
  await expect
    .poll(() => resolve(node, key.name).then(String, (error: { code: string }) => error.code), { timeout: 5_000 })
    .toBe('IPNS_UNRESOLVED')
})

test('names lead to names, paths add up, and the least time counts', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const [a, b] = [testKey(), testKey('rsa')]
  await take(node, a.name, testRecord(a, { value: `/ipns/${b.name}/x`, ttlSeconds: 300 }))
  await take(node, b.name, testRecord(b, { value: `${content}/y/`, ttlSeconds: 200 }))
  await link(node, 'Site.Example.org', `/ipns/${a.cid}/z`, 250)
  await link(node, 'quiet.example.org', `/ipns/${a.name}`)
  expect(await resolve(node, a.name)).toEqual({ path: `${content}/y/x`, maxAgeSeconds: 200 })
  expect(await resolve(node, 'site.example.org')).toEqual({ path: `${content}/y/x/z`, maxAgeSeconds: 200 })
  expect(await resolve(node, 'quiet.example.org')).toEqual({ path: `${content}/y/x`, maxAgeSeconds: undefined })
})

test('a name that leads to itself, or through more than 32, is refused', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  await link(node, 'a.example.org', '/ipns/b.example.org')
  await link(node, 'b.example.org', '/ipns/a.example.org/more')
  await expect(resolve(node, 'a.example.org')).rejects.toMatchObject({ code: 'PATH_INVALID' })
  await link(node, '0.chain.example', content)
  for (let at = 1; at <= 32; at++) await link(node, `${at}.chain.example`, `/ipns/${at - 1}.chain.example`)
  expect(await resolve(node, '31.chain.example')).toMatchObject({ path: content })
  await expect(resolve(node, '32.chain.example')).rejects.toMatchObject({ code: 'PATH_INVALID' })
})

test('of a domain our own DNSLink counts first, then a name, then the DNS', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const asked: string[] = []
  const resolver = resolverOf(node, async (domain) => {
    asked.push(domain)
    return domain === 'known.example.org' ? { value: content, ttlSeconds: 60 } : undefined
  })
  const find = async (name: string) => (await resolver.resolve(parseIpnsName(name), { signal })).path.root.toString()
  expect(await find('known.example.org')).toBe('bafkqablimvwgy3y')
  await expect(find('unknown.example.org')).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED' })
  const put = await node.verbs.put(contextOf(), fileOf('a site'), { name: 'known.example.org', signal })
  expect(await find('known.example.org')).toBe(put.cid.toString())
  await link(node, 'known.example.org', other)
  expect(await find('known.example.org')).toBe('bafkqaaa')
  expect(asked).toEqual(['known.example.org', 'unknown.example.org'])
})

test('a DNSLink that is no path of content, or that is set for a key, is refused', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  for (const value of [
    '',
    'hello',
    '/ipfs/',
    '/ipfs/nothing',
    '/ipns/',
    '/ipns/x',
    '/http/example.org',
    '/ipfs/bafkqaaa/..',
  ]) {
    await expect(link(node, 'a.example.org', value), value).rejects.toMatchObject({
      code: expect.stringMatching(/_INVALID$/),
    })
  }
  await expect(link(node, testKey().name, content)).rejects.toMatchObject({ code: 'IPNS_INVALID' })
})

test('the index of records is made from the log: verified, repaired and rebuilt byte for byte', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const keys = [testKey(), testKey(), testKey()]
  for (const key of keys) await take(node, key.name, testRecord(key, { value: content }))
  const [first, second] = keys
  await take(node, first?.name ?? '', testRecord(first ?? testKey(), { value: other, sequence: 1n }))
  await node.verbs.removeIpns(contextOf(), second?.name ?? '', { signal })
  await link(node, 'a.example.org', content)
  await node.projector?.waitCaughtUp(10_000, signal)
  const before = await dumpIndex(node.names, signal)
  expect(before.split('\n').filter((line) => line.startsWith('ipns '))).toHaveLength(3)
  expect(await verifyIndex(node.names, { repair: false, signal })).toMatchObject({ differences: [] })
  await node.names.buckets.ipns.purge(`main.${first?.name}`)
  expect(await verifyIndex(node.names, { repair: true, signal })).toMatchObject({
    differences: [{ index: 'ipns', key: first?.name, kind: 'missing' }],
  })
  expect(await dumpIndex(node.names, signal)).toBe(before)
  await rebuildIndex(node.names, signal)
  expect(await dumpIndex(node.names, signal)).toBe(before)
})

test('what somebody wrote into the index is not believed: its signature is checked again', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const key = testKey()
  const { entry } = await take(node, key.name, testRecord(key, { value: content }))
  const forged = testRecord(testKey(), { value: other }).toString('base64')
  const text = JSON.stringify({ ...entry, value: other, record: forged, revision: 1e9 })
  await node.nats.js.publish(node.names.buckets.ipns.subject(`main.${key.name}`), text)
  await expect(resolve(node, key.name)).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED' })
})

test('a projector of an earlier version learns of the records when it is started anew', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const { domain, names } = node
  await node.nats.jsm.consumers.add(node.log.stream, {
    durable_name: 'index-local-main',
    filter_subjects: [`${domain}.evt.*.main.name.set.>`],
    ack_policy: AckPolicy.Explicit,
    ack_wait: 5e9,
    max_ack_pending: 1024,
    max_deliver: -1,
  })
  const projector = await Projector.start(node.nats, { stream: node.log.stream, names, site: 'local' })
  onTestFinished(() => projector.close())
  const key = testKey()
  await take(node, key.name, testRecord(key, { value: content }))
  await projector.waitCaughtUp(10_000, signal)
  await expect.poll(() => projector.counts.events, { timeout: 10_000 }).toBe(1)
})
