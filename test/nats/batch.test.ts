import { randomBytes } from 'node:crypto'
import { expect, onTestFinished, test } from 'vitest'
import { publishBatch } from '../../src/nats/batch.ts'
import { chunkSubject } from '../../src/nats/layout.ts'
import { isStorageFull, type Publication } from '../../src/nats/publish.ts'
import { startTestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

test('a batch that crosses the limit of the server is told "full", although the server never answers its commit', async () => {
  const server = await startTestNats({ maxFileStore: '8MB' })
  onTestFinished(() => server.stop())
  const { nats, blocks } = await openTestStore(server.url, onTestFinished, { SHARDS: '1' })
  const bucket = blocks.buckets[0]?.bucket ?? ''
  const batch = (i: number): Publication[] =>
    Array.from({ length: 10 }, (_, j) => ({
      subject: chunkSubject(bucket, `${i}-${j}`),
      payload: randomBytes(17_000),
      expectedLastSequence: 0,
    }))
  let failure: unknown
  for (let i = 0; i < 100 && failure === undefined; i++) {
    await publishBatch(nats.data, nats.requests, batch(i)).catch((error: unknown) => {
      failure = error
    })
  }
  expect([isStorageFull(failure), failure]).toEqual([true, expect.any(Error)])
})
