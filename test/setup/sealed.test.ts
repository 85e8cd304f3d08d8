import { randomBytes } from 'node:crypto'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { expect, onTestFinished, test } from 'vitest'
import { openNodeCli } from '../support/full-node.ts'

/** A node with its command line, and the server below it as an administrator sees it. */
async function nodeAndServer() {
  const node = await openNodeCli(onTestFinished)
  const connection = await connect({ servers: node.nats.url })
  onTestFinished(() => connection.close())
  const { streams } = await jetstreamManager(connection)
  const change = async (stream: string, to: object) => {
    const { config } = await streams.info(stream)
    await streams.update(stream, { ...config, ...to })
  }
  const { apiUrl, gatewayUrl } = node.node
  const headers = { authorization: `Bearer ${node.token}` }
  const put = async (path: string, body: Uint8Array | string, method = 'POST') => {
    const reply = await fetch(`${apiUrl}/api/v1/${path}`, { method, headers, body })
    return { status: reply.status, body: (await reply.json()) as { cid?: string; code?: string; message?: string } }
  }
  const ready = async () => {
    const reply = await fetch(`${apiUrl}/readyz`)
    return { status: reply.status, text: await reply.text() }
  }
  return { node, streams, change, put, ready, gatewayUrl, apiUrl, headers }
}

const bucket = (shard: number) => `OBJ_stowage-main-local-a-${shard}`

test('a sealed bucket: puts name it, reads go on, readyz and doctor tell', async () => {
  const { node, change, put, ready, gatewayUrl } = await nodeAndServer()
  const { cid } = (await put('objects', 'kept')).body
  expect((await ready()).status).toBe(200)
  for (const shard of [0, 1]) await change(bucket(shard), { sealed: true })
  // Small ones go in batches, large ones alone, larger ones in many.
  for (const size of [100, 300_000, 3_000_000]) {
    const refused = await put('objects', randomBytes(size))
    expect(refused).toMatchObject({ status: 500, body: { code: 'store_refused' } })
    expect(refused.body.message).toMatch(/bucket stowage-main-local-a-\d .*sealed.*10109/)
  }
  expect(await (await fetch(`${gatewayUrl}/ipfs/${cid}`)).text()).toBe('kept')
  const { status, text } = await ready()
  expect([status, text]).toEqual([500, expect.stringMatching(/OBJ_stowage-main-local-a-0 is sealed/)])
  const doctor = await node.run(['doctor'])
  expect([doctor.exitCode, doctor.stdout]).toEqual([1, expect.stringMatching(/fail +streams +stream OBJ_.*is sealed/)])
})

test('a sealed event log: commands name it, and what was put before can be read', async () => {
  const { change, put, ready, gatewayUrl } = await nodeAndServer()
  const { cid } = (await put('names/a', 'kept', 'PUT')).body
  await change('stowage_events', { sealed: true })
  const refused = await put('names/a', 'more', 'PUT')
  expect(refused).toMatchObject({ status: 500, body: { code: 'store_refused' } })
  expect(refused.body.message).toMatch(/stowage\.evt.*sealed/)
  expect(await (await fetch(`${gatewayUrl}/ipfs/${cid}`)).text()).toBe('kept')
  expect((await ready()).text).toMatch(/stowage_events is sealed/)
})

test.each([
  ['max_bytes', { max_bytes: 20_000 }],
  ['max_msgs', { max_msgs: 8 }],
])('a bucket with %s that is reached is full: 507, and told', async (bound, to) => {
  const { change, put, ready } = await nodeAndServer()
  for (const shard of [0, 1]) await change(bucket(shard), to)
  const refusals: { status: number; body: object }[] = []
  for (let i = 0; i < 40 && refusals.length === 0; i++) {
    const reply = await put('objects', randomBytes(4_000))
    if (reply.status !== 201) refusals.push(reply)
  }
  expect(refusals).toMatchObject([{ status: 507, body: { code: 'store_full' } }])
  expect(JSON.stringify(refusals)).toMatch(/bucket stowage-main-local-a-\d/)
  if (bound === 'max_msgs') expect((await ready()).text).toMatch(/has reached its max_msgs/)
})

test('a message that is larger than a stream takes by now is told, and no internal error', async () => {
  const { change, put } = await nodeAndServer()
  for (const shard of [0, 1]) await change(bucket(shard), { max_msg_size: 1_000 })
  const refused = await put('objects', randomBytes(4_000))
  expect(refused).toMatchObject({ status: 500, body: { code: 'store_refused' } })
  expect(refused.body.message).toMatch(/bucket stowage-main-local-a-\d .*message size/)
})

test('a stream of ours that was deleted makes the node not ready', async () => {
  const { streams, ready } = await nodeAndServer()
  await streams.delete('KV_stowage_deleted')
  const { status, text } = await ready()
  expect([status, text]).toEqual([500, expect.stringMatching(/KV_stowage_deleted is gone/)])
})
