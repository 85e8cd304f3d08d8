import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { KvWatch } from '../../src/nats/kv-watch.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

const options = { replicas: 1, waitMs: 10_000, description: 'test' }
const waiting = { timeout: 20_000, interval: 20 }

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

test('a watch of a bucket that was deleted and made anew begins again, and sees what is there and what comes', async ({
  onTestFinished,
}) => {
  const { nats } = await openTestStore(server.url, onTestFinished)
  const name = `b${randomBytes(4).toString('hex')}`
  const first = await KvBucket.open(nats, name, options)
  await first.writeAll(Array.from({ length: 20 }, (_, i) => [`old.${i}`, Buffer.from('x')] as const))
  let keys = new Set<string>()
  let caughtUp = 0
  const watch = new KvWatch(nats, first, '>', {
    onBegin: () => {
      keys = new Set()
    },
    onChange: ({ key }) => keys.add(key),
    onCaughtUp: () => caughtUp++,
  })
  onTestFinished(() => watch.close())
  await vi.waitFor(() => expect([keys.size, caughtUp]).toEqual([20, 1]), waiting)
  await nats.jsm.streams.delete(first.stream)
  const second = await KvBucket.open(nats, name, options)
  await second.write('new.1', Buffer.from('x'), 0)
  await vi.waitFor(() => expect([...keys]).toEqual(['new.1']), waiting)
  await second.write('new.2', Buffer.from('x'), 0)
  await vi.waitFor(() => expect([...keys]).toEqual(['new.1', 'new.2']), waiting)
  expect(watch.restarts).toBeGreaterThan(0)
})
