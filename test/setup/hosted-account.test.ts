import { randomBytes } from 'node:crypto'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { expect, inject, onTestFinished, test } from 'vitest'
import { startTestNats } from '../support/nats.ts'
import { runNodeToItsEnd } from '../support/node-process.ts'
import { roundTrip, startServing, statusOf, temporaryFolder, upload } from '../support/serving.ts'

/** A server as providers run it: our account is one of several, and wants a size of every stream. */
async function hostedAccount(jetstream: string) {
  const users = '{ user: a, password: a }'
  const nats = await startTestNats({
    extraConfig: `accounts { A { jetstream { ${jetstream} }, users: [ ${users} ] } }`,
  })
  onTestFinished(() => nats.stop())
  return nats.url.replace('//', '//a:a@')
}

async function managerOf(url: string): Promise<JetStreamManager> {
  const connection = await connect({ servers: url, user: 'a', pass: 'a' })
  onTestFinished(() => connection.close())
  return jetstreamManager(connection)
}

const wanting = 'max_file: 4G, max_mem: 64M, max_bytes_required: true'
const small = { STOWAGE_SHARDS: '2', STOWAGE_STORE_WAIT_SECONDS: '2' }

test('an account that wants a size of every stream has shares of its limit given out, and the node says so', async () => {
  const url = await hostedAccount(wanting)
  const env = { ...small, STOWAGE_NATS_URL: url }
  const node = await startServing(onTestFinished, { env })
  expect(node.output()).toMatch(/wants a size for every stream/)
  expect((await statusOf(node)).nats).toMatchObject({ streamSizes: 'account' })
  await roundTrip(node, randomBytes(3_000_000))
  const { streams } = await managerOf(url)
  const configs = (await streams.list().next()).map(({ config }) => config)
  expect(configs.length).toBeGreaterThan(10)
  expect(configs.filter(({ max_bytes }) => max_bytes <= 0)).toEqual([])
  // An event is never dropped for a newer one.
  expect(configs.find(({ name }) => name === 'stowage_events')?.discard).toBe('new')
  // A second start finds its streams as they are.
  expect(await node.end('SIGTERM')).toBe(0)
  await startServing(onTestFinished, { dataDir: node.dataDir, env })
})

test('a log of that size that is full refuses and loses nothing', async () => {
  const url = await hostedAccount(wanting)
  const env = { ...small, STOWAGE_NATS_URL: url, STOWAGE_STREAM_BYTES_MAX: 'events=16KiB' }
  const node = await startServing(onTestFinished, { env })
  const replies = [await upload(node, randomBytes(100))]
  for (let i = 0; i < 200 && replies.at(-1)?.status === 201; i++) replies.push(await upload(node, randomBytes(100)))
  expect(replies.at(-1)).toMatchObject({ status: 507, body: { code: 'store_full' } })
  const { state } = await (await managerOf(url)).streams.info('stowage_events')
  expect(state.first_seq).toBe(1)
  expect(state.messages).toBeGreaterThanOrEqual(replies.length - 1)
})

test('without a limit to share out the line says what to set; with that the node starts', async () => {
  const url = await hostedAccount('max_bytes_required: true')
  const env = { ...small, STOWAGE_NATS_URL: url }
  const dataDir = await temporaryFolder(onTestFinished)
  const { exitCode, stderr } = await runNodeToItsEnd({ natsServer: inject('natsServer'), dataDir, env })
  expect([exitCode, stderr]).toEqual([
    2,
    expect.stringMatching(/wants a size for every stream.*STOWAGE_STREAM_BYTES_MAX=/),
  ])
  const given = 'blocks=64MiB,events=16MiB,kv=4MiB,moves=4MiB'
  const node = await startServing(onTestFinished, { dataDir, env: { ...env, STOWAGE_STREAM_BYTES_MAX: given } })
  expect((await statusOf(node)).nats).toMatchObject({ streamSizes: 'account' })
})

test('an account that may have few streams is one line that says so', async () => {
  const url = await hostedAccount('max_streams: 3')
  const dataDir = await temporaryFolder(onTestFinished)
  const env = { ...small, STOWAGE_NATS_URL: url }
  const { exitCode, stderr } = await runNodeToItsEnd({ natsServer: inject('natsServer'), dataDir, env })
  expect([exitCode, stderr]).toEqual([6, expect.stringMatching(/may have no more streams: \S+ is missing/)])
})
