import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeEvent } from '../../src/events/envelope.ts'
import type { FoldMarks } from '../../src/events/fold-mark.ts'
import type { LogFault } from '../../src/events/log-fault.ts'
import { openFoldedLog } from '../../src/names/folded-log.ts'
import { Projector } from '../../src/names/projector.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

const draft = { entity: 'log', verb: 'lost', key: 'event', subject: '1', data: {} } as const
let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

/** The log of a node whose indexes are marked, and what watches over it. */
async function open({ nats, config, names, log }: TestVerbs) {
  const faults: (LogFault | undefined)[] = []
  const folded = await openFoldedLog(nats, {
    ...{ stream: log.stream, layout: config.layout, waitMs: 5_000 },
    onFault: (fault) => faults.push(fault),
    onAdopted: () => undefined,
  })
  const { guard, marks } = folded
  const projector = await Projector.start(nats, { stream: log.stream, names, site: 'local', guard, marks })
  return { ...folded, faults, projector }
}

test('a log that lost its end takes no events, and what was folded is still read', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const first = await open(node)
  for (const text of ['a', 'b', 'c']) {
    await node.verbs.put(contextOf(), fileOf(text), { name: `n-${text}`, signal })
  }
  await first.projector.waitCaughtUp(10_000, signal)
  await first.projector.close()
  await first.close()
  // As its stream's folder would be lost, and the next start makes another one.
  await node.nats.jsm.streams.delete(node.log.stream)
  await openEventStream(node.nats, node.config.layout)

  const second = await open(node)
  onTestFinished(async () => {
    await second.projector.close()
    await second.close()
  })
  expect(second.guard.fault).toMatchObject({ kind: 'shorter', last: 0 })
  expect(second.faults).toHaveLength(1)
  expect(() => second.log.throwIfDamaged()).toThrow(/its end is lost/)
  expect(await node.names.index.get('n-a', signal)).toMatchObject({ name: 'n-a' })
  // The control: the server itself would take them, at sequences that were given out before.
  const event = encodeEvent(draft, contextOf(), node.source)
  await expect(second.log.append([{ event }])).rejects.toMatchObject({ code: 'LOG_DAMAGED' })
  expect(await second.unguarded.append([{ event }])).toEqual([1])
})

test('a log that is cut while it is in use is found when it gives out a sequence again', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const { guard, close, projector } = await open(node)
  onTestFinished(async () => {
    await projector.close()
    await close()
  })
  guard.taken(0, 1, 9, () => 'digest')
  expect(guard.fault).toBeUndefined()
  expect(() => guard.taken(guard.tip, 5, 5, () => 'other')).toThrow(/its end is lost/)
})

test('a log that grows while it is looked at is whole', async ({ onTestFinished }) => {
  const node = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const { guard, marks, log, faults, close, projector } = await open(node)
  onTestFinished(async () => {
    await projector.close()
    await close()
  })
  let appended = 0
  // With each look at what was folded, and so between any two looks at the log.
  guard.watch({
    read: async (thorough: boolean) => {
      const event = encodeEvent({ ...draft, subject: `${++appended}` }, contextOf(), node.source)
      await log.append([{ event }])
      await projector.waitCaughtUp(10_000, signal)
      return marks.read(thorough)
    },
  } as FoldMarks)
  await guard.check({ thorough: true })
  expect([faults, guard.fault, appended > 0]).toEqual([[], undefined, true])
})
