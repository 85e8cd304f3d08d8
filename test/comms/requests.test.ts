import { EventEmitter, once } from 'node:events'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import type { Verbs } from '../../src/content/verbs.ts'
import { headersFrom, startTestComms, type TestComms, token } from '../support/comms.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const open = ({ onTestFinished }: TestContext, options = {}) => startTestComms(server.url, onTestFinished, options)

/** As a client without any code of ours sends it. */
async function ask(
  comms: TestComms,
  subject: string,
  body: string | Uint8Array = '',
  headers: Record<string, string> = {},
) {
  const options = { timeout: 5_000, headers: headersFrom(headers) }
  const reply = await comms.connection.request(`${comms.domain}.${subject}`, body, options)
  const code = reply.headers?.get('Nats-Service-Error-Code') ?? ''
  return {
    data: reply.data,
    text: reply.string(),
    headers: reply.headers,
    code: code === '' ? undefined : Number(code),
  }
}

const json = (reply: { readonly text: string }) => JSON.parse(reply.text) as Record<string, unknown>

test('a put with a name is a get by name, by CID and by subject', async (context) => {
  const comms = await open(context)
  const put = await ask(comms, 'cmd.main.put', 'hello', { Name: 'docs/a.txt', 'Content-Type': 'text/plain' })
  const { cid } = json(put)
  expect(put.code).toBeUndefined()
  expect(json(put)).toMatchObject({ size: 5, name: { name: 'docs/a.txt', mediaType: 'text/plain' }, repeated: false })
  for (const reference of ['docs/a.txt', 'name:docs/a.txt', `${cid}`, `cid:${cid}`, `/ipfs/${cid}`, 'docs/a.txt\n']) {
    expect((await ask(comms, 'qry.main.get', reference)).text).toBe('hello')
  }
  expect((await ask(comms, `qry.main.get.${cid}`)).text).toBe('hello')
  const byName = await ask(comms, 'qry.main.get', JSON.stringify({ name: 'docs/a.txt' }))
  expect(byName.headers?.get('Stowage-Cid')).toBe(cid)
  expect(byName.headers?.get('Content-Type')).toBe('text/plain')
  expect(Number(byName.headers?.get('Stowage-Revision'))).toBeGreaterThan(0)
})

test('a range comes by header and by field, and what lies outside is refused', async (context) => {
  const comms = await open(context)
  await ask(comms, 'cmd.main.put', '0123456789', { Name: 'n' })
  const part = await ask(comms, 'qry.main.get', 'n', { Range: 'bytes=2-4' })
  expect([part.text, part.headers?.get('Content-Range')]).toEqual(['234', 'bytes 2-4/10'])
  expect((await ask(comms, 'qry.main.get', JSON.stringify({ name: 'n', range: 'bytes=-3' }))).text).toBe('789')
  expect((await ask(comms, 'qry.main.get', 'n', { Range: 'bytes=8-' })).text).toBe('89')
  expect((await ask(comms, 'qry.main.get', 'n', { Range: 'bytes=10-' })).code).toBe(416)
  expect((await ask(comms, 'qry.main.get', 'n', { Range: 'lines=1-2' })).code).toBe(400)
})

test('every query answers in JSON', async (context) => {
  const comms = await open(context)
  const { cid } = json(await ask(comms, 'cmd.main.put', 'hello', { Name: 'docs/a.txt' }))
  expect(json(await ask(comms, 'qry.main.stat', 'docs/a.txt'))).toMatchObject({
    cid,
    kind: 'file',
    size: 5,
    codec: 'raw',
  })
  expect(json(await ask(comms, 'qry.main.resolve', 'docs/a.txt'))).toMatchObject({ cid, name: 'docs/a.txt', size: 5 })
  expect(json(await ask(comms, 'qry.main.names', 'docs/'))).toMatchObject({ names: [{ name: 'docs/a.txt' }] })
  expect(json(await ask(comms, 'qry.main.names', `${cid}`))).toMatchObject({ cid, names: [{ name: 'docs/a.txt' }] })
  expect(json(await ask(comms, 'qry.main.names'))).toMatchObject({ names: [{ name: 'docs/a.txt' }] })
  expect(json(await ask(comms, 'qry.main.links', `${cid}`))).toEqual({ cid, links: [] })
  expect(json(await ask(comms, 'qry.main.has', `${cid}`))).toEqual({ has: true, cid })
  expect(json(await ask(comms, 'qry.main.has', 'nothing/here'))).toEqual({ has: false })
  expect(json(await ask(comms, 'qry.main.status'))).toEqual({ version: 'test' })
  const directory = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354'
  const missing = await ask(comms, 'qry.main.list', directory)
  expect([missing.code, json(missing).code]).toEqual([404, 'block_not_found'])
})

test('every command answers with its outcome', async (context) => {
  const comms = await open(context)
  const { cid } = json(await ask(comms, 'cmd.main.put', 'hello'))
  const named = await ask(comms, 'cmd.main.name', `${cid}`, { Name: 'a' })
  expect(json(named)).toMatchObject({ entries: [{ name: 'a', cid, size: 5 }] })
  const revision = named.headers?.get('Stowage-Revision') ?? ''
  expect((await ask(comms, 'cmd.main.name', `${cid}`, { Name: 'a', 'If-None-Match': '*' })).code).toBe(412)
  expect((await ask(comms, 'cmd.main.name', `${cid}`, { Name: 'a', 'If-Match': '"99"' })).code).toBe(412)
  expect((await ask(comms, 'cmd.main.name', `${cid}`, { Name: 'a', 'If-Match': `"${revision}"` })).code).toBeUndefined()
  expect(json(await ask(comms, 'cmd.main.rename', 'a', { To: 'b' }))).toMatchObject({ entries: [{ name: 'b' }, null] })
  const both = {
    changes: [
      { name: 'b', remove: true },
      { name: 'c', cid },
    ],
  }
  expect(json(await ask(comms, 'cmd.main.name', JSON.stringify(both)))).toMatchObject({
    entries: [null, { name: 'c' }],
  })
  const refused = await ask(comms, 'cmd.main.delete', `${cid}`)
  expect([refused.code, json(refused).code]).toEqual([409, 'object_named'])
  expect(json(await ask(comms, 'cmd.main.delete', `${cid}`, { Force: 'true' }))).toMatchObject({ namesRemoved: ['c'] })
  expect((await ask(comms, 'qry.main.get', `${cid}`)).code).toBe(410)
  expect((await ask(comms, 'cmd.main.name', JSON.stringify({ name: 'd', cid }))).code).toBe(410)
  await ask(comms, 'cmd.main.put', 'hello', { Name: 'd' })
  expect(json(await ask(comms, 'cmd.main.unname', 'd'))).toMatchObject({ entries: [null] })
})

test('the id, correlation, causation and owner of a message reach the verb, and are made where absent', async (context) => {
  const comms = await open(context)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await ask(comms, 'cmd.main.put', 'x', {
    'Stowage-Command-Id': 'order-1',
    'Stowage-Correlation-Id': 'order',
    'Stowage-Causation-Id': 'click',
    'Stowage-Owner': 'ann',
    traceparent,
  })
  const envelope = {
    specversion: '1.0',
    id: 'order-2',
    source: '//shop',
    type: 'com.shop.put.v1',
    correlationid: 'order',
    owner: 'bob',
    datacontenttype: 'text/plain',
    data_base64: Buffer.from('in an envelope').toString('base64'),
  }
  const cloud = { 'Content-Type': 'application/cloudevents+json' }
  const { cid } = json(await ask(comms, 'cmd.main.put', JSON.stringify(envelope), { ...cloud, Name: 'e' }))
  expect((await ask(comms, 'qry.main.get', `${cid}`)).text).toBe('in an envelope')
  await ask(comms, 'cmd.main.put', 'z', { 'ce-id': 'order%2D3', 'ce-type': 'shop.put.v1', 'ce-owner': 'Jos%C3%A9' })
  await ask(comms, 'cmd.main.put', 'w')
  const [first, second, third, fourth] = comms.acts.map(({ context }) => context)
  expect(first).toMatchObject({ id: 'order-1', correlation: 'order', causation: 'click', owner: 'ann', traceparent })
  expect(second).toMatchObject({
    id: 'order-2',
    correlation: 'order',
    owner: 'bob',
    principal: 'anonymous',
    via: 'nats',
  })
  expect(third).toMatchObject({ id: 'order-3', owner: 'José' })
  expect(fourth).toMatchObject({ correlation: fourth?.id, causation: undefined, owner: 'anonymous' })
  expect(fourth?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/)
})

test('the same command id twice has one effect and one outcome', async (context) => {
  const comms = await open(context)
  const first = json(await ask(comms, 'cmd.main.put', 'one', { 'Nats-Msg-Id': 'same', Name: 'n' }))
  const again = await ask(comms, 'cmd.main.put', 'one', { 'Nats-Msg-Id': 'same', Name: 'n' })
  expect(json(again)).toEqual({ ...first, repeated: true })
  expect(again.headers?.get('Stowage-Repeated')).toBe('true')
})

test('JSON carries content where the request says so, and is content where it does not', async (context) => {
  const comms = await open(context)
  const body = JSON.stringify({ name: 'j', content: 'inside' })
  await ask(comms, 'cmd.main.put', body, { 'Stowage-Body': 'json' })
  expect((await ask(comms, 'qry.main.get', 'j')).text).toBe('inside')
  await ask(comms, 'cmd.main.put', body, { Name: 'k', 'Content-Type': 'application/json' })
  expect((await ask(comms, 'qry.main.get', 'k')).text).toBe(body)
})

test('where commands need the token, one without it is refused and reads stay open', async (context) => {
  const comms = await open(context, { flags: { NATS_COMMANDS: 'token' } })
  expect((await ask(comms, 'cmd.main.put', 'x')).code).toBe(401)
  expect((await ask(comms, 'cmd.main.put', 'x', { 'Stowage-Token': 'wrong' })).code).toBe(401)
  const put = await ask(comms, 'cmd.main.put', 'x', { 'Stowage-Token': token })
  expect(put.code).toBeUndefined()
  expect(comms.acts.map(({ context }) => context.principal)).toEqual(['admin'])
  expect((await ask(comms, 'qry.main.get', `${json(put).cid}`)).text).toBe('x')
})

test('each get is a read, also one that finds nothing', async (context) => {
  const comms = await open(context)
  const { cid } = json(await ask(comms, 'cmd.main.put', 'hello', { Name: 'n' }))
  await ask(comms, 'qry.main.get', 'n', { Range: 'bytes=0-1' })
  await ask(comms, 'qry.main.get', `${cid}`)
  await ask(comms, 'qry.main.get', 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
  expect(comms.reads).toMatchObject([
    { cid, path: '/names/n', range: 'bytes=0-1', bytes: 2, status: 206, name: 'n' },
    { cid, path: `/ipfs/${cid}`, range: null, bytes: 5, status: 200, name: null },
    { cid: 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', status: 404, bytes: 0 },
  ])
})

test('a node with as much to do as it may refuses more, and works on when that is done', async (context) => {
  const gate = new EventEmitter()
  const held = once(gate, 'open')
  const comms = await open(context, {
    flags: { NATS_REQUESTS_MAX: '1' },
    verbs: (verbs: Verbs) => ({
      ...verbs,
      resolveName: async (...args: Parameters<typeof verbs.resolveName>) => {
        await held
        return verbs.resolveName(...args)
      },
    }),
  })
  await ask(comms, 'cmd.main.put', 'x', { Name: 'n' })
  const slow = ask(comms, 'qry.main.get', 'n')
  await expect.poll(async () => (await ask(comms, 'qry.main.status')).code).toBe(503)
  gate.emit('open')
  expect((await slow).text).toBe('x')
  expect((await ask(comms, 'qry.main.status')).code).toBeUndefined()
})

test('what a client writes never becomes part of the subject that a read is recorded on', async (context) => {
  const comms = await open(context)
  for (const text of ['a b', 'a\r\nPUB x 0', '>', 'docs.*', 'cid:>', '']) await ask(comms, 'qry.main.get', text)
  expect(comms.reads).toEqual([])
  const upper = 'BAFKREIGH2AKISCAILDCQABSYG3DFR6CHU3FGPREGIYMSCK7E7AQA4S52ZY'
  await ask(comms, 'qry.main.get', `B${upper.slice(1)}/a b`)
  expect(comms.reads).toMatchObject([
    { cid: upper.toLowerCase(), path: `/ipfs/${upper.toLowerCase()}/a%20b`, status: 404 },
  ])
})

test('what stands below /ipns/ is asked for as content is', async (context) => {
  const comms = await open(context)
  const put = json(await ask(comms, 'cmd.main.put', 'published', { Name: 'site.example.org' }))
  for (const reference of ['/ipns/site.example.org', '/ipns/Site.example.org/']) {
    expect((await ask(comms, 'qry.main.get', reference)).text).toBe('published')
    expect(json(await ask(comms, 'qry.main.resolve', reference))).toMatchObject({ cid: put.cid })
  }
  expect((await ask(comms, 'qry.main.get', '/ipns/site.example.org/below')).code).toBe(404)
  expect((await ask(comms, 'qry.main.get', '/ipns/other.example.org')).code).toBe(500)
  expect((await ask(comms, 'qry.main.resolve', '/ipns/nothing')).code).toBe(400)
  expect(json(await ask(comms, 'qry.main.has', '/ipns/other.example.org'))).toEqual({ has: false })
})
