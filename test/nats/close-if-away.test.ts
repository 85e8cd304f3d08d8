import { expect, onTestFinished, test } from 'vitest'
import { directGetLast } from '../../src/nats/direct-get.ts'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { patiently } from '../../src/nats/patience.ts'
import { startFullNode } from '../support/full-node.ts'
import { startTestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

/** Longer than any test: whoever waits it out hangs. */
const forEver = 3_600_000
const { signal } = new AbortController()

async function frozenNats() {
  const nats = await startTestNats()
  onTestFinished(async () => {
    process.kill(nats.pid, 'SIGCONT')
    await nats.stop()
  })
  return { nats, freeze: () => process.kill(nats.pid, 'SIGSTOP') }
}

test('where NATS does not answer at the end, what waits for it and what is asked from then on fails at once', async () => {
  const { nats: server, freeze } = await frozenNats()
  const { nats } = await openTestStore(server.url, onTestFinished)
  const options = { replicas: 1, waitMs: forEver, description: 'of a test' }
  const bucket = await KvBucket.open(nats, 'patient', options)
  freeze()
  const asked = [
    bucket.get('a'),
    bucket.look(),
    bucket.write('a', Buffer.from('a'), 0),
    patiently(forEver, signal, () => directGetLast(nats.requests, bucket.stream, 'nothing')),
  ]
  const outcomes = Promise.allSettled(asked)
  await nats.closeIfAway()
  const unavailable = { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } }
  expect(await outcomes).toMatchObject(asked.map(() => unavailable))
  await expect(bucket.get('a')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(bucket.look()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})

test('where it answers, the connection stays as it is', async () => {
  const { nats: server } = await frozenNats()
  const { nats } = await openTestStore(server.url, onTestFinished)
  const bucket = await KvBucket.open(nats, 'patient', { replicas: 1, waitMs: 5_000, description: 'of a test' })
  await nats.closeIfAway()
  expect(await bucket.write('a', Buffer.from('a'), 0)).toBe(1)
  expect((await bucket.get('a'))?.value.toString()).toBe('a')
})

test('a node whose NATS is away ends, however long its parts would wait for it, and what it acknowledged is there', async () => {
  const { nats, freeze } = await frozenNats()
  const node = await startFullNode(onTestFinished, { nats, env: { STOWAGE_STORE_WAIT_SECONDS: '3600' } })
  const headers = { authorization: `Bearer ${node.token}` }
  const put = await fetch(`${node.node.apiUrl}/api/v1/names/a`, { method: 'PUT', body: 'kept', headers })
  expect(put.status).toBe(201)
  freeze()
  await node.close()
  process.kill(nats.pid, 'SIGCONT')
  const again = await startFullNode(onTestFinished, { nats })
  expect(await (await fetch(`${again.node.gatewayUrl}/names/a`)).text()).toBe('kept')
})
