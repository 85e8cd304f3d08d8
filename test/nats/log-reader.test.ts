import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { publishBatch } from '../../src/nats/batch.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import type { Requests } from '../../src/nats/requests.ts'
import { openTestLog } from '../support/event-log.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'

const { signal } = new AbortController()

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

test.each([
  ['all', '>', ['main a', 'side b', 'main c', 'side d']],
  ['those of a space', '*.main.>', ['main a', 'main c']],
  ['those of a space that is none', '*.none.>', []],
  ['those of a site and space', 'local.side.>', ['side b', 'side d']],
  ['those of an entity', '*.main.name.>', ['main a', 'main c']],
])('events are read in their order: %s', async (_label, filter, expected) => {
  const { nats, domain, stream } = await openTestLog(server.url, onTestFinished)
  for (const event of ['main.name.set.a', 'side.name.set.b', 'main.name.set.c', 'side.object.added.d']) {
    await nats.js.publish(`${domain}.evt.local.${event}`, '{}')
  }
  const reader = new LogReader(nats, stream, { replicas: 1, waitMs: 5_000 })
  const read = async (sequence: number) => {
    const found: { text: string; sequence: number }[] = []
    for await (const { subject, sequence: at } of reader.from(`${domain}.evt.${filter}`, sequence, signal)) {
      const [, , , space, , , key] = subject.split('.')
      found.push({ text: `${space} ${key}`, sequence: at })
    }
    return found
  }
  const found = await read(1)
  expect(found.map(({ text }) => text)).toEqual(expected)
  for (const [at, { sequence }] of found.entries()) {
    expect(await read(sequence + 1)).toEqual(found.slice(at + 1))
  }
})

test('a space in which nothing happens is not asked for page by page through all that others do', async () => {
  const { nats, domain, stream } = await openTestLog(server.url, onTestFinished)
  const subject = (space: string, key: string) => `${domain}.evt.local.${space}.name.set.${key}`
  const messages = Array.from({ length: 3_000 }, (_, i) => ({
    subject: subject('busy', `k${i}`),
    payload: Buffer.from('{}'),
  }))
  await nats.js.publish(subject('quiet', 'first'), '{}')
  for (let at = 0; at < messages.length; at += 500) {
    await publishBatch(nats.log.channel, nats.log.requests, messages.slice(at, at + 500))
  }
  await nats.js.publish(subject('quiet', 'last'), '{}')
  let asked = 0
  const requests: Requests = {
    one: (...ask) => nats.log.requests.one(...ask),
    many: (...ask) => {
      asked++
      return nats.log.requests.many(...ask)
    },
  }
  const counted: Nats = { ...nats, log: { channel: nats.log.channel, requests } }
  const reader = new LogReader(counted, stream, { replicas: 1, waitMs: 5_000 })
  const keys: (string | undefined)[] = []
  for await (const message of reader.from(`${domain}.evt.*.quiet.>`, 1, signal))
    keys.push(message.subject.split('.')[6])
  expect(keys).toEqual(['first', 'last'])
  expect(asked).toBeLessThanOrEqual(5)
})
