import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { KiB, MiB } from '../../src/lib/units.ts'
import { openWorkQueue, type QueueBounds } from '../../src/nats/work-queue.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const small: QueueBounds = { ackWaitMs: 30_000, queueBytesMax: MiB, deadBytesMax: MiB }
const letter = randomBytes(100 * KiB)

async function openQueue({ onTestFinished }: TestContext, bounds: QueueBounds = small) {
  const domain = `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(server.url, onTestFinished, { DOMAIN: domain })
  const open = (other: QueueBounds) => openWorkQueue(nats, config.layout, other)
  const queue = await open(bounds)
  onTestFinished(() => queue.stop())
  const info = async (stream: string) => (await nats.jsm.streams.info(`${domain}_${stream}`)).state
  const config_ = async (stream: string) => (await nats.jsm.streams.info(`${domain}_${stream}`)).config
  const store = () => nats.js.publish(`${domain}.queue.main.put`, letter)
  const remove = (stream: string) => nats.jsm.streams.delete(`${domain}_${stream}`)
  return { domain, queue, open, info, config: config_, store, remove }
}

test('a full queue refuses what more is stored, says so to who stores it, and takes it again once there is room', async (context) => {
  const { queue, info, store } = await openQueue(context)
  let stored = 0
  const fill = async () => {
    for (; stored < 100; stored++) await store()
  }
  await expect(fill()).rejects.toMatchObject({ code: 10077, message: 'maximum bytes exceeded' })
  expect(stored).toBeGreaterThan(5)
  expect(await info('queue')).toMatchObject({ messages: stored, first_seq: 1 })
  const message = await queue.next()
  message?.ack()
  await expect.poll(async () => (await info('queue')).messages).toBe(stored - 1)
  await store()
})

test('of too many dead letters the oldest goes, so that the queue never stands still', async (context) => {
  const { domain, queue, info } = await openQueue(context)
  for (let i = 1; i <= 20; i++) {
    expect(await queue.bury(`letter-${i}`, `${domain}.dead.main.put`, letter, {})).toBe(i)
  }
  const { bytes, first_seq, last_seq } = await info('dead')
  expect(bytes).toBeLessThanOrEqual(MiB)
  expect(first_seq).toBeGreaterThan(1)
  expect(last_seq).toBe(20)
})

test('dead letters whose stream somebody deleted are kept again from the second try on', async (context) => {
  const { domain, queue, info, remove } = await openQueue(context)
  const bury = (id: string) => queue.bury(id, `${domain}.dead.main.put`, letter, {})
  expect(await bury('before')).toBe(1)
  await remove('dead')
  await expect(bury('after')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  expect(await bury('after')).toBe(1)
  expect(await bury('more')).toBe(2)
  expect(await info('dead')).toMatchObject({ messages: 2 })
})

test('the bounds of whoever starts last hold, also for streams that had none', async (context) => {
  const { open, config } = await openQueue(context)
  const again = await open({ ackWaitMs: 30_000, queueBytesMax: 3 * MiB, deadBytesMax: 2 * MiB })
  again.stop()
  expect(await config('queue')).toMatchObject({ max_bytes: 3 * MiB, discard: 'new', retention: 'workqueue' })
  expect(await config('dead')).toMatchObject({ max_bytes: 2 * MiB, discard: 'old', retention: 'limits' })
})

test('bounds that the server has no room for are STORE_FULL, with the settings to lower', async (context) => {
  await expect(openQueue(context, { ...small, queueBytesMax: 2 ** 52 })).rejects.toMatchObject({
    code: 'STORE_FULL',
    hint: expect.stringContaining('STOWAGE_QUEUE_BYTES_MAX'),
  })
})
