import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { Lease } from '../../src/nats/lease.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { silent } from '../support/stores.ts'

type OnFinished = TestContext['onTestFinished']

let server: TestNats
const ttlMs = 800
const options = { replicas: 1, waitMs: 20_000, description: 'a test' }
const waiting = { timeout: 15_000, interval: 10 }

beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

async function openBucket(onFinished: OnFinished, name: string, url = server.url): Promise<KvBucket> {
  const nats = await connectNats(url, readConfig({}).nats, silent)
  onFinished(() => nats.close())
  return KvBucket.open(nats, name, options)
}

const bucketName = () => `lease-${randomBytes(4).toString('hex')}`

/** A holder that notes when its work begins and ends. */
function holder(bucket: KvBucket, name: string, log: string[], onFinished: OnFinished): Lease {
  const lease = new Lease(bucket, { key: 'work', holder: name, ttlMs })
  lease.start(async (signal) => {
    log.push(`${name} begins`)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    log.push(`${name} ends`)
  })
  onFinished(() => lease.close())
  return lease
}

test('of two nodes one works, and when it stops the other one goes on at once', async ({ onTestFinished }) => {
  const name = bucketName()
  const log: string[] = []
  const one = holder(await openBucket(onTestFinished, name), 'one', log, onTestFinished)
  await vi.waitFor(() => expect(log).toEqual(['one begins']), waiting)
  const other = holder(await openBucket(onTestFinished, name), 'other', log, onTestFinished)
  await vi.waitFor(() => expect(one.held).toBe(true), waiting)
  expect(other.held).toBe(false)
  await one.close()
  expect(one.held).toBe(false)
  await vi.waitFor(() => expect(log).toEqual(['one begins', 'one ends', 'other begins']), waiting)
})

test('a holder whose process is gone is followed by another one', async ({ onTestFinished }) => {
  const name = bucketName()
  const bucket = await openBucket(onTestFinished, name)
  await bucket.write('work', Buffer.from('{"holder":"dead"}'), 0)
  const log: string[] = []
  holder(bucket, 'one', log, onTestFinished)
  await vi.waitFor(() => expect(log).toEqual(['one begins']), waiting)
})

test('what was its own is taken again without waiting: the answer to a write was lost', async ({ onTestFinished }) => {
  const name = bucketName()
  const bucket = await openBucket(onTestFinished, name)
  await bucket.write('work', Buffer.from('{"holder":"one"}'), 0)
  const lease = new Lease(bucket, { key: 'work', holder: 'one', ttlMs: 60_000 })
  onTestFinished(() => lease.close())
  lease.start(async () => undefined)
  await vi.waitFor(() => expect(lease.held).toBe(true), waiting)
})

test('a holder that cannot reach NATS ends its work before the time is over that others wait', async ({
  onTestFinished,
}) => {
  const own = await startTestNats()
  onTestFinished(() => own.stop())
  const log: string[] = []
  const bucket = await openBucket(onTestFinished, bucketName(), own.url)
  const lease = new Lease(bucket, { key: 'work', holder: 'one', ttlMs: 4_000 })
  onTestFinished(() => lease.close())
  let endedMs = 0
  lease.start(async (signal) => {
    log.push('begins')
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    endedMs = performance.now()
    log.push('ends')
  })
  await vi.waitFor(() => expect(log).toEqual(['begins']), waiting)
  process.kill(own.pid, 'SIGSTOP')
  onTestFinished(() => void process.kill(own.pid, 'SIGCONT'))
  const stoppedMs = performance.now()
  await vi.waitFor(() => expect(log).toEqual(['begins', 'ends']), waiting)
  expect(lease.held).toBe(false)
  // Nobody may take it before 4 s after the last renewal, which was before the stop.
  expect(endedMs - stoppedMs).toBeLessThan(4_000)
})

test('one that stalls says that it holds it no more, before it knows who does', async ({ onTestFinished }) => {
  const name = bucketName()
  const log: string[] = []
  const one = holder(await openBucket(onTestFinished, name), 'one', log, onTestFinished)
  await vi.waitFor(() => expect(one.held).toBe(true), waiting)
  const endMs = performance.now() + ttlMs
  while (performance.now() < endMs) {
    // The event loop stands still.
  }
  expect(one.held).toBe(false)
})

test('work that ends or throws is begun again, and what it threw is told', async ({ onTestFinished }) => {
  const bucket = await openBucket(onTestFinished, bucketName())
  const told: unknown[] = []
  const lease = new Lease(bucket, { key: 'work', holder: 'one', ttlMs, onTrouble: (error) => told.push(error) })
  onTestFinished(() => lease.close())
  let begun = 0
  lease.start(async () => {
    begun++
    if (begun === 2) throw new Error('trouble')
  })
  await vi.waitFor(() => expect(begun).toBeGreaterThan(2), waiting)
  expect(told.map(String)).toEqual(['Error: trouble'])
})
