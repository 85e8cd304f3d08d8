import fc from 'fast-check'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { nameKey } from '../../src/names/name.ts'
import { emptyState, foldMessage, imageOf } from '../../src/names/name-fold.ts'
import { Projector } from '../../src/names/projector.ts'
import { dumpIndex, rebuildIndex, verifyIndex } from '../../src/names/rebuild.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

/** Some of everything that changes an index. */
async function actALot({ verbs }: TestVerbs): Promise<void> {
  const names = ['a', 'a/b', 'a/b/c', 'é x', 'z'] as const
  const puts = []
  for (const [i, name] of names.entries()) {
    puts.push(await verbs.put(contextOf(), fileOf(`content ${i}`), { name, signal }))
    await verbs.put(contextOf(), fileOf(`content ${i} again`), { name, signal })
  }
  await verbs.renameName(contextOf(), { from: 'z', to: 'y', expect: 'any', replace: false }, { signal })
  await verbs.changeNames(contextOf(), [{ kind: 'remove', name: 'a/b', expect: 'any' }], { signal })
  await verbs.undoName(contextOf(), 'a', undefined, { signal })
  const [, , third] = puts
  if (third !== undefined) await verbs.deleteObject(contextOf(), third.cid, { signal, force: true })
  const again = await verbs.put(contextOf(), fileOf('gone and back'), { signal })
  await verbs.deleteObject(contextOf(), again.cid, { signal, force: false })
  await verbs.put(contextOf(), fileOf('gone and back'), { signal })
}

test('an index rebuilt from the log is the same, byte for byte', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  await actALot(node)
  await node.projector?.waitCaughtUp(10_000, signal)
  const before = await dumpIndex(node.names, signal)
  expect(before.split('\n').length).toBeGreaterThan(8)
  expect(await verifyIndex(node.names, { repair: false, signal })).toMatchObject({ differences: [] })
  await rebuildIndex(node.names, signal)
  expect(await dumpIndex(node.names, signal)).toBe(before)
  const names = await node.verbs.listNames('', { limit: 100, signal })
  expect(names.names.map(({ name }) => name)).toEqual(['a', 'a/b/c', 'y', 'é x'])
})

test('what somebody wrote into the index, or deleted from it, is found and repaired', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  await actALot(node)
  await node.projector?.waitCaughtUp(10_000, signal)
  const before = await dumpIndex(node.names, signal)
  const { names } = node.names.buckets
  const write = (key: string, value: string) => node.nats.js.publish(names.subject(`main.${key}`), value)
  await write('intruder', '{"name":"intruder","revision":1000000000000}')
  await write(nameKey('a'), '{"cid":"bafkqaaa","name":"a","revision":1000000000000}')
  await write('junk', 'junk')
  await names.purge(`main.${nameKey('y')}`)
  const found = await verifyIndex(node.names, { repair: false, signal })
  expect([...found.differences].sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual([
    { index: 'names', key: 'a', kind: 'different' },
    { index: 'names', key: 'intruder', kind: 'extra' },
    { index: 'names', key: 'junk', kind: 'extra' },
    { index: 'names', key: 'y', kind: 'missing' },
  ])
  expect(await verifyIndex(node.names, { repair: true, signal })).toMatchObject({ repaired: true })
  expect(await verifyIndex(node.names, { repair: false, signal })).toMatchObject({ differences: [] })
  expect(await dumpIndex(node.names, signal)).toBe(before)
})

test('what is changed again between two looks is on its way, and no difference', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, names } = node
  const set = (text: string) => verbs.put(contextOf(), fileOf(text), { name: 'busy', signal })
  await set('one')
  const one = (await node.events()).length
  await set('two')
  await node.projector?.waitCaughtUp(10_000, signal)
  await names.buckets.names.purge(`main.${nameKey('busy')}`)
  let looks = 0
  const whole: typeof names.reader.whole = async function* (...args) {
    const isFirst = ++looks === 1
    for await (const message of names.reader.whole(...args)) if (!isFirst || message.sequence <= one) yield message
  }
  const growing = { ...names, reader: Object.assign(Object.create(names.reader), { whole }) as typeof names.reader }
  expect(await verifyIndex(growing, { repair: true, signal })).toMatchObject({ differences: [] })
  expect(looks).toBe(2)
  // The control: where nothing changes between them, it is one.
  expect(await verifyIndex(names, { repair: true, signal })).toMatchObject({
    differences: [{ index: 'names', key: 'busy', kind: 'missing' }],
  })
})

test('the fold does not mind order or repetition', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  await actALot(node)
  const messages = await node.events()
  const text = (all: typeof messages) => {
    const image = imageOf(all.reduce(foldMessage, emptyState()))
    return [image.names, image.refs, image.deleted].map((map) =>
      [...map].map(([key, value]) => `${key} ${value.toString('utf8')}`).sort(),
    )
  }
  const expected = text(messages)
  fc.assert(
    fc.property(fc.shuffledSubarray([...messages, ...messages], { minLength: messages.length * 2 }), (shuffled) => {
      expect(text(shuffled)).toEqual(expected)
    }),
    { numRuns: 50 },
  )
})

test('the projector makes all indexes and outcomes from the log alone, and poison does not stop it', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const id = uuidv7()
  const put = await node.verbs.put(contextOf(id), fileOf('first'), { name: 'first', signal })
  const { domain } = node
  const poison = async (subject: string, payload: string) => {
    await node.nats.js.publish(`${domain}.evt.local.main.${subject}`, payload)
  }
  await poison('name.set.first', 'not json')
  await poison('name.set.poison', '{}')
  await poison('name.set.poison', JSON.stringify({ specversion: '1.0', id: 'x', data: null }))
  await poison(
    'name.set.poison',
    JSON.stringify({ specversion: '1.0', id: 'x', time: '', owner: '', data: { name: 'other' } }),
  )
  await poison(
    'object.added.junk',
    JSON.stringify({ specversion: '1.0', id: 'x', time: '', owner: '', data: { cid: 7 } }),
  )
  await actALot(node)
  const before = await dumpIndex(node.names, signal)
  for (const bucket of Object.values(node.names.buckets)) await bucket.purge('>')
  const projector = await Projector.start(node.nats, { stream: node.log.stream, names: node.names, site: 'local' })
  onTestFinished(() => projector.close())
  await projector.waitCaughtUp(10_000, signal)
  expect(await dumpIndex(node.names, signal)).toBe(before)
  expect(projector.counts).toMatchObject({ skipped: 5, restarts: 0 })
  // A poisoned name can be set on, and its outcome is known.
  expect(await node.verbs.put(contextOf(id), fileOf('first'), { name: 'first', signal })).toEqual({
    ...put,
    repeated: true,
  })
  const { revision } = await node.verbs.resolveName('first', { signal })
  expect(revision).toBe(put.name?.revision)
  await node.verbs.put(contextOf(), fileOf('second'), { name: 'first', expect: { revision }, signal })
})

test('the projector goes on after its server was away', async ({ onTestFinished }) => {
  const own = await startTestNats()
  const node = await openTestVerbs(own.url, onTestFinished)
  await node.verbs.put(contextOf(), fileOf('before'), { name: 'before', signal })
  await own.kill('SIGKILL')
  const again = await startTestNats({ dataDir: own.dataDir, port: own.port })
  onTestFinished(async () => {
    await again.stop()
    await own.stop()
  })
  const put = await vi.waitFor(() => node.verbs.put(contextOf(), fileOf('after'), { name: 'after', signal }), {
    timeout: 30_000,
  })
  await node.projector?.waitCaughtUp(30_000, signal)
  const other = await openTestVerbs(own.url, onTestFinished, { domain: node.domain })
  expect((await other.verbs.listNames('', { limit: 9, signal })).names.map(({ name }) => name)).toEqual([
    'after',
    'before',
  ])
  expect(await other.names.outcomes.find(put.eventId, signal)).toHaveLength(2)
})

test('outcomes are known when the server has long forgotten the ids', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { config } = await node.nats.jsm.streams.info(node.log.stream)
  await node.nats.jsm.streams.update(node.log.stream, { ...config, duplicate_window: 100_000_000 })
  const id = uuidv7()
  const change = () => node.verbs.put(contextOf(id), fileOf('once'), { name: 'once', signal })
  const first = await change()
  await node.projector?.waitCaughtUp(5_000, signal)
  // Until the window is over: the server takes the id again, which it refuses before.
  const probe = (name: string) => ({ msgID: id, expect: { lastMsgID: undefined }, name })
  await vi.waitFor(
    async () => {
      const ack = await node.nats.js.publish(`${node.domain}.evt.local.main.probe.x`, '{}', { msgID: probe('x').msgID })
      expect(ack.duplicate).toBe(false)
    },
    { timeout: 20_000 },
  )
  expect(await change()).toEqual({ ...first, repeated: true })
  expect((await node.verbs.nameHistory('once', { limit: 10, signal })).versions.length).toBe(1)
})
