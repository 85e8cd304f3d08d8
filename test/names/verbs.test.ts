import { afterAll, beforeAll, expect, test } from 'vitest'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { carV1, inChunks, node, raw } from '../support/cars.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, storyOf } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

test('a put with a name leaves object.added and name.set in one commit, and the name answers at once', async ({
  onTestFinished,
}) => {
  const { verbs, events } = await openTestVerbs(server.url, onTestFinished)
  const put = await verbs.put(contextOf(), fileOf('hello'), { name: 'docs/a.txt', mediaType: 'text/plain', signal })
  expect(put.name).toMatchObject({ name: 'docs/a.txt', cid: put.cid.toString(), size: 5, mediaType: 'text/plain' })
  expect(put.name?.revision).toBe(put.sequence + 1)
  expect(await verbs.resolveName('docs/a.txt', { signal })).toEqual(put.name)
  expect(await verbs.namesOf(put.cid, { signal })).toEqual([put.name])
  expect(await verbs.listNames('docs/', { limit: 10, signal })).toEqual({ names: [put.name] })
  expect(storyOf(await events())).toEqual(['object.added', 'name.set docs/a.txt'])
})

test('set, remove, rename, history, versions and undo', async ({ onTestFinished }) => {
  const { verbs } = await openTestVerbs(server.url, onTestFinished)
  const one = await verbs.put(contextOf(), fileOf('one'), { name: 'a', signal })
  const two = await verbs.put(contextOf(), fileOf('two'), { name: 'a', signal })
  const cidOf = async (reference: string) => (await verbs.resolveName(reference, { signal })).cid
  expect(await cidOf('a')).toBe(two.cid.toString())
  expect(await cidOf(`a@${one.name?.revision}`)).toBe(one.cid.toString())
  expect(await cidOf(`a@${one.name?.time}`)).toBe(one.cid.toString())
  await verbs.renameName(contextOf(), { from: 'a', to: 'b/c', expect: 'any', replace: false }, { signal })
  await expect(cidOf('a')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  expect(await cidOf('b/c')).toBe(two.cid.toString())
  const undone = await verbs.undoName(contextOf(), 'a', undefined, { signal })
  expect(undone.entries).toMatchObject([{ name: 'a', cid: two.cid.toString() }])
  await verbs.undoName(contextOf(), 'a', two.name?.revision, { signal })
  expect(await cidOf('a')).toBe(one.cid.toString())
  const removed = await verbs.changeNames(contextOf(), [{ kind: 'remove', name: 'a', expect: 'any' }], { signal })
  expect(removed.entries).toEqual([null])
  const { versions: history } = await verbs.nameHistory('a', { limit: 1000, signal })
  expect(history.map(({ verb }) => verb)).toEqual(['set', 'set', 'removed', 'set', 'set', 'removed'])
  expect(history.map(({ previous }) => previous)).toEqual([0, ...history.slice(0, -1).map(({ revision }) => revision)])
  expect(await verbs.listNames('', { limit: 10, signal })).toMatchObject({ names: [{ name: 'b/c' }] })
  expect((await verbs.namesOf(two.cid, { signal })).map(({ name }) => name)).toEqual(['b/c'])
  expect(await verbs.namesOf(one.cid, { signal })).toEqual([])
})

test('a partial CAR tells so in its event, and cannot be named: a name stands for content that is all here', async ({
  onTestFinished,
}) => {
  const { verbs, events } = await openTestVerbs(server.url, onTestFinished)
  const top = node([raw('not sent')])
  const upload = () => ({ kind: 'car', source: inChunks(carV1([top.cid], [top]), 64), partial: true }) as const
  await expect(verbs.put(contextOf(), upload(), { name: 'a', signal })).rejects.toMatchObject({
    code: 'REQUEST_INVALID',
  })
  expect((await verbs.put(contextOf(), upload(), { signal })).cid?.toString()).toBe(top.cid.toString())
  const [imported] = await events()
  expect(JSON.parse(Buffer.from(imported?.payload ?? []).toString())).toMatchObject({
    type: expect.stringContaining('object.imported'),
    data: { partial: true, blocks: 1, missing: [{ '/': `${raw('not sent').cid}` }] },
  })
})

test('each root of a CAR, up to 500, has an event by its own key, in one commit with the name, and a repeat answers the same', async ({
  onTestFinished,
}) => {
  const { verbs, names, events } = await openTestVerbs(server.url, onTestFinished)
  const blocks = Array.from({ length: 510 }, (_, i) => raw(`root ${i}`))
  const [first, second] = blocks
  if (first === undefined || second === undefined) throw new Error('no blocks')
  // One is named twice: it is one root.
  const car = carV1(
    [...blocks.slice(0, 3), second, ...blocks.slice(3)].map(({ cid }) => cid),
    blocks,
  )
  const id = uuidv7()
  const put = () => verbs.put(contextOf(id), { kind: 'car', source: inChunks(car, 1000) }, { name: 'a', signal })
  const { roots, ...told } = await put()
  expect([roots.length, told.blocks, told.name?.cid]).toEqual([500, 510, first.cid.toString()])
  const subjects = (await events()).map(({ subject }) => subject.split('.').slice(4).join('.'))
  expect(subjects.filter((subject) => subject.startsWith('object.imported.'))).toHaveLength(499)
  expect(subjects.slice(0, 3)).toEqual([`object.imported.${first.cid}`, 'name.set.a', `object.imported.${second.cid}`])
  expect(await put()).toEqual({ ...told, roots, repeated: true })
  await verbs.deleteObject(contextOf(), second.cid, { signal, force: false })
  await verbs.put(contextOf(), { kind: 'car', source: inChunks(car, 1000) }, { signal })
  expect(await names.objects.lifeOf(second.cid, [], signal)).toMatchObject([{ deleted: false }])
  expect(await verbs.isDeleted(second.cid, { signal })).toBe(false)
})

test('a stale revision is refused, and the refusal is an event that does not move the revision', async ({
  onTestFinished,
}) => {
  const { verbs, events } = await openTestVerbs(server.url, onTestFinished)
  const { name } = await verbs.put(contextOf(), fileOf('one'), { name: 'a', expect: 'absent', signal })
  const revision = name?.revision ?? 0
  const stale = { name: 'a', expect: { revision: revision + 7 }, signal } as const
  await expect(verbs.put(contextOf(), fileOf('two'), stale)).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
  await expect(verbs.put(contextOf(), fileOf('two'), { name: 'a', expect: 'absent', signal })).rejects.toMatchObject({
    code: 'REVISION_CONFLICT',
  })
  const remove = { kind: 'remove', name: 'a', expect: { revision: 1 } } as const
  await expect(verbs.changeNames(contextOf(), [remove], { signal })).rejects.toMatchObject({
    code: 'REVISION_CONFLICT',
  })
  await verbs.put(contextOf(), fileOf('three'), { name: 'a', expect: { revision }, signal })
  expect(storyOf(await events())).toEqual([
    'object.added',
    'name.set a',
    'object.failed',
    'object.failed',
    'name.failed',
    'object.added',
    'name.set a',
  ])
})

test('the same command again has no second effect and gets the first answer', async ({ onTestFinished }) => {
  const { verbs, projector, events } = await openTestVerbs(server.url, onTestFinished)
  const id = uuidv7()
  const put = () => verbs.put(contextOf(id), fileOf('hello'), { name: 'a', expect: 'absent', signal })
  const all = await Promise.all([put(), put(), put(), put()])
  const first = all.find(({ repeated }) => !repeated)
  expect(all.filter(({ repeated }) => !repeated)).toHaveLength(1)
  for (const outcome of all) expect({ ...outcome, repeated: false }).toEqual(first)
  const change = [{ kind: 'remove', name: 'a', expect: 'any' }] as const
  const removal = uuidv7()
  const removed = await verbs.changeNames(contextOf(removal), change, { signal })
  expect(await verbs.changeNames(contextOf(removal), change, { signal })).toEqual({ ...removed, repeated: true })
  await projector?.waitCaughtUp(5_000, signal)
  expect(await verbs.changeNames(contextOf(removal), change, { signal })).toEqual({ ...removed, repeated: true })
  expect(await put()).toEqual({ ...first, repeated: true })
  await expect(verbs.changeNames(contextOf(id), change, { signal })).rejects.toMatchObject({ code: 'COMMAND_ID_TAKEN' })
  expect(storyOf(await events())).toEqual(['object.added', 'name.set a', 'name.removed a', 'name.failed'])
})

test('deleted content is out of view until it is put again; names hold it unless forced', async ({
  onTestFinished,
}) => {
  const { verbs, events } = await openTestVerbs(server.url, onTestFinished)
  const { cid, name } = await verbs.put(contextOf(), fileOf('hello'), { name: 'a', signal })
  const deleting = (force: boolean, id?: string) => verbs.deleteObject(contextOf(id), cid, { signal, force })
  await expect(deleting(false)).rejects.toMatchObject({ code: 'OBJECT_NAMED' })
  const id = uuidv7()
  const deleted = await deleting(true, id)
  expect(deleted).toMatchObject({ cid: cid.toString(), namesRemoved: ['a'], repeated: false })
  expect(await verbs.isDeleted(cid, { signal })).toBe(true)
  await expect(verbs.resolveName('a', { signal })).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  expect(await deleting(true, id)).toEqual({ ...deleted, repeated: true })
  await expect(deleting(true)).rejects.toMatchObject({ code: 'OBJECT_DELETED' })
  const set = { kind: 'set', name: 'b', cid: name?.cid ?? '', size: 5, mediaType: null, expect: 'any' } as const
  await expect(verbs.changeNames(contextOf(), [set], { signal })).rejects.toMatchObject({ code: 'OBJECT_DELETED' })
  await verbs.put(contextOf(), fileOf('hello'), { signal })
  expect(await verbs.isDeleted(cid, { signal })).toBe(false)
  expect(storyOf(await events())).toContain('name.removed a')
})

test('naming what is stored already tells its size, and what cannot be named or undone leaves a failure event', async ({
  onTestFinished,
}) => {
  const { verbs, events } = await openTestVerbs(server.url, onTestFinished)
  const { cid } = await verbs.put(contextOf(), fileOf('hello'), { signal })
  const set = (name: string, cid: string) =>
    verbs.changeNames(contextOf(), [{ kind: 'set', name, cid, size: null, mediaType: null, expect: 'any' }], { signal })
  expect((await set('a', cid.toString())).entries).toMatchObject([{ name: 'a', size: 5 }])
  const absent = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
  await expect(set('b', absent)).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  await expect(verbs.undoName(contextOf(), 'never', undefined, { signal })).rejects.toMatchObject({
    code: 'NAME_NOT_FOUND',
  })
  await verbs.idle()
  expect(storyOf(await events())).toEqual(['object.added', 'name.set a', 'name.failed', 'name.failed'])
})
