import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { headersFrom, startTestComms, type TestComms, userToken } from '../support/comms.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { waiting } from '../support/serving.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const open = ({ onTestFinished }: TestContext, flags = {}) => startTestComms(server.url, onTestFinished, { flags })
const tell = (
  { connection, domain }: TestComms,
  subject: string,
  body: string,
  headers: Record<string, string> = {},
  reply?: string,
) =>
  connection.publish(`${domain}.${subject}`, body, {
    headers: headersFrom(headers),
    ...(reply === undefined ? {} : { reply }),
  })
const stories = async (comms: TestComms) =>
  (await comms.events()).map(({ type, data }) => `${type.split('.').slice(1, 3).join('.')} ${data.name ?? ''}`.trim())

test('commands that want no answer are carried out', async (context) => {
  const comms = await open(context)
  tell(comms, 'cmd.main.put', 'fire and forget', { Name: 'a', Wait: 'policy' })
  await expect.poll(() => comms.unanswered.counts.done, waiting).toBe(1)
  expect(Buffer.from((await comms.client.request('get', 'a')).data).toString()).toBe('fire and forget')
  tell(comms, 'cmd.main.rename', 'a', { To: 'b' })
  await expect.poll(() => comms.unanswered.counts.done, waiting).toBe(2)
  tell(comms, 'cmd.main.unname', 'b')
  await expect.poll(() => comms.unanswered.counts, waiting).toEqual({ done: 3, failed: 0, queries: 0 })
  expect(await stories(comms)).toEqual(['object.added', 'name.set a', 'name.set b', 'name.removed a', 'name.removed b'])
  expect(comms.warned).toEqual([])
})

test('those that fail or are refused are told: in the log of the process, in the metric, and as events where they began', async (context) => {
  const comms = await open(context, { NATS_COMMANDS: 'token' })
  const token = { 'Stowage-Token': userToken }
  tell(comms, 'cmd.main.unname', 'nothing', token)
  await expect.poll(() => comms.unanswered.counts.failed, waiting).toBe(1)
  expect(comms.warned).toEqual([expect.objectContaining({ verb: 'unname', code: 404, notLogged: 0 })])
  expect(await stories(comms)).toEqual(['name.failed'])
  tell(comms, 'cmd.main.name', '{"name":', token)
  tell(comms, 'cmd.main.put', 'x')
  tell(comms, 'cmd.main.put', '', { ...token, 'Stowage-Upload': 'begin' })
  await expect.poll(() => comms.unanswered.counts, waiting).toEqual({ done: 0, failed: 4, queries: 0 })
})

test('of many in a second one is logged, and how many were not', async (context) => {
  const comms = await open(context)
  const many = 200
  for (let i = 0; i < many; i++) tell(comms, 'cmd.main.name', '{"name":')
  await expect.poll(() => comms.unanswered.counts.failed, waiting).toBe(many)
  expect(comms.warned.length).toBeLessThan(many)
})

test('a query that wants no answer is counted, and a subject that must not be written to is not answered', async (context) => {
  const comms = await open(context)
  tell(comms, 'qry.main.get', 'a')
  await expect.poll(() => comms.unanswered.counts.queries, waiting).toBe(1)
  tell(comms, 'cmd.main.put', 'x', { Name: 'a' }, '$JS.API.INFO')
  tell(comms, 'cmd.main.put', 'x', { Name: 'a' }, `${comms.domain}.queue.main.put`)
  await expect.poll(() => comms.unanswered.counts.failed, waiting).toBe(2)
  expect(await comms.events()).toEqual([])
})
