import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import type { GatewayParts } from '../../src/gateway/server.ts'
import { CountingStore, importDag, putRaw } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const file = (path: string, text: string) => ({ path: `site/${path}`, content: Buffer.from(text) })
const immutable = 'public, max-age=29030400, immutable'

const rules = `
/old /new.html
/there /index.html 302
/posts/:year/* /articles/:splat/:year 308
/app/* /index.html 200
/dir-app /docs/ 200
/gone/* /gone.html 410
/secret /gone.html 451
/nothing/* /not-there.html 404
/circle /circle 301
/void /not-there.html 200
/away https://example.org/x?a=1
/* /404.html 404
`
const pages = [
  file('_redirects', rules),
  file('index.html', '<p>my index'),
  file('new.html', '<p>new'),
  file('404.html', '<p>my 404'),
  file('gone.html', '<p>my gone'),
  file('docs/index.html', '<p>my docs'),
  file('app/real.txt', 'real'),
]

interface Site extends OpenGateway {
  readonly root: CID
  at(path: string, headers?: Readonly<Record<string, string>>, method?: string): ReturnType<OpenGateway['ask']>
}

async function openSite(entries: Parameters<typeof importDag>[1] = pages): Promise<Site> {
  const gateway = await openGateway(onTestFinished)
  const root = await importDag(gateway.store, entries)
  const host = `${root}.ipfs.localhost:8080`
  const at: Site['at'] = (path, headers = {}, method = 'GET') =>
    gateway.ask(path, { method, headers: { host, ...headers } })
  return { ...gateway, root, at }
}

test.each([
  ['/old', 301, '/new.html'],
  ['/old?x=1', 301, '/new.html?x=1'],
  ['/there', 302, '/index.html'],
  ['/posts/2022/a/b', 308, '/articles/a/b/2022'],
  ['/circle', 301, '/circle'],
  ['/away?b=2', 301, 'https://example.org/x?a=1&b=2'],
])('%s is redirected with %i to %s', async (path, status, location) => {
  const { at, logged } = await openSite()
  for (const method of ['GET', 'HEAD']) {
    const answer = await at(path, {}, method)
    expect([answer.status, answer.headers.location]).toEqual([status, location])
    expect(answer.headers['cache-control']).toBe(immutable)
    expect(answer.headers['access-control-allow-origin']).toBe('*')
  }
  expect(logged).toEqual([])
})

test('what is there is served as it is, whatever the rules say', async () => {
  const { at } = await openSite()
  expect((await at('/app/real.txt')).text).toBe('real')
  expect((await at('/')).text).toBe('<p>my index')
  expect((await at('/docs')).headers.location).toBe('/docs/')
})

test('a rewrite answers in the name of what is shown, and 304 to who has it', async () => {
  const { at, root } = await openSite()
  const { status, headers, text } = await at('/app/some/page?x=1', { accept: 'text/html' })
  expect([status, text]).toEqual([200, '<p>my index'])
  expect(headers).toMatchObject({
    'content-type': expect.stringMatching(/^text\/html/),
    'cache-control': immutable,
    'x-ipfs-path': `/ipfs/${root}/app/some/page`,
  })
  expect(headers['content-security-policy']).toBeUndefined()
  const again = await at('/app/other', { 'if-none-match': String(headers.etag) })
  expect(again.status).toBe(304)
  expect((await at('/app/some', { range: 'bytes=0-2' })).text).toBe('<p>')
  expect((await at('/dir-app')).text).toBe('<p>my docs')
})

test.each([
  ['/any/where', 404, '<p>my 404'],
  ['/gone/x', 410, '<p>my gone'],
  ['/secret', 451, '<p>my gone'],
])('%s is the page of an error, kept like any content', async (path, status, body) => {
  const { at, store } = await openSite()
  const leaf = await putRaw(store, Buffer.from(body))
  const expected = {
    etag: `"${leaf}"`,
    'cache-control': immutable,
    'content-type': expect.stringMatching(/^text\/html/),
  }
  for (const headers of [{}, { 'if-none-match': `"${leaf}"` }, { range: 'bytes=0-1' }]) {
    const answer = await at(path, headers)
    expect([answer.status, answer.text]).toEqual([status, body])
    expect(answer.headers).toMatchObject(expected)
  }
  const head = await at(path, {}, 'HEAD')
  expect([head.status, head.text, head.headers['content-length']]).toEqual([status, '', String(body.length)])
})

test('a page of a rule that is missing itself is 404, and asks no rule again', async () => {
  const { at } = await openSite()
  for (const path of ['/void', '/nothing/x']) {
    const { status, text } = await at(path)
    expect([status, text]).not.toEqual([404, '<p>my 404'])
    expect(status).toBe(404)
  }
})

test('on the path gateway, where all content shares one origin, there are no rules', async () => {
  const { ask, root } = await openSite()
  const { status, headers } = await ask(`/ipfs/${root}/old`)
  expect([status, headers.location]).toEqual([404, undefined])
})

test('for a block, a CAR or a tar there are no rules', async () => {
  const { at } = await openSite()
  for (const format of ['raw', 'tar']) expect((await at(`/app/x?format=${format}`)).status).toBe(404)
  // The blocks that prove that nothing is there.
  const proof = await at('/app/x?format=car')
  expect([proof.status, proof.headers['content-type']]).toEqual([
    200,
    expect.stringContaining('application/vnd.ipld.car'),
  ])
})

test('a site without rules, or without one that matches, says what is missing', async () => {
  const { at } = await openSite([file('a.txt', 'a')])
  expect((await at('/b')).status).toBe(404)
  const { at: atOther } = await openSite([file('_redirects', '/x /y'), file('a.txt', 'a')])
  expect((await atOther('/b')).status).toBe(404)
  expect((await atOther('/a.txt')).text).toBe('a')
})

test.each([
  ['a forced rule', file('_redirects', '/a /b 301!'), /^could not parse _redirects: line 1: forced/],
  [
    'a large file',
    file('_redirects', '#'.repeat(65_537)),
    /^could not parse _redirects: redirects file size cannot exceed/,
  ],
  ['a lie of 1 GiB', file('_redirects', '#'.repeat(1_200_000)), /redirects file size cannot exceed/],
  ['a folder', file('_redirects/a', 'a'), /^could not parse _redirects: it is not a file/],
  ['no UTF-8', { path: 'site/_redirects', content: Buffer.from([0xff]) }, /^could not parse _redirects:/],
])('%s is 500 with the reason, only where something is missing, and is no failure of the node', async (_, bad, why) => {
  const { at, logged } = await openSite([bad, file('found.html', 'found')])
  const { status, text, headers } = await at('/missing')
  expect([status, text]).toEqual([500, expect.stringMatching(why)])
  expect(headers['cache-control']).toBe('no-store')
  expect((await at('/found.html')).text).toBe('found')
  expect(logged).toEqual([])
})

test('a rule cannot end the header, nor can a visitor', async () => {
  const { at } = await openSite([file('_redirects', '/a/* /x\x01\x7fą/:splat')])
  const { status, headers } = await at('/a/b%0d%0aSet-Cookie:%20x=1')
  expect([status, headers.location]).toEqual([301, '/x%01%7F%C4%85/b%0D%0ASet-Cookie%3A%20x%3D1'])
  expect(headers['set-cookie']).toBeUndefined()
})

/** A domain that leads below a root, as a DNSLink may. */
function dnsLink(root: CID, segments: readonly string[]): NonNullable<GatewayParts['ipns']> {
  return {
    resolve: async () => ({ path: { root, segments }, maxAgeSeconds: undefined }),
    isKnown: async () => true,
    record: () => Promise.reject(new Error('no record')),
  }
}

test('a DNSLink that leads below its root has its rules there; its pages are not kept for ever', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [
    { path: 'all/www/_redirects', content: Buffer.from('/old /new 301\n/* /404.html 404\n') },
    { path: 'all/www/404.html', content: Buffer.from('<p>my 404') },
    { path: 'all/_redirects', content: Buffer.from('/* /wrong 301\n') },
  ])
  const parts = { ipns: dnsLink(root, ['www']) }
  const { ask } = await openGateway(onTestFinished, {}, store, { parts })
  const headers = { host: 'docs.example.org' }
  const moved = await ask('/old', { headers })
  expect([moved.status, moved.headers.location, moved.headers['cache-control']]).toEqual([301, '/new', 'no-cache'])
  const missing = await ask('/x', { headers })
  expect([missing.status, missing.text, missing.headers['cache-control']]).toEqual([404, '<p>my 404', undefined])
  expect(missing.headers['x-ipfs-path']).toBe('/ipns/docs.example.org/x')
})
