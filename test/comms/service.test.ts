import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { decodeEvent } from '../../src/events/envelope.ts'
import { testFolder } from '../support/cli.ts'
import { clientConnection, headersFrom, startTestComms, type TestComms } from '../support/comms.ts'
import { startFullNode } from '../support/full-node.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const cliOnPath = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'nats')))
const run = promisify(execFile)

async function ask({ connection }: Pick<TestComms, 'connection'>, subject: string) {
  return (await connection.request(subject)).json<Record<string, unknown>>()
}

test('a service is found, described and counted as ADR-32 has it', async () => {
  const comms = await startTestComms(server.url, onTestFinished)
  const { domain, serviceId: id } = comms
  const self = { name: domain, id, version: '1.2.3', metadata: { space: 'main', site: 'local' } }
  for (const path of [`.${domain}`, `.${domain}.${id}`]) {
    expect(await ask(comms, `$SRV.PING${path}`)).toEqual({ ...self, type: 'io.nats.micro.v1.ping_response' })
  }
  const info = await ask(comms, `$SRV.INFO.${domain}`)
  expect(info).toMatchObject({ ...self, type: 'io.nats.micro.v1.info_response', description: expect.any(String) })
  const endpoint = { name: 'put', subject: `${domain}.cmd.main.put`, queue_group: 'q', metadata: { kind: 'command' } }
  expect(info.endpoints).toContainEqual(endpoint)
  await comms.client.request('put', 'x', { Name: 'n' })
  await comms.client.request('get', 'n')
  await expect(comms.client.request('get', 'nothing')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  const stats = await ask(comms, `$SRV.STATS.${domain}.${id}`)
  expect(stats).toMatchObject({ ...self, type: 'io.nats.micro.v1.stats_response', started: expect.any(String) })
  expect(stats.endpoints).toContainEqual({
    name: 'get',
    subject: `${domain}.qry.main.get`,
    queue_group: 'q',
    num_requests: 2,
    num_errors: 1,
    last_error: '404:there is no name "nothing"',
    processing_time: expect.any(Number),
    average_processing_time: expect.any(Number),
  })
})

test('two nodes share the work, and one that is killed takes nothing stored with it', async () => {
  const first = await startTestComms(server.url, onTestFinished)
  const second = await startTestComms(server.url, onTestFinished, { domain: first.domain })
  const put = (i: number) => first.client.request('put', `text ${i}`, { Name: `n${i}` })
  await Promise.all(Array.from({ length: 40 }, (_, i) => put(i)))
  expect(first.acts.length + second.acts.length).toBe(40)
  expect(Math.min(first.acts.length, second.acts.length)).toBeGreaterThan(0)
  const before = second.acts.length
  await first.kill()
  const js = jetstream(second.connection)
  const stored = Array.from({ length: 20 }, (_, i) =>
    js.publish(`${first.domain}.queue.main.put`, `stored ${i}`, { headers: headersFrom({ Name: `s${i}` }) }),
  )
  await Promise.all(stored)
  await expect.poll(() => second.acts.length, { timeout: 40_000, interval: 50 }).toBe(before + 20)
  for (let i = 0; i < 20; i++) {
    await expect
      .poll(async () => JSON.parse(Buffer.from((await second.client.request('has', `s${i}`)).data).toString()).has)
      .toBe(true)
  }
})

test('scenario 14 through a bare connection: put, get by name and CID, and the events of these acts', async () => {
  const { nats, node } = await startFullNode(onTestFinished, {
    nats: server,
    env: { STOWAGE_NATS_COMMANDS: 'open', STOWAGE_DOMAIN: 'bare' },
  })
  expect(node.natsUrl).toBe(nats.url)
  const connection = await clientConnection(server.url, onTestFinished)
  const bytes = randomBytes(10_000)
  const headers = headersFrom({ Name: 'demo/a.bin', 'Stowage-Command-Id': 'run-1' })
  const put = await connection.request('bare.cmd.main.put', bytes, { timeout: 5_000, headers })
  const { cid } = put.json<{ cid: string }>()
  for (const reference of ['demo/a.bin', cid]) {
    const got = await connection.request('bare.qry.main.get', reference, { timeout: 5_000 })
    expect(createHash('sha256').update(got.data).digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
  }
  const consumer = await jetstream(connection).consumers.get('bare_events', {
    filter_subjects: ['object', 'name'].map((entity) => `bare.evt.*.main.${entity}.>`),
  })
  const events = []
  for await (const message of await consumer.fetch({ max_messages: 2 })) events.push(decodeEvent(message.data))
  await consumer.delete()
  expect(events.map((event) => [event?.type, event?.subject, event?.correlationid])).toEqual([
    ['bare.object.added.v1', cid, 'run-1'],
    ['bare.name.set.v1', 'demo/a.bin', 'run-1'],
  ])
})

// The `nats` CLI is no part of this project: where it is not on PATH, the bare connection above shows the same calls.
test.skipIf(!cliOnPath)('scenario 14 by a shell script with nothing but the nats CLI', async () => {
  await startFullNode(onTestFinished, {
    nats: server,
    env: { STOWAGE_NATS_COMMANDS: 'token', STOWAGE_DOMAIN: 'shell' },
  })
  const folder = await testFolder(onTestFinished)
  const file = join(folder, 'noise.bin')
  await writeFile(file, randomBytes(100_000))
  const script = resolve(import.meta.dirname, '../../examples/shell-service.sh')
  const env = { PATH: process.env.PATH, HOME: folder, NATS_URL: server.url, STOWAGE_DOMAIN: 'shell' }
  const { stdout } = await run('sh', [script, file], { env: { ...env, STOWAGE_TOKEN: 'stw_token_of_a_full_node' } })
  const cid = /^cid +(\S+)$/m.exec(stdout)?.[1]
  expect(stdout.split('\n')).toEqual([
    'put       demo/noise.bin',
    `cid       ${cid}`,
    'verified  demo/noise.bin',
    `verified  ${cid}`,
    'queued    demo/noise.bin.copy',
    `event     object.added ${cid}`,
    'event     name.set demo/noise.bin',
    'event     name.set demo/noise.bin.copy',
    '',
  ])
  const { stdout: listed } = await run('nats', ['micro', 'ls'], { env })
  expect(listed).toContain('shell')
  await expect(run('sh', [script, file], { env })).rejects.toMatchObject({
    stderr: expect.stringContaining('unauthorized'),
  })
})
