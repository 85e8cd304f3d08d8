import { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Upload } from '../../src/content/verbs.ts'
import { canonicalJson, type Json, link as linkTo } from '../../src/events/canonical.ts'
import { type Context, encodeEvent } from '../../src/events/envelope.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { nameKey } from '../../src/names/name.ts'
import type { NameChange } from '../../src/names/name-entry.ts'
import { carV1, inChunks, node, raw } from '../support/cars.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, storyOf, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const taken = { code: 'COMMAND_ID_TAKEN' }
const anonymous = (id: string): Context => ({ ...contextOf(id), principal: 'anonymous', idScope: 'anonymous' })
/** From here on an id is looked up where it stays for days, not in the last minutes of the log. */
const remembered = ({ projector }: TestVerbs) => projector?.waitCaughtUp(5_000, signal)

async function isStored({ verbs }: TestVerbs, upload: Upload): Promise<boolean> {
  const { newBlocks } = await verbs.put(contextOf(), upload, { signal })
  return newBlocks === 0
}

test('an id that a put used is refused for any other put, at once and later, and nothing of that is stored', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, names } = node
  const id = uuidv7()
  const named = { name: 'a', expect: 'any', mediaType: 'text/plain', signal } as const
  const first = await verbs.put(contextOf(id), fileOf('body A'), named)
  const refusals = async () => {
    await expect(verbs.put(contextOf(id), fileOf('body B'), named)).rejects.toMatchObject(taken)
    await expect(verbs.put(contextOf(id), fileOf('body A'), { ...named, name: 'b' })).rejects.toMatchObject(taken)
    await expect(verbs.put(contextOf(id), fileOf('body A'), { signal })).rejects.toMatchObject(taken)
    for (const other of [{ mediaType: 'text/html' }, { expect: 'absent' }] as const) {
      await expect(verbs.put(contextOf(id), fileOf('body A'), { ...named, ...other })).rejects.toMatchObject(taken)
    }
    const forBob = { ...contextOf(id), owner: 'bob' }
    await expect(verbs.put(forBob, fileOf('body A'), named)).rejects.toMatchObject(taken)
    expect(await verbs.put(contextOf(id), fileOf('body A'), named)).toEqual({ ...first, repeated: true })
  }
  await refusals()
  await remembered(node)
  await refusals()
  expect(await names.index.get('b', signal)).toBeUndefined()
  expect((await verbs.resolveName('a', { signal })).cid).toBe(first.cid.toString())
  // Refused once its id was remembered: read, and not written.
  await expect(verbs.put(contextOf(id), fileOf('body C'), named)).rejects.toMatchObject(taken)
  expect(await isStored(node, fileOf('body C'))).toBe(false)
})

test('of several puts with one id at once, one is taken, and the others are told when they are not the same', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const id = uuidv7()
  const outcomes = await Promise.allSettled(
    ['one', 'two', 'three', 'one'].map((text) => node.verbs.put(contextOf(id), fileOf(text), { signal })),
  )
  const done = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
  expect(new Set(done.map(({ cid }) => cid.toString())).size).toBe(1)
  expect(done.filter(({ repeated }) => !repeated)).toHaveLength(1)
  expect(refused.length).toBeGreaterThanOrEqual(2)
  for (const error of refused) expect(error).toMatchObject(taken)
})

test('an id of one kind of command is refused for every other kind', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, events } = node
  const { cid } = await verbs.put(contextOf(), fileOf('hello'), { name: 'a', signal })
  const set = { kind: 'set', name: 'b', cid: cid.toString(), size: null, mediaType: null, expect: 'any' } as const
  const removal = { kind: 'remove', name: 'a', expect: 'any' } as const
  const rename = { from: 'a', to: 'c', expect: 'any', replace: false } as const
  const commands: Record<string, (id: string) => Promise<unknown>> = {
    put: (id) => verbs.put(contextOf(id), fileOf('more'), { signal }),
    set: (id) => verbs.changeNames(contextOf(id), [set], { signal }),
    twice: (id) => verbs.changeNames(contextOf(id), [set, { ...set, name: 'd' }], { signal }),
    rename: (id) => verbs.renameName(contextOf(id), { ...rename, from: 'b' }, { signal }),
    undo: (id) => verbs.undoName(contextOf(id), 'c', undefined, { signal }),
    remove: (id) => verbs.changeNames(contextOf(id), [removal], { signal }),
    delete: (id) => verbs.deleteObject(contextOf(id), cid, { signal, force: true }),
    link: (id) => verbs.setDnsLink(contextOf(id), 'a.example', { value: `/ipfs/${cid}`, ttlSeconds: null }, { signal }),
    unlink: (id) => verbs.removeIpns(contextOf(id), 'a.example', { signal }),
  }
  const ids = new Map<string, string>()
  for (const [kind, run] of Object.entries(commands)) {
    const id = uuidv7()
    await run(id)
    ids.set(kind, id)
    for (const [other, used] of ids) {
      if (other !== kind) await expect(run(used), `${kind} with the id of ${other}`).rejects.toMatchObject(taken)
    }
  }
  await remembered(node)
  for (const [other, run] of Object.entries(commands)) {
    for (const [kind, id] of ids) {
      if (other === kind) await expect(run(id), kind).resolves.toMatchObject({ repeated: true })
      else await expect(run(id), `${other} with the id of ${kind}`).rejects.toMatchObject(taken)
    }
  }
  const told = (await events()).filter(({ subject }) => subject.includes('.failed.'))
  expect(told.length).toBeGreaterThan(0)
})

test('a stranger who uses an id first takes nothing from whom it belongs to', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, events } = node
  const put = (context: Context, text: string) => verbs.put(context, fileOf(text), { name: 'n', signal })
  const strange = await put(anonymous('order-7'), 'strange')
  const wanted = await put(contextOf('order-7'), 'wanted')
  expect(wanted).toMatchObject({ repeated: false, eventId: 'order-7' })
  expect(strange.eventId).not.toBe('order-7')
  expect((await verbs.resolveName('n', { signal })).cid).toBe(wanted.cid.toString())
  for (const look of [async () => undefined, () => remembered(node)]) {
    await look()
    expect(await put(contextOf('order-7'), 'wanted')).toEqual({ ...wanted, repeated: true })
    expect(await put(anonymous('order-7'), 'strange')).toEqual({ ...strange, repeated: true })
    await expect(put(anonymous('order-7'), 'wanted')).rejects.toMatchObject(taken)
  }
  // Nothing of the refused is in the history of the name.
  expect(storyOf(await events()).filter((one) => one === 'name.set n')).toHaveLength(2)
  expect((await verbs.nameHistory('n', { limit: 10, signal })).versions.at(-1)?.heads).toBeUndefined()
})

test('of partial CARs with the same root only the very same one is a repeat', async ({ onTestFinished }) => {
  const { verbs } = await openTestVerbs(server.url, onTestFinished)
  const leaves = ['a', 'b'].map((text) => raw(text))
  const top = node(leaves)
  const put = (id: string, blocks: Parameters<typeof carV1>[1]) => {
    const source = inChunks(carV1([top.cid], blocks), 64)
    return verbs.put(contextOf(id), { kind: 'car', source, partial: true }, { signal })
  }
  const id = uuidv7()
  const first = await put(id, leaves.slice(0, 1))
  expect(await put(id, leaves.slice(0, 1))).toEqual({ ...first, repeated: true })
  await expect(put(id, leaves.slice(1))).rejects.toMatchObject(taken)
})

test('a condition that was found by a list, or that there is one, is the same when it is asked again', async ({
  onTestFinished,
}) => {
  const { verbs } = await openTestVerbs(server.url, onTestFinished)
  const { name } = await verbs.put(contextOf(), fileOf('one'), { name: 'a', signal })
  const id = uuidv7()
  const put = (revision = 0) =>
    verbs.put(contextOf(id), fileOf('two'), { name: 'a', expect: { revision, given: '*' }, signal })
  const first = await put(name?.revision)
  expect(await put(first.name?.revision)).toEqual({ ...first, repeated: true })
})

/** As events were written before they said what was asked. */
async function asBefore<T>({ log }: TestVerbs, command: () => Promise<T>): Promise<T> {
  const append = log.append.bind(log)
  log.append = (commits) =>
    append(
      commits.map((one) => {
        const { asked: _, ...data } = one.event.event.data
        const event = { ...one.event.event, data }
        return { ...one, event: { ...one.event, event, payload: Buffer.from(canonicalJson(event as unknown as Json)) } }
      }),
    )
  try {
    return await command()
  } finally {
    log.append = append
  }
}

test('ids of a data folder that says nothing of what was asked: the same goes on, and what does not fit is refused', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, names, events } = node
  const cids: string[] = []
  for (const text of ['one', 'two']) cids.push(String((await verbs.put(contextOf(), fileOf(text), { signal })).cid))
  const [one = '', two = ''] = cids
  const set = (name: string, cid: string, more: object = {}) =>
    ({ kind: 'set', name, cid, size: null, mediaType: null, expect: 'any', ...more }) as const
  const put =
    (text: string, more: object = {}) =>
    (context: Context) =>
      verbs.put(context, fileOf(text), { name: 'p', expect: 'any', mediaType: 'text/plain', signal, ...more })
  const change =
    (...changes: readonly NameChange[]) =>
    (context: Context) =>
      verbs.changeNames(context, changes, { signal })
  const rename = (from: string, to: string) => (context: Context) =>
    verbs.renameName(context, { from, to, expect: 'any', replace: false }, { signal })
  const undo = (name: string, revision?: number) => (context: Context) =>
    verbs.undoName(context, name, revision, { signal })
  const remove = (cid: string, force: boolean) => (context: Context) =>
    verbs.deleteObject(context, CID.parse(cid), { signal, force })
  const link =
    (domain: string, cid: string, ttlSeconds: number | null = null) =>
    (context: Context) =>
      verbs.setDnsLink(context, domain, { value: `/ipfs/${cid}`, ttlSeconds }, { signal })
  const unlink = (domain: string) => (context: Context) => verbs.removeIpns(context, domain, { signal })
  type Run = (context: Context) => Promise<unknown>
  const { entries } = await verbs.changeNames(contextOf(), [set('x', one), set('y', one)], { signal })
  const revision = entries[0]?.revision ?? 0
  const before: readonly (readonly [what: string, same: Run, others: readonly Run[]])[] = [
    [
      'put',
      put('three'),
      [
        put('four'),
        put('three', { name: 'q' }),
        put('three', { name: undefined }),
        put('three', { mediaType: 'text/html' }),
        put('three', { expect: { revision: 9_999 } }),
        change(set('p', one)),
        remove(one, true),
      ],
    ],
    [
      'set',
      change(set('x', two, { expect: { revision } })),
      [
        change(set('x', one, { expect: { revision } })),
        change(set('y', two)),
        change(set('x', two, { expect: { revision: 1 } })),
        change(set('x', two), set('y', two)),
        change(set('x', two, { mediaType: 'text/html' })),
        change({ kind: 'remove', name: 'x', expect: 'any' }),
        undo('x'),
        put('two'),
      ],
    ],
    ['rename', rename('y', 'z'), [rename('y', 'w'), rename('x', 'z'), change(set('z', one))]],
    ['undo', undo('x'), [undo('y'), undo('x', 1), change(set('x', one))]],
    [
      'remove',
      change({ kind: 'remove', name: 'x', expect: 'any' }),
      [change({ kind: 'remove', name: 'z', expect: 'any' }), undo('x')],
    ],
    ['delete', remove(two, false), [remove(one, true), put('two')]],
    [
      'dnslink',
      link('a.example', one),
      [link('b.example', one), link('a.example', two), link('a.example', one, 60), unlink('a.example')],
    ],
    ['unlink', unlink('a.example'), [unlink('b.example'), link('a.example', one)]],
  ]
  const ids = new Map<string, string>()
  for (const [what, same] of before) {
    ids.set(what, uuidv7())
    await asBefore(node, () => same(contextOf(ids.get(what))))
  }
  expect((await events()).some(({ payload }) => Buffer.from(payload).includes('"asked"'))).toBe(true)
  await remembered(node)
  for (const [what, same, others] of before) {
    expect([what, await same(contextOf(ids.get(what)))]).toEqual([what, expect.objectContaining({ repeated: true })])
    const forBob = same({ ...contextOf(ids.get(what)), owner: 'bob' })
    await expect(forBob, what).rejects.toMatchObject(taken)
    for (const [at, other] of others.entries())
      await expect(other(contextOf(ids.get(what))), `${what} ${at}`).rejects.toMatchObject(taken)
  }
  expect(await names.index.get('q', signal)).toBeUndefined()
})

test('outcomes of a data folder that says nothing of what was asked go on: by principal, kind and content', async ({
  onTestFinished,
}) => {
  const node = await openTestVerbs(server.url, onTestFinished)
  const { verbs, log, source } = node
  const { cid } = await verbs.put(contextOf(), fileOf('hello'), { signal })
  const data = { name: 'old', cid: linkTo(cid), size: 5, mediaType: null, previous: 0, parents: [], commit: 1 }
  const draft = { entity: 'name', verb: 'set', key: nameKey('old'), subject: 'old', data } as const
  const old: Context = { ...contextOf('old-1'), principal: 'anonymous' }
  await log.append([{ event: encodeEvent(draft, old, source, 'old-1') }])
  await remembered(node)
  const set = { kind: 'set', name: 'old', cid: cid.toString(), size: null, mediaType: null, expect: 'any' } as const
  const again = (context: Context) => verbs.changeNames(context, [set], { signal })
  expect(await again(anonymous('old-1'))).toMatchObject({ repeated: true, entries: [{ name: 'old' }] })
  await expect(again(contextOf('old-1'))).rejects.toMatchObject(taken)
  await expect(verbs.put(anonymous('old-1'), fileOf('hello'), { signal })).rejects.toMatchObject(taken)
})
