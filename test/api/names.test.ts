import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { type HttpAnswer, httpOf, type NodeHttp } from '../support/node-http.ts'
import { tar } from '../support/tar.ts'

const closers: (() => unknown)[] = []
let full: FullNode
let http: NodeHttp
beforeAll(async () => {
  full = await startFullNode((close) => closers.push(close as () => unknown))
  http = httpOf(full)
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

const absentCid = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
/** As curl sends it. */
const utf8 = (text: string) => Buffer.from(text).toString('latin1')
const codes = ({ status, json }: HttpAnswer) => [status, json?.code]
const post = (body: unknown, headers: Record<string, string> = {}) =>
  http.api('/names', { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers })

interface Line {
  readonly sequence: number
  readonly event: { readonly id: string; readonly type: string; readonly subject: string } & Record<string, unknown>
}

async function eventsSince(sequence: number, node: NodeHttp = http): Promise<Line[]> {
  const reply = await node.api(`/events?since=${sequence}`, { headers: { accept: 'application/x-ndjson' } })
  expect(reply.status).toBe(200)
  return reply.text.split('\n').flatMap((line) => (line === '' ? [] : (JSON.parse(line) as Line)))
}

const lastSequence = async () => (await eventsSince(0)).at(-1)?.sequence ?? 0

describe('PUT', () => {
  test('of a new name is 201, of one that is there 200, with revision, CID and the event', async () => {
    const first = await http.put('put/a.txt', 'one', { 'content-type': 'text/plain' })
    expect(first.status).toBe(201)
    expect(first.json).toMatchObject({
      name: 'put/a.txt',
      cid: expect.stringMatching(/^bafkrei/),
      size: 3,
      blocks: 1,
      mediaType: 'text/plain',
      owner: 'admin',
      path: `/ipfs/${first.json?.cid}`,
    })
    expect(first.headers.get('etag')).toBe(`"${first.json?.revision}"`)
    expect(first.headers.get('location')).toBe('/api/v1/names/put/a.txt')
    const second = await http.put('put/a.txt', 'two')
    expect(second.status).toBe(200)
    expect(Number(second.json?.revision)).toBeGreaterThan(Number(first.json?.revision))
    const got = await http.api('/names/put/a.txt', { token: null })
    expect([got.status, got.json]).toMatchObject([200, { cid: second.json?.cid, revision: second.json?.revision }])
    expect(
      (await http.api('/names/put/a.txt', { headers: { 'if-none-match': String(got.headers.get('etag')) } })).status,
    ).toBe(304)
    expect((await http.gateway('/names/put/a.txt')).text).toBe('two')
  })

  test('takes a tar as a directory and a CAR as what it holds', async () => {
    const body = tar({ path: 'x/y.txt', content: 'in a tar' })
    const directory = await http.put('put/dir', body, { 'content-type': 'application/x-tar' })
    expect(directory.status).toBe(201)
    expect((await http.gateway('/names/put/dir/y.txt')).text).toBe('in a tar')
    const car = await http.gateway('/names/put/dir?format=car')
    const imported = await http.put('put/car', car.bytes, { 'content-type': 'application/vnd.ipld.car' })
    expect(imported.json).toMatchObject({ cid: directory.json?.cid, roots: [directory.json?.cid], newBlocks: 0 })
  })

  test('with cid= names what is stored, whatever the spelling; what is not stored is 404', async () => {
    const { json } = await http.put('put/source', 'by cid')
    const named = await http.api(`/names/put/alias?cid=${json?.cid}`, { method: 'PUT' })
    expect([named.status, named.json]).toMatchObject([201, { name: 'put/alias', cid: json?.cid }])
    expect(named.headers.get('stowage-event-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect((await http.gateway('/names/put/alias')).text).toBe('by cid')
    expect(codes(await http.api(`/names/put/none?cid=${absentCid}`, { method: 'PUT' }))).toEqual([
      404,
      'block_not_found',
    ])
    expect(codes(await http.api('/names/put/none?cid=nonsense', { method: 'PUT' }))).toEqual([400, 'cid_invalid'])
    const both = await http.api(`/names/put/none?cid=${json?.cid}`, { method: 'PUT', body: 'and a body' })
    expect(codes(both)).toEqual([400, 'request_invalid'])
    expect((await http.api('/names/put/none')).status).toBe(404)
  })

  test('POST /objects?name= stores and names in one', async () => {
    const reply = await http.api('/objects?name=put/posted&raw-leaves=true', { method: 'POST', body: 'posted' })
    expect([reply.status, reply.json]).toMatchObject([201, { size: 6, name: { name: 'put/posted' } }])
    expect((await http.gateway('/names/put/posted')).text).toBe('posted')
    const again = await http.api('/objects?name=put/posted', {
      method: 'POST',
      body: 'other',
      headers: { 'if-none-match': '*' },
    })
    expect(codes(again)).toEqual([412, 'revision_conflict'])
  })
})

describe('compare-and-set (bad-input 106)', () => {
  test('a stale, a weak and a missing revision are 412; the right one, * and a list of them pass', async () => {
    const { json } = await http.put('cas/a', '1')
    const r1 = `"${json?.revision}"`
    const put = (headers: Record<string, string>, name = 'cas/a') => http.put(name, randomUUID(), headers)
    const second = await put({ 'if-match': r1 })
    expect(second.status).toBe(200)
    const r2 = `"${second.json?.revision}"`
    for (const headers of [{ 'if-match': r1 }, { 'if-match': `W/${r2}` }, { 'if-none-match': '*' }]) {
      expect(codes(await put(headers))).toEqual([412, 'revision_conflict'])
    }
    expect(codes(await put({ 'if-match': '*' }, 'cas/none'))).toEqual([412, 'revision_conflict'])
    expect(codes(await put({ 'if-match': '"1"' }, 'cas/none'))).toEqual([412, 'revision_conflict'])
    expect((await put({ 'if-match': `${r1}, ${r2}` })).status).toBe(200)
    expect((await put({ 'if-match': '*' })).status).toBe(200)
    for (const headers of [{ 'if-match': 'abc' }, { 'if-match': '"x"' }, { 'if-none-match': r2 }, { 'if-match': '' }]) {
      expect(codes(await put(headers))).toEqual([400, 'request_invalid'])
    }
    expect(codes(await put({ 'if-match': r2, 'if-none-match': '*' }))).toEqual([400, 'request_invalid'])
    expect(codes(await http.api('/names/cas/a', { method: 'DELETE', headers: { 'if-match': r1 } }))).toEqual([
      412,
      'revision_conflict',
    ])
  })

  test('of 32 that set one revision exactly one wins, round after round', async () => {
    let { json } = await http.put('cas/race', 'start')
    for (let round = 0; round < 4; round++) {
      const revision = `"${json?.revision}"`
      const replies = await Promise.all(
        Array.from({ length: 32 }, (_, i) => http.put('cas/race', `${round}-${i}`, { 'if-match': revision })),
      )
      const won = replies.filter(({ status }) => status === 200)
      expect(won).toHaveLength(1)
      expect(replies.filter(({ status }) => status === 412)).toHaveLength(31)
      json = won[0]?.json
      expect((await http.api('/names/cas/race')).json?.revision).toBe(json?.revision)
    }
  })
})

describe('one command, sent twice', () => {
  test.each(['stowage-command-id', 'idempotency-key'])(
    'with the same %s has one effect and the first outcome',
    async (header) => {
      const id = randomUUID()
      const name = `twice/${header}`
      const from = await lastSequence()
      const first = await http.put(name, 'once', { [header]: id })
      const second = await http.put(name, 'once', { [header]: id })
      expect(second.json).toMatchObject({ revision: first.json?.revision, cid: first.json?.cid })
      expect(second.headers.get('stowage-repeated')).toBe('true')
      for (const { headers } of [first, second]) expect(headers.get('stowage-event-id')).toBe(id)
      const events = (await eventsSince(from)).filter(({ event }) => event.correlationid === id)
      expect(events).toHaveLength(2)
      const removal = randomUUID()
      for (let i = 0; i < 2; i++) {
        const reply = await http.api(`/names/${name}`, { method: 'DELETE', headers: { [header]: removal } })
        expect([reply.status, reply.json]).toMatchObject([200, { removed: true, name }])
      }
    },
  )

  test('by many at the same time too', async () => {
    const headers = { 'stowage-command-id': randomUUID(), 'if-none-match': '*' }
    const replies = await Promise.all(Array.from({ length: 16 }, () => http.put('twice/many', 'm', headers)))
    expect(new Set(replies.map(({ json }) => json?.revision)).size).toBe(1)
    expect((await http.api('/names/twice/many?history=true')).json?.versions).toHaveLength(1)
  })

  test.each([
    ['stowage-command-id', 'not-a-uuid'],
    ['idempotency-key', '00000000-0000-0000-0000-00000000000g'],
    ['stowage-correlation-id', 'has space'],
    ['stowage-causation-id', 'x'.repeat(129)],
    ['stowage-owner', 'x'.repeat(300)],
  ])('a bad %s is 400', async (header, value) => {
    expect(codes(await http.put('twice/bad', 'x', { [header]: value }))).toEqual([400, 'request_invalid'])
  })
})

describe('a media type that is none', () => {
  const types = ['text', 'text/plain, text/html', 'x/y,text/html', 'text/html;charset', '"",text/html', 'text/é']

  test.each(types)('%s is 400 on a put, on a set of what is stored and in a body, and sets nothing', async (type) => {
    const { json } = await http.put('typed/source', 'content')
    const header = { 'content-type': Buffer.from(type).toString('latin1') }
    const set = { kind: 'set', name: 'typed/bad', cid: json?.cid, mediaType: type }
    const replies = [
      await http.put('typed/bad', 'x', header),
      await http.put(`typed/bad?cid=${json?.cid}`, '', header),
      await http.api('/objects?name=typed/bad', { method: 'POST', body: 'x', headers: header }),
      await post({ changes: [set] }),
    ]
    for (const reply of replies) expect(codes(reply)).toEqual([400, 'request_invalid'])
    expect((await http.api('/names/typed/bad')).status).toBe(404)
  })

  test.each([' text/html', 'text/html\n', '\ttext/html', '\ufefftext/html', '\0', ''])(
    'what only a body can say is 400 too: %j',
    async (mediaType) => {
      const { json } = await http.put('typed/source', 'content')
      const reply = await post({ changes: [{ kind: 'set', name: 'typed/bad', cid: json?.cid, mediaType }] })
      expect(codes(reply)).toEqual([400, 'request_invalid'])
    },
  )
})

describe('POST /names', () => {
  test('several names in one commit: all or none', async () => {
    const { json } = await http.put('batch/source', 'content')
    const cid = json?.cid
    const set = (name: string, expectation: unknown = 'absent') => ({ kind: 'set', name, cid, expect: expectation })
    const done = await post({ changes: [set('batch/a'), set('batch/b'), { kind: 'remove', name: 'batch/source' }] })
    expect(done.status).toBe(200)
    expect(done.json).toMatchObject({ entries: [{ name: 'batch/a', cid }, { name: 'batch/b' }, null] })
    const refused = await post({ changes: [set('batch/c'), set('batch/a')] })
    expect(codes(refused)).toEqual([412, 'revision_conflict'])
    expect((await http.api('/names/batch/c')).status).toBe(404)
  })

  test('rename moves, refuses to overwrite unless told to, and undo brings back', async () => {
    const { json } = await http.put('move/a', 'a')
    await http.put('move/taken', 'taken')
    expect(codes(await post({ rename: { from: 'move/a', to: 'move/taken' } }))).toEqual([412, 'revision_conflict'])
    expect(codes(await post({ rename: { from: 'move/none', to: 'move/x' } }))).toEqual([404, 'name_not_found'])
    expect((await post({ rename: { from: 'move/a', to: 'move/b', expect: json?.revision } })).status).toBe(200)
    expect([(await http.api('/names/move/a')).status, (await http.gateway('/names/move/b')).text]).toEqual([404, 'a'])
    expect((await post({ rename: { from: 'move/b', to: 'move/taken', replace: true } })).status).toBe(200)
    expect((await http.gateway('/names/move/taken')).text).toBe('a')
    expect((await post({ undo: { name: 'move/taken' } })).status).toBe(200)
    expect((await http.gateway('/names/move/taken')).text).toBe('taken')
  })

  test.each<[unknown, number, string]>([
    ['', 400, 'request_invalid'],
    ['{', 400, 'request_invalid'],
    ['['.repeat(10_000), 400, 'request_invalid'],
    ['\ufeff"x"', 400, 'request_invalid'],
    [[], 400, 'request_invalid'],
    [{}, 400, 'request_invalid'],
    [{ changes: [] }, 400, 'request_invalid'],
    [{ changes: [], rename: {} }, 400, 'request_invalid'],
    [{ changes: [{ kind: 'set', name: 'x' }] }, 400, 'request_invalid'],
    [{ changes: [{ kind: 'set', name: 'x', cid: 'nonsense' }] }, 400, 'cid_invalid'],
    [{ changes: [{ kind: 'set', name: 'x', cid: absentCid, __proto__x: 1 }] }, 400, 'request_invalid'],
    [{ changes: [{ kind: 'remove', name: 'x', expect: '5' }] }, 400, 'request_invalid'],
    [{ changes: [{ kind: 'remove', name: 'x', expect: -1 }] }, 400, 'request_invalid'],
    [{ changes: [{ kind: 'drop', name: 'x' }] }, 400, 'request_invalid'],
    [{ changes: Array.from({ length: 251 }, () => ({ kind: 'remove', name: 'x' })) }, 413, 'limit_exceeded'],
    [{ rename: { from: 'a' } }, 400, 'request_invalid'],
    [{ rename: { from: 'a', to: 'b', replace: 'yes' } }, 400, 'request_invalid'],
    [{ undo: { name: 5 } }, 400, 'request_invalid'],
    [{ undo: null }, 400, 'request_invalid'],
    ['x'.repeat(2 * 1024 * 1024), 413, 'upload_too_large'],
  ])('a body that says no such thing is refused (%#)', async (body, status, code) => {
    expect(codes(await post(body))).toEqual([status, code])
  })
})

describe('GET', () => {
  test('a version by revision and by time, and the history', async () => {
    const first = await http.put('versions/a', '1')
    const second = await http.put('versions/a', '2', { 'stowage-owner': utf8('Zoë') })
    await http.api('/names/versions/a', { method: 'DELETE' })
    expect(second.json?.owner).toBe('Zoë')
    expect((await http.api(`/names/versions/a@${first.json?.revision}`)).json?.cid).toBe(first.json?.cid)
    expect((await http.api(`/names/versions/a@${second.json?.time}`)).json?.cid).toBe(second.json?.cid)
    expect((await http.api('/names/versions/a')).status).toBe(404)
    const history = await http.api('/names/versions/a?history=true')
    expect(history.json).toMatchObject({
      name: 'versions/a',
      versions: [
        { revision: first.json?.revision, verb: 'set', cid: first.json?.cid },
        { revision: second.json?.revision, verb: 'set', cid: second.json?.cid },
        { verb: 'removed', previous: second.json?.revision },
      ],
    })
    expect((await http.api('/names/versions/a/history')).json).toEqual(history.json)
    expect((await http.api('/names/versions/none/history')).status).toBe(404)
    await http.put('versions/a/history', 'a name that ends so')
    expect((await http.api('/names/versions/a/history')).json).toMatchObject({ name: 'versions/a/history' })
    expect((await http.api('/names/versions/a?history=true')).json).toEqual(history.json)
  })

  test('a history in pages, each after the one before', async () => {
    for (const text of ['1', '2', '3']) await http.put('paged', text)
    const all = (await http.api('/names/paged?history=true')).json
    const versions = all?.versions as { readonly revision: number }[]
    expect(versions).toHaveLength(3)
    expect(all?.next).toBeUndefined()
    const first = (await http.api('/names/paged?history=true&limit=2')).json
    expect(first).toEqual({
      name: 'paged',
      versions: versions.slice(0, 2),
      next: String(versions[1]?.revision),
    })
    const second = await http.api(`/names/paged/history?limit=2&cursor=${first?.next}`)
    expect(second.json).toEqual({ name: 'paged', versions: versions.slice(2) })
    expect(codes(await http.api('/names/paged?history=true&cursor=first'))).toEqual([400, 'request_invalid'])
    expect(codes(await http.api('/names/paged?limit=2'))).toEqual([400, 'request_invalid'])
  })

  test('names by prefix in pages, and by CID', async () => {
    const names = Array.from({ length: 7 }, (_, i) => `pages/n${i}`)
    for (const name of names) await http.put(name, 'same')
    const seen: unknown[] = []
    let cursor = ''
    for (let page = 0; page < 4; page++) {
      const { json } = await http.api(`/names?prefix=pages/&limit=3${cursor}`)
      seen.push(...((json?.names ?? []) as { name: string }[]).map(({ name }) => name))
      if (json?.next === undefined) break
      cursor = `&cursor=${encodeURIComponent(String(json.next))}`
    }
    expect(seen).toEqual(names)
    const { json } = await http.api('/names/pages/n0')
    const holders = await http.api(`/names?cid=${json?.cid}`)
    expect(holders.json?.names).toHaveLength(7)
    expect(holders.json?.names).toEqual(expect.arrayContaining(names.map((name) => expect.objectContaining({ name }))))
  })

  test.each([
    'limit=0',
    'limit=x',
    'limit=1000001',
    'foo=1',
    'prefix=a&prefix=b',
    'cid=zz',
    `cid=${absentCid}&limit=1`,
  ])('a listing with %s is 400', async (query) => {
    expect((await http.api(`/names?${query}`)).status).toBe(400)
  })
})

describe('bad names (bad-input 103, 104)', () => {
  test.each([
    ['dot segment', 'a/%2E%2E%00/b'],
    ['control character', 'a%0D%0Ab'],
    ['NUL', 'a%00'],
    ['1,025 bytes', 'x'.repeat(1025)],
    ['not NFC', encodeURIComponent('e\u0301')],
    ['not UTF-8', '%ff%fe'],
    ['empty segment', 'a//b'],
    ['slash at the end', 'a/'],
    ['a CID', absentCid],
    ['a CIDv0', 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG'],
    ['a version', 'a@17'],
    ['empty', ''],
  ])('%s is 400', async (_label, path) => {
    expect((await http.put(path, 'x')).status).toBe(400)
    expect((await post({ changes: [{ kind: 'remove', name: decodeSafely(path) }] })).status).toBe(400)
  })

  const decodeSafely = (path: string) => {
    try {
      return decodeURIComponent(path)
    } catch {
      return '\ufffe\0'
    }
  }

  test.each(['a.b', 'a*b', '>', 'a b', '*.>', 'k=3D', 'A'.repeat(300), 'аdmin', '$SYS', '_kv'])(
    '%s is a name like any other, and no other',
    async (name) => {
      const encoded = encodeURIComponent(name)
      const { json, status } = await http.put(encoded, `content of ${name}`)
      expect([status, json?.name]).toEqual([201, name])
      expect((await http.gateway(`/names/${encoded}`)).text).toBe(`content of ${name}`)
      expect((await http.api(`/names?prefix=${encoded}&limit=1`)).json?.names).toMatchObject([{ name }])
    },
  )
})

test.each([
  ['PUT', '/names/x'],
  ['DELETE', '/names/x'],
  ['POST', '/names'],
  ['POST', '/objects?name=x'],
  ['DELETE', `/objects/${absentCid}`],
  ['GET', '/events'],
])('%s %s needs the token', async (method, path) => {
  const body = method === 'GET' || method === 'DELETE' ? {} : { body: '{}' }
  expect(codes(await http.api(path, { method, token: null, ...body }))).toEqual([401, 'unauthorized'])
  expect(codes(await http.api(path, { method, token: 'wrong', ...body }))).toEqual([401, 'unauthorized'])
})

test('each operation is one event, in order, with who and why; failures are logged as such', async () => {
  const from = await lastSequence()
  const correlation = { 'stowage-correlation-id': `story-${randomUUID()}`, 'stowage-owner': 'ann' }
  const headers = {
    ...correlation,
    'stowage-causation-id': 'cause-1',
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  }
  const done = [
    await http.api('/objects', { method: 'POST', body: 'story 1', headers }),
    await http.put('story/a', 'story 2', headers),
    await http.put('story/a', 'story 3', { ...headers, 'if-match': '"1"' }),
    await post({ rename: { from: 'story/a', to: 'story/b' } }, headers),
    await post({ rename: { from: 'story/none', to: 'story/c' } }, headers),
    await http.api('/names/story/b', { method: 'DELETE', headers }),
    await http.api('/names/story/b', { method: 'DELETE', headers }),
  ]
  expect(done.map(({ status }) => status)).toEqual([201, 201, 412, 200, 404, 200, 404])
  for (const { headers } of done)
    expect(headers.get('stowage-correlation-id')).toBe(correlation['stowage-correlation-id'])
  const story = await vi.waitFor(async () => {
    const events = await eventsSince(from)
    const own = events.filter(({ event }) => event.correlationid === correlation['stowage-correlation-id'])
    expect(own).toHaveLength(9)
    return own
  })
  expect(story.map(({ event }) => event.type.split('.').slice(1, 3).join('.'))).toEqual([
    'object.added',
    'object.added',
    'name.set',
    'object.failed',
    'name.set',
    'name.removed',
    'name.failed',
    'name.removed',
    'name.failed',
  ])
  for (const { event } of story) {
    expect(event).toMatchObject({
      owner: 'ann',
      authid: 'admin',
      traceparent: headers.traceparent,
    })
  }
  expect(story[0]?.event.id).toBe(done[0]?.headers.get('stowage-event-id'))
  expect(story[1]?.sequence).toBe(Number(done[1]?.headers.get('stowage-sequence')))
})
