import { RetentionPolicy } from '@nats-io/jetstream'
import { headers } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isLastLost, streamMark } from '../../src/nats/stream-health.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const day = 24 * 3_600_000

test.for([
  { what: 'a stream that keeps all', config: {}, stays: null },
  { what: 'one that keeps for a day', config: { max_age: day * 1e6 }, stays: 'a day' },
  { what: 'a work queue', config: { retention: RetentionPolicy.Workqueue }, stays: undefined },
] as const)('of $what it is known how long the last message stays', async ({ config, stays }, { onTestFinished }) => {
  const { nats } = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const name = `marked-${crypto.randomUUID()}`
  await nats.jsm.streams.add({ name, subjects: [`${name}.>`], allow_direct: true, ...config })
  expect(await streamMark(nats, name)).toEqual({ created: expect.any(String), last: 0 })
  for (const text of ['one', 'two']) await nats.js.publish(`${name}.${text}`, text)
  const mark = await streamMark(nats, name)
  if (mark === undefined) throw new Error('it is there')
  if (stays === 'a day') {
    expect(mark.staysUntilMs).toBeGreaterThan(Date.now() + day / 2)
    expect(mark.staysUntilMs).toBeLessThanOrEqual(Date.now() + 2 * day)
  } else expect(mark.staysUntilMs).toBe(stays)
  expect(await isLastLost(nats, name, mark)).toBe(false)
  // As a server does that has lost it: the sequence stays.
  await nats.jsm.streams.deleteMessage(name, 2)
  expect((await streamMark(nats, name, mark))?.last).toBe(2)
  expect(await isLastLost(nats, name, mark)).toBe(stays !== undefined)
  // It may have left by itself.
  expect(await isLastLost(nats, name, { ...mark, staysUntilMs: Date.now() - 1 })).toBe(false)
})

test('a mark that does not say so, of an older data folder, is completed', async ({ onTestFinished }) => {
  const { nats } = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const name = `marked-${crypto.randomUUID()}`
  await nats.jsm.streams.add({ name, subjects: [`${name}.>`], allow_direct: true })
  await nats.js.publish(`${name}.one`, 'one')
  const { created, last } = (await streamMark(nats, name)) ?? { created: '', last: 0 }
  expect(await streamMark(nats, name, { created, last })).toEqual({ created, last, staysUntilMs: null })
})

test('that a key was removed is kept for a while only', async ({ onTestFinished }) => {
  const { nats } = await openTestVerbs(server.url, onTestFinished, { projector: false })
  const name = `marked-${crypto.randomUUID()}`
  await nats.jsm.streams.add({ name, subjects: [`${name}.>`], allow_direct: true })
  const removed = headers()
  removed.set('KV-Operation', 'DEL')
  await nats.js.publish(`${name}.key`, '', { headers: removed })
  expect((await streamMark(nats, name))?.staysUntilMs).toBeUndefined()
})
