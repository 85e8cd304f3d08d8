import type { TestContext } from 'vitest'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { LogFault } from '../../src/events/log-fault.ts'
import { openFoldedLog } from '../../src/names/folded-log.ts'
import { startFolding } from '../../src/names/folding.ts'
import { LogRecovery } from '../../src/names/log-recovery.ts'
import { readMessage } from '../../src/names/name-fold.ts'
import { openNames } from '../../src/names/names.ts'
import { dumpIndex, verifyIndex } from '../../src/names/rebuild.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

/** What watches over a node's log and indexes, on connections and memory of its own: as after a start. */
async function start({ nats, config, source, log }: TestVerbs, onFinished: TestContext['onTestFinished']) {
  const [faults, mended]: [(LogFault | undefined)[], unknown[]] = [[], []]
  const { layout } = config
  const folded = await openFoldedLog(nats, {
    ...{ stream: log.stream, layout, waitMs: 5_000 },
    onFault: (fault) => faults.push(fault),
    onAdopted: () => undefined,
  })
  const names = await openNames(nats, { stream: log.stream, layout, source, waitMs: 5_000 })
  const folding = await startFolding(nats, {
    ...{ folded, names, waitMs: 5_000, auditEveryMs: 0, signal, reach: () => undefined },
    ...{ onMended: (one: unknown) => mended.push(one), onRemade: () => undefined, onDamaged: () => undefined },
    onRestored: () => undefined,
    onTrouble: (error) => faults.push(error as never),
  })
  const keeper = folding.keeper
  const settings = { settings: [], roots: nothing, refold: async () => undefined }
  const recovery = new LogRecovery({ nats, names, ...folded, keeper, ...settings })
  let closing: Promise<unknown> | undefined
  const close = () => {
    closing ??= folding.close().then(() => Promise.all([folded.close(), names.close()]))
    return closing
  }
  onFinished(async () => void (await close()))
  return { folded, names, folding, recovery, faults, mended, close }
}

async function* nothing() {
  yield []
}

/** Two names, one of them set twice, and content that was deleted; folded and marked. */
async function lay(onFinished: TestContext['onTestFinished']) {
  const node = await openTestVerbs(server.url, onFinished, { projector: false })
  const { verbs } = node
  const first = await start(node, onFinished)
  await verbs.put(contextOf(), fileOf('a'), { name: 'a', signal })
  await verbs.put(contextOf(), fileOf('b'), { name: 'b', signal })
  await verbs.put(contextOf(), fileOf('a again'), { name: 'a', signal })
  const { cid: deleted } = await verbs.put(contextOf(), fileOf('deleted'), { signal })
  await verbs.deleteObject(contextOf(), deleted, { signal, force: false })
  await first.folding.projector.waitCaughtUp(10_000, signal)
  await vi.waitFor(() => expect(first.folding.keeper.counts.audits).toBeGreaterThan(0), { timeout: 20_000 })
  await first.close()
  return { node, deleted }
}

/** Nothing in the log is ever deleted, except by who has the port of the server. */
async function loseEvents({ nats, log }: TestVerbs, sequences: readonly number[]): Promise<void> {
  const { config } = await nats.jsm.streams.info(log.stream)
  await nats.jsm.streams.delete(log.stream)
  await nats.jsm.streams.add({ ...config, deny_delete: false })
  for (const { subject, payload } of saved.get(log.stream) ?? []) await nats.js.publish(subject, payload)
  for (const sequence of sequences) await nats.jsm.streams.deleteMessage(log.stream, sequence)
}
const saved = new Map<string, { readonly subject: string; readonly payload: Uint8Array }[]>()

const verbsIn = async (node: TestVerbs) =>
  (await node.events()).map(
    (message) => readMessage(message)?.event.type ?? message.subject.split('.').slice(4, 6).join('.'),
  )

for (const restore of [true, false]) {
  test(`a log that is gone is begun anew, and what it said is ${restore ? 'said again' : 'dropped'}`, async ({
    onTestFinished,
  }) => {
    const { node, deleted } = await lay(onTestFinished)
    const { length: known } = await node.events()
    await node.nats.jsm.streams.delete(node.log.stream)
    await openEventStream(node.nats, node.config.layout)
    const { folded, names, recovery } = await start(node, onTestFinished)
    const { fault, lost, epoch } = await recovery.status(signal)
    expect(fault).toMatchObject({ kind: 'shorter', last: 0 })
    expect(lost.examples.map(({ kind }) => kind).sort()).toEqual(['deletion', 'name', 'name'])

    // Asked twice at once: the second one comes when nothing is left to accept.
    const [accepted, again] = await Promise.all([
      recovery.accept(contextOf(), { restore, signal }),
      recovery.accept(contextOf(), { restore, signal }).catch((error: unknown) => error),
    ])
    expect(again).toMatchObject({ code: 'REQUEST_INVALID' })
    expect(accepted).toMatchObject({ restored: restore, filled: known, lost: { count: 3 } })
    expect(accepted.epoch).not.toBe(epoch)
    expect(folded.guard.fault).toBeUndefined()
    expect((await names.index.get('a', signal))?.name).toBe(restore ? 'a' : undefined)
    expect(names.deleted.has(deleted)).toBe(restore)
    expect(await verifyIndex(names, { repair: false, signal })).toMatchObject({ differences: [] })
    // Sequences that were given out are not given out again.
    const said = await node.events()
    expect(said.findIndex(({ subject }) => subject.includes('.log.begun.'))).toBe(known)
    // The control: there is nothing to accept any more.
    await expect(recovery.accept(contextOf(), { restore, signal })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
}

test('a hole in the midst of the log is told, accepted, and told no more', async ({ onTestFinished }) => {
  const { node } = await lay(onTestFinished)
  saved.set(node.log.stream, await node.events())
  const before = await dumpIndex(node.names, signal)
  await loseEvents(node, [2])
  const { folded, recovery, names } = await start(node, onTestFinished)
  expect(folded.guard.fault).toMatchObject({ kind: 'holes', missing: 1 })
  // No audit goes by such a log.
  expect(await dumpIndex(names, signal)).toBe(before)
  await recovery.accept(contextOf(), { restore: true, signal })
  expect(folded.guard.identity.holes).toEqual([[2, 2]])
  expect(folded.guard.fault).toBeUndefined()
  expect(await verbsIn(node)).toContain('log.begun')
})

test('where the log and the bucket of deletions are damaged together, no content is in view', async ({
  onTestFinished,
}) => {
  const { node, deleted } = await lay(onTestFinished)
  const { cid: kept } = await node.verbs.put(contextOf(), fileOf('kept'), { signal })
  const { buckets } = node.names
  await node.nats.jsm.streams.delete(node.log.stream)
  await openEventStream(node.nats, node.config.layout)
  // The control: the bucket alone tells what was deleted.
  const told = await start(node, onTestFinished)
  expect(told.folded.guard.fault).toBeDefined()
  expect(told.names.deleted.has(deleted)).toBe(true)
  expect(() => told.names.deleted.throwIfUnknown()).not.toThrow()
  await told.close()
  await buckets.deleted.remake()
  const { names } = await start(node, onTestFinished)
  expect(names.deleted.has(kept)).toBe(false)
  expect(() => names.deleted.throwIfUnknown()).toThrow(/which content was deleted is not known/)
})

test('an index that was lost is made anew, and one event says so', async ({ onTestFinished }) => {
  const { node } = await lay(onTestFinished)
  const before = await dumpIndex(node.names, signal)
  await node.nats.jsm.streams.delete(node.names.buckets.names.stream)
  const { folding, names, close } = await start(node, onTestFinished)
  expect(names.whole.mending).toContain('names')
  await vi.waitFor(() => expect(folding.keeper.counts.remade).toBe(1), { timeout: 20_000 })
  expect(await dumpIndex(names, signal)).toBe(before)
  await close()
  const events = (await node.events()).filter(({ subject }) => subject.includes('.index.repaired.'))
  expect(events).toHaveLength(1)
  const { data } = JSON.parse(Buffer.from(events[0]?.payload ?? []).toString('utf8')) as { readonly data: unknown }
  expect(data).toEqual({ remade: [{ index: 'names', reason: 'it was gone' }], differences: 0, differencesByIndex: {} })
})
