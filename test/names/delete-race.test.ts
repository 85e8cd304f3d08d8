import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { createVerbs } from '../../src/content/commands.ts'
import { createGet } from '../../src/content/get.ts'
import { createPut } from '../../src/content/put.ts'
import { type Append, EventLog } from '../../src/events/log.ts'
import { DeletedSet } from '../../src/names/deleted-set.ts'
import { dumpIndex, rebuildIndex, verifyIndex } from '../../src/names/rebuild.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'
import { contextOf, fileOf, freshDomain, openTestVerbs, signal, storyOf } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

/** The real log, before which a commit can be held: all is decided, nothing is in the log. */
class HeldLog extends EventLog {
  #release: (() => void) | undefined
  #hold = false

  /** Resolves when the next commit waits. */
  async holdNext(): Promise<void> {
    this.#hold = true
    await vi.waitFor(() => expect(this.#release).toBeDefined(), { timeout: 10_000, interval: 5 })
  }

  release(): void {
    this.#release?.()
  }

  override async append(appends: readonly Append[]): Promise<number[]> {
    if (this.#hold) {
      this.#hold = false
      await new Promise<void>((resolve) => {
        this.#release = resolve
      })
      this.#release = undefined
    }
    return super.append(appends)
  }
}

/** Two nodes on one server; the commits of the first one can be held. */
async function openTwo(onTestFinished: TestContext['onTestFinished']) {
  const domain = freshDomain()
  const node = await openTestVerbs(server.url, onTestFinished, { domain })
  const near = await openTestVerbs(server.url, onTestFinished, { domain })
  const { nats, config, blocks } = await openTestStore(server.url, onTestFinished, {
    DOMAIN: domain,
    STORE: 'a',
    SHARDS: '1',
  })
  const { limits } = config
  const log = new HeldLog(nats, node.log.stream, 5_000)
  const parts = { put: createPut({ blocks, limits }), get: createGet({ blocks, limits }), blocks, limits }
  const slow = createVerbs({ ...parts, log, names: node.names })
  return { slow, log, fast: near.verbs, near }
}

const naming = (name: string, cid: string) =>
  [{ kind: 'set', name, cid, size: null, mediaType: null, expect: 'any' }] as const

test('a name that was decided before its root is deleted, and is in the log after it, keeps the root in view', async ({
  onTestFinished,
}) => {
  const { slow, log, fast, near } = await openTwo(onTestFinished)
  const { cid } = await fast.put(contextOf(), fileOf('hello'), { signal })
  const held = log.holdNext()
  const named = slow.changeNames(contextOf(), naming('n', cid.toString()), { signal })
  await held
  await fast.deleteObject(contextOf(), cid, { signal, force: false })
  expect(await fast.isDeleted(cid, { signal })).toBe(true)
  log.release()
  await named
  for (const verbs of [slow, fast]) {
    expect((await verbs.resolveName('n', { signal })).cid).toBe(cid.toString())
    expect(await verbs.isDeleted(cid, { signal })).toBe(false)
  }
  expect(storyOf(await near.events())).toEqual(['object.added', 'object.deleted', 'name.set n'])
  await expect(fast.deleteObject(contextOf(), cid, { signal, force: false })).rejects.toMatchObject({
    code: 'OBJECT_NAMED',
  })
  // It was deleted: that holds again as soon as no name does.
  await fast.changeNames(contextOf(), [{ kind: 'remove', name: 'n', expect: 'any' }], { signal })
  expect(await slow.isDeleted(cid, { signal })).toBe(true)
  await fast.put(contextOf(), fileOf('hello'), { signal })
  await vi.waitFor(async () => expect(await slow.isDeleted(cid, { signal })).toBe(false))
})

test('a deletion that was decided before a name is set, and is in the log after it, leaves the root to the name', async ({
  onTestFinished,
}) => {
  const { slow, log, fast, near } = await openTwo(onTestFinished)
  const { cid } = await fast.put(contextOf(), fileOf('hello'), { signal })
  const held = log.holdNext()
  const deleted = slow.deleteObject(contextOf(), cid, { signal, force: false })
  await held
  await fast.changeNames(contextOf(), naming('n', cid.toString()), { signal })
  log.release()
  expect(await deleted).toMatchObject({ namesRemoved: [] })
  for (const verbs of [slow, fast]) {
    expect((await verbs.resolveName('n', { signal })).cid).toBe(cid.toString())
    expect(await verbs.isDeleted(cid, { signal })).toBe(false)
  }
  expect(storyOf(await near.events())).toEqual(['object.added', 'name.set n', 'object.deleted'])
  // By hand what a force would have done.
  expect(await fast.deleteObject(contextOf(), cid, { signal, force: true })).toMatchObject({ namesRemoved: ['n'] })
  expect(await slow.isDeleted(cid, { signal })).toBe(true)
})

test('a forced deletion also removes the names that were set while it was decided, and its repeat answers the same', async ({
  onTestFinished,
}) => {
  const { slow, log, fast, near } = await openTwo(onTestFinished)
  const { cid } = await fast.put(contextOf(), fileOf('hello'), { name: 'known', signal })
  const other = await fast.put(contextOf(), fileOf('other'), { signal })
  const held = log.holdNext()
  const context = contextOf()
  const deleted = slow.deleteObject(context, cid, { signal, force: true })
  await held
  await fast.changeNames(contextOf(), naming('overtaken', cid.toString()), { signal })
  await fast.changeNames(contextOf(), naming('elsewhere', cid.toString()), { signal })
  await fast.changeNames(contextOf(), naming('elsewhere', other.cid.toString()), { signal })
  log.release()
  const outcome = await deleted
  expect(outcome).toMatchObject({ namesRemoved: ['known'] })
  expect(await fast.isDeleted(cid, { signal })).toBe(true)
  const { names } = await fast.listNames('', { limit: 9, signal })
  expect(names.map(({ name }) => name)).toEqual(['elsewhere'])
  expect(storyOf(await near.events()).slice(-3)).toEqual([
    'object.deleted',
    'name.removed known',
    'name.removed overtaken',
  ])
  expect(await slow.deleteObject(context, cid, { signal, force: true })).toEqual({ ...outcome, repeated: true })
})

test('a forced deletion removes any number of names, also where it ended before and is repeated', async ({
  onTestFinished,
}) => {
  const { slow, log, fast, near } = await openTwo(onTestFinished)
  const { cid } = await fast.put(contextOf(), fileOf('hello'), { signal })
  const all = Array.from({ length: 300 }, (_, index) => `many/${String(index).padStart(3, '0')}`)
  for (let at = 0; at < all.length; at += 250) {
    const names = all.slice(at, at + 250)
    await fast.changeNames(
      contextOf(),
      names.flatMap((name) => naming(name, cid.toString())),
      { signal },
    )
  }
  const context = contextOf()
  const stopped = new AbortController()
  const held = log.holdNext()
  const deleted = slow.deleteObject(context, cid, { signal: stopped.signal, force: true })
  await held
  // The deletion gets into the log, and whoever asked for it is gone before the rest of the names is.
  stopped.abort(new Error('gone'))
  log.release()
  await deleted.catch(() => undefined)
  expect(await fast.isDeleted(cid, { signal })).toBe(false)
  const outcome = await fast.deleteObject(context, cid, { signal, force: true })
  expect(outcome.namesRemoved).toHaveLength(254)
  expect(await fast.isDeleted(cid, { signal })).toBe(true)
  expect((await fast.listNames('', { limit: 9, signal })).names).toEqual([])
  const removed = storyOf(await near.events()).filter((line) => line.startsWith('name.removed'))
  expect(removed.sort()).toEqual(all.map((name) => `name.removed ${name}`))
})

test('content that is put again while its deletion is on the way into the index is in view, though nobody else looks', async ({
  onTestFinished,
}) => {
  const domain = freshDomain()
  const node = await openTestVerbs(server.url, onTestFinished, { domain, projector: false })
  const { cid } = await node.verbs.put(contextOf(), fileOf('hello'), { signal })
  await node.verbs.deleteObject(contextOf(), cid, { signal, force: false })
  const { nats, names } = node
  const deletion = await names.objects.lifeOf(cid, [], signal)
  expect(deletion).toMatchObject([{ deleted: true }])
  // As it was before its deletion came into the index, which one node brings there.
  await names.buckets.deleted.purge('main.>')
  const near = await openTestVerbs(server.url, onTestFinished, { domain, projector: false })
  let looks = 0
  const late = new DeletedSet(nats, names.buckets.deleted, 'main', {
    everDeleted: (signal) => names.objects.everDeleted(signal),
    isReadable: (...asked) => names.objects.isReadable(...asked),
    lifeOf: async (...asked) => {
      const life = await names.objects.lifeOf(...asked)
      if (looks++ === 0) await near.verbs.put(contextOf(), fileOf('hello'), { signal })
      return life
    },
  })
  onTestFinished(() => late.close())
  await late.apply(deletion)
  await vi.waitFor(async () => expect(await near.verbs.isDeleted(cid, { signal })).toBe(false))
  expect(late.has(cid)).toBe(false)
  expect(await dumpIndex(names, signal)).not.toContain('deleted ')
})

test('undoing the removal of a name by a deletion brings its content back into view', async ({ onTestFinished }) => {
  const { verbs, names, projector } = await openTestVerbs(server.url, onTestFinished)
  const { cid } = await verbs.put(contextOf(), fileOf('hello'), { name: 'n', signal })
  await verbs.deleteObject(contextOf(), cid, { signal, force: true })
  expect(await verbs.isDeleted(cid, { signal })).toBe(true)
  await verbs.undoName(contextOf(), 'n', undefined, { signal })
  expect(await verbs.isDeleted(cid, { signal })).toBe(false)
  await projector?.waitCaughtUp(10_000, signal)
  const before = await dumpIndex(names, signal)
  await rebuildIndex(names, signal)
  expect(await dumpIndex(names, signal)).toBe(before)
  expect(await verifyIndex(names, { repair: false, signal })).toMatchObject({ differences: [] })
  expect(await verbs.isDeleted(cid, { signal })).toBe(false)
})
