import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { link } from '../../src/events/canonical.ts'
import { type CloudEvent, decodeEvent, encodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { octetStream } from '../../src/lib/media-type.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { nameKey } from '../../src/names/name.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { directGetFrom } from '../../src/nats/direct-get.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'
import { silent } from '../support/stores.ts'
import { tar } from '../support/tar.ts'

const closers: (() => unknown)[] = []
let full: FullNode
let http: NodeHttp
let nats: Nats
beforeAll(async () => {
  full = await startFullNode((close) => closers.push(close as () => unknown))
  http = httpOf(full)
  nats = await connectNats(full.nats.url, readConfig({}).nats, silent)
  closers.push(() => nats.close())
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

const waiting = { timeout: 10_000, interval: 20 }
const putTar = (name: string, ...entries: Parameters<typeof tar>) =>
  http.put(name, tar(...entries), { 'content-type': 'application/x-tar' })

describe('a name', () => {
  test('serves what it stands for, under its revision, never cached without asking', async () => {
    const put = await http.put('plain/a.txt', 'hello')
    const reply = await http.gateway('/names/plain/a.txt')
    expect([reply.status, reply.text]).toEqual([200, 'hello'])
    expect(Object.fromEntries(reply.headers)).toMatchObject({
      etag: `"${put.json?.cid}"`,
      'cache-control': 'no-cache',
      'content-type': 'text/plain; charset=utf-8',
      'stowage-name-revision': String(put.json?.revision),
      'x-ipfs-path': `/ipfs/${put.json?.cid}`,
      'x-ipfs-roots': put.json?.cid,
    })
    const changed = await http.put('plain/a.txt', 'hello 2')
    const after = await http.gateway('/names/plain/a.txt')
    expect([after.text, after.headers.get('etag')]).toEqual(['hello 2', `"${changed.json?.cid}"`])
    const old = await http.gateway(`/names/plain/a.txt@${put.json?.revision}`)
    expect([old.text, old.headers.get('stowage-name-revision')]).toEqual(['hello', String(put.json?.revision)])
  })

  test('answers 304, ranges and HEAD as a CID does', async () => {
    const { json } = await http.put('cond/b.txt', '0123456789')
    const fresh = await http.gateway('/names/cond/b.txt', { headers: { 'if-none-match': `"${json?.cid}"` } })
    expect([fresh.status, fresh.text, fresh.headers.get('cache-control')]).toEqual([304, '', 'no-cache'])
    const part = await http.gateway('/names/cond/b.txt', { headers: { range: 'bytes=2-4' } })
    expect([part.status, part.text, part.headers.get('content-range')]).toEqual([206, '234', 'bytes 2-4/10'])
    const head = await http.gateway('/names/cond/b.txt', { method: 'HEAD' })
    expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', '10'])
    const car = await http.gateway('/names/cond/b.txt?format=car')
    expect([car.status, car.headers.get('cache-control')]).toEqual([200, 'no-cache'])
  })

  test('gives its media type to its own content, and to nothing below it', async () => {
    await http.put('typed', '{"a":1}', { 'content-type': 'application/vnd.example+json; v=2' })
    expect((await http.gateway('/names/typed')).headers.get('content-type')).toBe('application/vnd.example+json; v=2')
    expect((await http.gateway('/names/typed?filename=x.txt')).headers.get('content-type')).toMatch(/^text\/plain/)
    await http.put('page', '<b>hi</b>', { 'content-type': 'text/html' })
    const page = await http.gateway('/names/page')
    expect([page.headers.get('content-type'), page.headers.get('content-security-policy')]).toEqual([
      'text/html',
      expect.stringContaining('sandbox'),
    ])
  })

  test('answers with bytes where an older log has a media type that is none', async () => {
    const { json } = await http.put('poisoned/source', '<script>1</script>', { 'content-type': 'text/html' })
    const source = { domain: 'stowage', site: 'local', space: 'main', node: 'old' }
    const log = new EventLog(nats, 'stowage_events', 5_000)
    const types = [
      'text/html\nx',
      'x\0',
      ' text/html',
      'text/plain, text/html',
      '\u{1f600}',
      'text/html\r\nSet-Cookie: a=b',
    ]
    for (const [at, mediaType] of types.entries()) {
      const name = `poisoned/${at}`
      const data = { name, cid: link(String(json?.cid)), size: 18, mediaType, previous: 0, parents: [], commit: 1 }
      const draft = { entity: 'name', verb: 'set', key: nameKey(name), subject: name, data } as const
      const id = uuidv7()
      const context = { id, correlation: id, causation: undefined, owner: 'a', principal: 'a', via: 'http' } as const
      await log.append([{ event: encodeEvent(draft, { ...context, traceparent: undefined }, source) }])
      await vi.waitFor(async () => expect((await http.api(`/names/${name}`)).status).toBe(200), waiting)
      const reply = await http.gateway(`/names/${name}`)
      expect([mediaType, reply.status, reply.headers.get('content-type')]).toEqual([mediaType, 200, octetStream])
      expect(reply.headers.get('set-cookie')).toBeNull()
      expect((await http.api(`/names/${name}`)).json?.mediaType).toBe(mediaType)
    }
    expect(full.errors).toEqual([])
  })

  test('is a door into a directory; the longest name wins', async () => {
    await putTar(
      'site',
      { path: 'index.html', content: '<h1>home</h1>' },
      { path: 'docs/x.txt', content: 'in the DAG' },
    )
    expect((await http.gateway('/names/site/docs/x.txt')).text).toBe('in the DAG')
    const redirect = await http.gateway('/names/site')
    expect([redirect.status, redirect.headers.get('location')]).toEqual([301, '/names/site/'])
    // What a browser keeps for good would still be there when the name stands for a file.
    expect(redirect.headers.get('cache-control')).toBe('no-cache')
    const index = await http.gateway('/names/site/')
    expect([index.status, index.text]).toEqual([200, '<h1>home</h1>'])
    const listing = await http.gateway('/names/site/docs/')
    expect(listing.text).toContain('href="/names/site/docs/x.txt"')
    await http.put('site/docs/x.txt', 'by its own name')
    expect((await http.gateway('/names/site/docs/x.txt')).text).toBe('by its own name')
    expect((await http.gateway('/names/site/docs/none.txt')).status).toBe(404)
    const proof = await http.gateway('/names/site/docs/none.txt?format=car')
    expect([proof.status, proof.headers.get('cache-control')]).toEqual([200, 'no-cache'])
    expect((await http.gateway('/names/nothing/none.txt?format=car')).status).toBe(404)
  })

  test('of any script and with characters of URLs is found by its percent-encoding', async () => {
    for (const name of ['ü/日本.txt', 'a b/c%d?.txt', "q'(1)*!.txt", 'ann@example.org']) {
      const encoded = name.split('/').map(encodeURIComponent).join('/')
      await http.put(encoded, name)
      expect((await http.gateway(`/names/${encoded}`)).text).toBe(name)
    }
  })
})

test.each([
  ['/names/', 400, 'name_invalid'],
  ['/names/nothing/here', 404, 'name_not_found'],
  ['/names/a//b', 400, 'path_invalid'],
  ['/names/a/%2e%2e%2e/%2E%2E%20', 404, 'name_not_found'],
  ['/names/a%2Fb', 400, 'path_invalid'],
  ['/names/%zz', 400, 'path_invalid'],
  ['/names/%ff', 400, 'path_invalid'],
  ['/names/a%00b', 400, 'name_invalid'],
  [`/names/${'x/'.repeat(300)}y`, 400, 'path_invalid'],
  ['/names/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', 400, 'name_invalid'],
  ['/names/plain/a.txt@999999', 404, 'name_not_found'],
])('%s: %d %s', async (path, status, code) => {
  const reply = await http.gateway(path, { headers: { accept: 'application/json' } })
  expect([reply.status, reply.json?.code]).toEqual([status, code])
})

test('a path far longer than a name is looked up a bounded number of times', async () => {
  await http.put('deep', 'x')
  const reply = await http.gateway(`/names/deep/${Array.from({ length: 200 }, (_, i) => `s${i}`).join('/')}`, {
    headers: { accept: 'application/json' },
  })
  expect([reply.status, reply.json?.code]).toEqual([404, expect.stringMatching(/path_not_found|dag_invalid/)])
})

test('deleted content is gone, by CID, by name and in the API, until it is added again', async () => {
  const { json } = await http.put('gone.txt', 'to be deleted')
  const cid = String(json?.cid)
  expect((await http.api(`/objects/${cid}`, { method: 'DELETE' })).status).toBe(409)
  const deleted = await http.api(`/objects/${cid}?force=true`, { method: 'DELETE' })
  expect([deleted.status, deleted.json]).toEqual([200, { cid, namesRemoved: ['gone.txt'] }])
  const reply = await http.gateway(`/ipfs/${cid}`, { headers: { accept: 'application/json' } })
  expect([reply.status, reply.json?.code, reply.headers.get('cache-control')]).toEqual([
    410,
    'object_deleted',
    'no-store',
  ])
  expect((await http.gateway(`/ipfs/${cid}?format=raw`)).status).toBe(410)
  expect((await http.gateway('/names/gone.txt')).status).toBe(404)
  expect((await http.api(`/objects/${cid}`)).status).toBe(410)
  await http.put('back.txt', 'to be deleted')
  expect((await http.gateway(`/ipfs/${cid}`)).text).toBe('to be deleted')
})

describe('the read log', () => {
  async function readsOf(cid: string): Promise<CloudEvent[]> {
    const subject = `stowage.reads.*.*.object.*.${cid}`
    const { messages } = await directGetFrom(nats.log.requests, 'stowage_reads', subject, 1, 256)
    return messages.flatMap(({ data }) => decodeEvent(data) ?? [])
  }

  test('has each read with its path, name, range, bytes sent, format and status', async () => {
    const { json } = await http.put('read/me.txt', 'read me, all of you')
    const cid = String(json?.cid)
    const traced = { 'stowage-correlation-id': 'corr-1', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }
    await http.gateway(`/ipfs/${cid}`, { headers: traced })
    await http.gateway('/names/read/me.txt?x=1', { headers: { range: 'bytes=0-3' } })
    await http.gateway(`/ipfs/${cid}`, { method: 'HEAD' })
    await http.gateway(`/ipfs/${cid}?format=raw`, { headers: { 'if-none-match': `"${cid}.raw"` } })
    await http.gateway(`/ipfs/${cid}/nothing`)
    await http.gateway(`/ipfs/${cid}?format=bogus`)
    await http.api(`/objects/${cid}`)
    await vi.waitFor(async () => expect(await readsOf(cid)).toHaveLength(7), waiting)
    const reads = await readsOf(cid)
    const shown = reads.map(({ type, data }) => [type.split('.')[2], data.status, data.bytes, data.format])
    expect(shown).toEqual([
      ['read', 200, 19, 'unixfs'],
      ['read', 206, 4, 'unixfs'],
      ['read', 200, 0, 'unixfs'],
      ['read', 304, 0, 'raw'],
      ['missed', 404, 0, 'unixfs'],
      ['missed', 406, 0, 'unknown'],
      ['read', 200, 0, 'stat'],
    ])
    expect(reads[0]).toMatchObject({ correlationid: 'corr-1', traceparent: traced.traceparent, authid: 'anonymous' })
    expect(reads[1]?.data).toMatchObject({ path: '/names/read/me.txt', name: 'read/me.txt', range: 'bytes=0-3' })
    expect(reads[4]?.data).toMatchObject({ path: `/ipfs/${cid}/nothing`, name: null, range: null })
  })

  test('has the miss of what is not here', async () => {
    const absent = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
    expect((await http.gateway(`/ipfs/${absent}`)).status).toBe(404)
    await vi.waitFor(async () => expect(await readsOf(absent)).toMatchObject([{ data: { status: 404 } }]), waiting)
  })
})

test('with the read log switched off nothing is recorded', async ({ onTestFinished }) => {
  const off = await startFullNode(onTestFinished, {
    nats: full.nats,
    env: { STOWAGE_READS_LOG: 'off', STOWAGE_DOMAIN: 'quiet' },
  })
  const { gateway, put } = httpOf(off)
  await put('a', 'x')
  expect((await gateway('/names/a')).text).toBe('x')
  await off.close()
  await expect(nats.jsm.streams.info('quiet_reads')).rejects.toThrow(/not found/)
})
