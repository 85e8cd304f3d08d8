import { randomBytes } from 'node:crypto'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startTestNats } from '../support/nats.ts'
import type { NodeProcess } from '../support/node-process.ts'
import {
  download,
  killServer,
  roundTrip,
  serverPid,
  startServing,
  statusOf,
  temporaryFolder,
  upload,
  waiting,
} from '../support/serving.ts'

const MiB = 1024 * 1024
const readyStatus = async (node: NodeProcess) => (await fetch(`${node.apiUrl}/readyz`)).status

test('a killed nats-server is away for a moment: readyz says so, an upload waits, and all goes on', async () => {
  const node = await startServing(onTestFinished)
  const before = randomBytes(2 * MiB)
  const cid = await roundTrip(node, before)
  const killed = await serverPid(node.dataDir)
  await killServer(node.dataDir)
  await vi.waitFor(async () => expect(await readyStatus(node)).toBe(503), { timeout: 20_000, interval: 1 })
  const during = randomBytes(5 * MiB)
  const uploaded = await upload(node, during)
  expect([uploaded.status, uploaded.body]).toMatchObject([201, {}])
  await vi.waitFor(async () => expect(await readyStatus(node)).toBe(200), waiting)
  expect(await serverPid(node.dataDir)).not.toBe(killed)
  expect((await statusOf(node)).nats.restarts).toBe(1)
  expect(Buffer.compare(await download(node, uploaded.body.cid), during)).toBe(0)
  expect(Buffer.compare(await download(node, cid), before)).toBe(0)
  await roundTrip(node, randomBytes(2 * MiB))
})

test('without patience an upload during an outage is 503 with Retry-After, never a lost one, and works afterwards', async () => {
  const dataDir = await temporaryFolder(onTestFinished)
  const first = await startTestNats({ dataDir })
  onTestFinished(() => first.stop())
  const env = {
    STOWAGE_NATS_URL: first.url,
    STOWAGE_SHARDS: '2',
    STOWAGE_STORE_WAIT_SECONDS: '0',
    STOWAGE_CACHE_BYTES: '0',
  }
  const node = await startServing(onTestFinished, { env })
  const cid = await roundTrip(node, randomBytes(2 * MiB))
  await first.kill('SIGKILL')
  await vi.waitFor(async () => expect(await readyStatus(node)).toBe(503), waiting)
  const refused = await upload(node, randomBytes(2 * MiB))
  expect([refused.status, refused.body.code, refused.headers.get('retry-after')]).toEqual([
    503,
    'store_unavailable',
    '5',
  ])
  // What cannot be read now is not "not found".
  expect((await fetch(`${node.gatewayUrl}/ipfs/${cid}`)).status).toBe(503)
  expect((await fetch(`${node.apiUrl}/healthz`)).status).toBe(200)
  const again = await startTestNats({ dataDir, port: first.port })
  onTestFinished(() => again.stop())
  await vi.waitFor(async () => expect(await readyStatus(node)).toBe(200), waiting)
  await roundTrip(node, randomBytes(2 * MiB))
  expect((await download(node, cid)).byteLength).toBe(2 * MiB)
})
