import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { headersFrom, startTestComms, type TestComms, token, userToken } from '../support/comms.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { waiting } from '../support/serving.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const start = () => startTestComms(server.url, onTestFinished)
const cloud = { 'Content-Type': 'application/cloudevents+json' }
const deep = `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`
const sha256 = (text: string) => createHash('sha256').update(text).digest()
const envelope = (more: object) =>
  JSON.stringify({ specversion: '1.0', id: 'i', source: 's', type: 'x.name.v1', data: {}, ...more })

type Row = readonly [
  what: string,
  subject: string,
  body: string | Uint8Array,
  headers: Record<string, string>,
  code: number,
]

/** bad-input 111. */
const rows: readonly Row[] = [
  ['an empty query', 'qry.main.get', '', {}, 400],
  ['an empty command', 'cmd.main.name', '', {}, 400],
  ['JSON that ends early', 'cmd.main.name', '{"name":"a"', {}, 400],
  ['JSON 10,000 deep', 'cmd.main.name', deep, {}, 400],
  ['JSON 10,000 deep in a known field', 'cmd.main.name', `{"name":${deep}}`, {}, 400],
  ['JSON 10,000 deep in a list of changes', 'cmd.main.name', `{"changes":[${deep}]}`, {}, 400],
  ['a JSON list', 'cmd.main.put', '[1]', { 'Stowage-Body': 'json' }, 400],
  ['an unknown field', 'qry.main.get', '{"nmae":"a"}', {}, 400],
  ['a prototype name', 'qry.main.get', '{"__proto__":{"name":"a"}}', {}, 400],
  ['a number for a name', 'qry.main.stat', '{"name":{"toString":1}}', {}, 400],
  ['bytes that are not UTF-8', 'qry.main.get', Uint8Array.of(0xff, 0xfe), {}, 400],
  ['content named twice', 'qry.main.get', 'a', { Name: 'b' }, 400],
  ['a malformed CID', 'qry.main.get', 'cid:bafynonsense', {}, 400],
  ['a malformed CID in the subject', 'qry.main.get.bafynonsense', '', {}, 400],
  ['a malformed CID to name', 'cmd.main.name', 'nonsense', { Name: 'a' }, 400],
  ['a name that climbs', 'cmd.main.put', 'x', { Name: '../a' }, 400],
  ['a path that climbs', 'qry.main.get', 'bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am/../a', {}, 400],
  ['base64 that is none', 'cmd.main.put', '{"contentBase64":"%%%"}', { 'Stowage-Body': 'json' }, 400],
  ['a profile that is none', 'cmd.main.put', 'x', { Profile: 'best' }, 400],
  ['a CAR that is none', 'cmd.main.import', 'x', {}, 400],
  ['an id that breaks out of its JSON', 'cmd.main.put', 'x', { 'Stowage-Command-Id': '"},{"id":"' }, 400],
  ['an owner of 10,000 letters', 'cmd.main.put', 'x', { 'Stowage-Owner': 'a'.repeat(10_000) }, 400],
  ['a body of an unknown kind', 'cmd.main.put', 'x', { 'Stowage-Body': 'xml' }, 400],
  ['an envelope without version', 'cmd.main.name', '{"id":"i"}', cloud, 400],
  ['an envelope without id', 'cmd.main.name', envelope({ id: undefined }), cloud, 400],
  ['an envelope whose owner is no text', 'cmd.main.name', envelope({ owner: 7 }), cloud, 400],
  ['an event on a command subject', 'cmd.main.name', envelope({ type: 'stowage.name.set.v1' }), cloud, 400],
  ['another command in the envelope', 'cmd.main.name', envelope({ type: 'stowage.delete.v1' }), cloud, 400],
  ['a query that says it is a command', 'qry.main.get', 'a', { 'Stowage-Kind': 'command' }, 400],
  ['a command that says it is an event', 'cmd.main.put', 'a', { 'Stowage-Kind': 'event' }, 400],
  [
    'an envelope with a reference to elsewhere',
    'cmd.main.put',
    envelope({ type: 'x.put.v1', dataref: 'http://169.254.169.254/' }),
    cloud,
    400,
  ],
  ['a ce- header that is not UTF-8', 'cmd.main.put', 'x', { 'ce-id': '%ff', 'ce-type': 'x.put.v1' }, 400],
  ['an upload that begins with content', 'cmd.main.put', 'x', { 'Stowage-Upload': 'begin' }, 400],
  ['a part of content', 'cmd.main.put', 'x', { 'Content-Range': 'bytes 1-1/2' }, 400],
  ['content that is encoded', 'cmd.main.put', 'x', { 'Content-Encoding': 'gzip' }, 415],
  ['an encoded CAR', 'cmd.main.import', 'x', { 'Content-Encoding': 'br' }, 415],
  ['a digest that does not fit', 'cmd.main.put', 'x', { Digest: `SHA-256=${sha256('y').toString('base64url')}` }, 400],
  ['a digest that is none', 'cmd.main.put', 'x', { 'Content-MD5': 'abc' }, 400],
  ['a Content-Type that is none', 'cmd.main.put', 'x', { Name: 'm', 'Content-Type': 'text/plain, text/html' }, 400],
  ['a media type that is none', 'cmd.main.put', 'x', { Name: 'm', 'Media-Type': 'html' }, 400],
  [
    'a media type in a field that is none',
    'cmd.main.name',
    JSON.stringify({
      name: 'm',
      cid: 'bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am',
      mediaType: ' text/html',
    }),
    {},
    404,
  ],
  [
    'a media type of an envelope that is none',
    'cmd.main.put',
    envelope({ type: 'x.put.v1', datacontenttype: 'a,b', data: { content: 'x', name: 'm' } }),
    cloud,
    400,
  ],
  ['an upload of a name', 'cmd.main.unname', '', { 'Stowage-Upload': 'begin' }, 400],
  [
    'a credit that is no number',
    'qry.main.get',
    'bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am',
    { 'Stowage-Credit': '-1' },
    404,
  ],
  ['a name that is not there', 'qry.main.get', 'nothing', {}, 404],
]

test('each bad message gets its error, quickly and in one shape, and the service goes on', async () => {
  const comms = await start()
  for (const [what, subject, body, headers, code] of rows) {
    const options = { timeout: 5_000, headers: headersFrom(headers) }
    const reply = await comms.connection.request(`${comms.domain}.${subject}`, body, options)
    expect([what, Number(reply.headers?.get('Nats-Service-Error-Code'))]).toEqual([what, code])
    expect(reply.headers?.get('Nats-Service-Error')).not.toBe('')
    expect([what, reply.json()]).toEqual([
      what,
      expect.objectContaining({ code: expect.any(String), message: expect.any(String) }),
    ])
    expect(reply.string()).not.toMatch(/\n\s+at |node_modules/)
  }
  await isWell(comms)
})

const user = { 'Stowage-Token': userToken }
const owned = envelope({ type: 'x.put.v1', owner: 'bob', data: { content: 'x' } })

/** bad-input 111: owner != account user. What comes of it: an error's code, or who the context says that it is for. */
const owners = [
  ['a user names another owner', 'x', { ...user, 'Stowage-Owner': 'bob' }, 403],
  ['a user names the admin', 'x', { ...user, 'Stowage-Owner': 'admin' }, 403],
  [
    'a user names another owner in an attribute',
    'x',
    { ...user, 'ce-id': 'i', 'ce-type': 'x.put.v1', 'ce-owner': 'bob' },
    403,
  ],
  ['a user names another owner in an envelope', owned, { ...user, ...cloud }, 403],
  ['a user names another owner in a field', '{"content":"x","owner":"bob"}', { ...user, 'Stowage-Body': 'json' }, 403],
  ['a user names itself', 'x', { ...user, 'Stowage-Owner': 'ann' }, { owner: 'ann', principal: 'ann' }],
  ['a user names nobody', 'x', user, { owner: 'ann', principal: 'ann' }],
  [
    'an admin names another owner',
    'x',
    { 'Stowage-Token': token, 'Stowage-Owner': 'bob' },
    { owner: 'bob', principal: 'admin' },
  ],
  ['nobody knows who names an owner', 'x', { 'Stowage-Owner': 'bob' }, { owner: 'bob', principal: 'anonymous' }],
  ['a token that is wrong is no claim', 'x', { 'Stowage-Token': 'wrong', 'Stowage-Owner': 'bob' }, 401],
] as const

test.each(owners)('%s: refused, or recorded with who said so', async (_what, body, headers, expected) => {
  const comms = await start()
  const reply = await comms.connection.request(`${comms.domain}.cmd.main.put`, body, {
    timeout: 5_000,
    headers: headersFrom(headers),
  })
  const code = reply.headers?.get('Nats-Service-Error-Code')
  if (typeof expected === 'number') {
    expect(Number(code)).toBe(expected)
    expect(comms.acts).toEqual([])
    expect(await comms.events()).toEqual([])
    return
  }
  expect(comms.acts.map(({ context }) => context)).toMatchObject([expected])
  const authtype = expected.principal === 'anonymous' ? 'unauthenticated' : 'user'
  expect(await comms.events()).toMatchObject([{ owner: expected.owner, authid: expected.principal, authtype }])
})

test('a queued command whose owner is not who sent it is a dead letter with its reason', async () => {
  const comms = await start()
  const headers = headersFrom({ ...user, Name: 'n', 'Stowage-Owner': 'bob' })
  await jetstream(comms.connection).publish(`${comms.domain}.queue.main.put`, 'x', { headers })
  const jsm = await jetstreamManager(comms.connection)
  await expect.poll(async () => (await jsm.streams.info(`${comms.domain}_queue`)).state.messages, waiting).toBe(0)
  const letter = await jsm.streams.getMessage(`${comms.domain}_dead`, { seq: 1 })
  expect(letter?.header.get('Stowage-Dead-Code')).toBe('403')
  expect(letter?.header.get('Stowage-Dead-Reason')).toContain('another owner than ann')
  expect((await comms.events()).map(({ type }) => type.split('.').slice(1, 3).join('.'))).toEqual(['message.dead'])
})

test('a verb that does not exist has no responders', async () => {
  const { connection, domain } = await start()
  for (const subject of ['qry.main.nothing', 'cmd.main.get', 'qry.main.put', 'cmd.other.put', 'cmd.main.put.x']) {
    await expect(connection.request(`${domain}.${subject}`, 'x')).rejects.toThrow(/no responders/i)
  }
})

test('a message above max_payload is refused before it comes to us', async () => {
  const comms = await start()
  const { connection, domain } = comms
  await expect(connection.request(`${domain}.cmd.main.put`, new Uint8Array(8 * 1024 * 1024 + 1))).rejects.toThrow()
  await isWell(comms)
})

test.each([
  '$JS.API.STREAM.DELETE.X',
  '$SYS.REQ.SERVER.PING',
  '$KV.b.k',
  'd.cmd.main.delete',
  'd.evt.local.main.x',
  'd.queue.main.put',
  'a.*',
  'a.>',
])('nothing is ever answered to %s, nor done for who asks that', async (reply) => {
  const comms = await start()
  const target = reply.replace(/^d\./, `${comms.domain}.`)
  const heard: string[] = []
  comms.connection.subscribe(target, { callback: (_error, message) => void heard.push(message.string()) })
  await comms.connection.flush()
  for (const [subject, body] of [
    ['qry.main.status', ''],
    ['qry.main.get', 'nothing'],
    ['cmd.main.put', 'smuggled'],
    ['cmd.main.name', '{'],
  ] as const) {
    await raw(server.port, `PUB ${comms.domain}.${subject} ${target} ${body.length}\r\n${body}\r\n`)
  }
  await isWell(comms)
  expect(heard).toEqual([])
  expect(comms.acts.map(({ context }) => context.id)).toEqual(['well'])
})

test('an API call of JetStream is not made through us: the stream is still there', async () => {
  const comms = await start()
  const jsm = await jetstreamManager(comms.connection)
  await jsm.streams.add({ name: `${comms.domain}_victim`, subjects: [`${comms.domain}x.>`] })
  const target = `$JS.API.STREAM.DELETE.${comms.domain}_victim`
  for (const verb of ['qry.main.status', 'qry.main.get'])
    await raw(server.port, `PUB ${comms.domain}.${verb} ${target} 0\r\n\r\n`)
  await isWell(comms)
  expect((await jsm.streams.info(`${comms.domain}_victim`)).state.messages).toBe(0)
})

test('a header block that is broken is an error, and one with a line break is two headers', async () => {
  const comms = await start()
  for (const block of [
    'NATS/1.0\r\nName\r\n\r\n',
    'NATS/9.9\r\n\r\n',
    'HTTP/1.1 200\r\nName: a\r\n\r\n',
    'NATS/1.0\r\nName: a\r\nNats-Rollup: all\r\n\r\n',
  ]) {
    await raw(server.port, `HPUB ${comms.domain}.cmd.main.unname ${block.length} ${block.length + 1}\r\n${block}x\r\n`)
  }
  await isWell(comms)
})

test('headers that mean something to JetStream are not passed on with what a command stores', async () => {
  const comms = await start()
  const smuggled = {
    'Nats-Rollup': 'all',
    'Nats-Expected-Last-Subject-Sequence': '999',
    'Nats-Expected-Stream': 'other',
    'Nats-TTL': '1s',
    'Nats-Batch-Id': 'b',
  }
  await comms.client.request('put', 'x', { Name: 'n', ...smuggled })
  await comms.client.request('put', 'y', { Name: 'n', ...smuggled })
  expect((await comms.events()).map(({ type }) => type.split('.').slice(1, 3).join('.'))).toEqual([
    'object.added',
    'name.set',
    'object.added',
    'name.set',
  ])
  const reply = await comms.connection.request(`${comms.domain}.qry.main.get`, 'n', {
    timeout: 1000,
    headers: headersFrom(smuggled),
  })
  expect([...(reply.headers?.keys() ?? [])].filter((name) => name.startsWith('Nats-'))).toEqual([])
})

test('a queue of nothing but bad messages empties, and a good one behind them is carried out', async () => {
  const comms = await start()
  const js = jetstream(comms.connection)
  const sent = rows.filter(([, subject]) => subject.startsWith('cmd.main.'))
  for (const [, subject, body, headers] of sent) {
    await js.publish(`${comms.domain}.queue.${subject.slice('cmd.'.length)}`, body, { headers: headersFrom(headers) })
  }
  await js.publish(`${comms.domain}.queue.main.put`, 'good', { headers: headersFrom({ Name: 'good' }) })
  const jsm = await jetstreamManager(comms.connection)
  await expect.poll(async () => (await jsm.streams.info(`${comms.domain}_queue`)).state.messages, waiting).toBe(0)
  expect((await jsm.streams.info(`${comms.domain}_dead`)).state.messages).toBe(sent.length)
  expect(Buffer.from((await comms.client.request('get', 'good')).data).toString()).toBe('good')
})

/** A put and a get as if nothing had been. */
async function isWell({ client }: TestComms): Promise<void> {
  await client.request('put', 'well', { Name: 'well', 'Stowage-Command-Id': 'well' })
  expect(Buffer.from((await client.request('get', 'well')).data).toString()).toBe('well')
}

/** What no client library would send. Resolves when the server has taken it, or has hung up. */
async function raw(port: number, text: string): Promise<void> {
  const socket = connectSocket(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(`CONNECT {"verbose":false,"headers":true}\r\n${text}PING\r\n`)
  let heard = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    heard += chunk
    if (/PONG|-ERR/.test(heard)) socket.end()
  })
  await once(socket, 'close')
}
