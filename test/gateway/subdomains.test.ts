import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import type { HostConfig } from '../../src/config.ts'
import { CountingStore, importDag, putRaw, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const file = (path: string, text: string) => ({ path, content: Buffer.from(text) })

interface Site extends OpenGateway {
  readonly root: string
  /** Asks at the site's own origin. */
  at(path: string, headers?: Readonly<Record<string, string>>): ReturnType<OpenGateway['ask']>
}

async function openSite(entries: Parameters<typeof importDag>[1], hosts: Partial<HostConfig> = {}): Promise<Site> {
  const gateway = await openGateway(onTestFinished, {}, new CountingStore(), { hosts })
  const cid = await importDag(gateway.store, entries)
  const root = cid.toString()
  const host = `${root}.ipfs.localhost:8080`
  return { ...gateway, root, at: (path, headers = {}) => gateway.ask(path, { headers: { host, ...headers } }) }
}

const pages = [
  file('site/page.html', '<script>1</script>'),
  file('site/sub/a.txt', 'hello'),
  file('site/ipfs/b.txt', 'below'),
  file('site/ą/x.txt', 'x'),
]

test('localhost works without a setting: a path leads to the content at its own origin, without reading a block', async () => {
  const { ask, root, store, at } = await openSite(pages)
  store.forget()
  const { status, headers } = await ask(`/ipfs/${root}/sub/a.txt?x=1`, { headers: { host: 'localhost:8080' } })
  expect([status, headers.location]).toEqual([301, `http://${root}.ipfs.localhost:8080/sub/a.txt?x=1`])
  expect(headers['access-control-allow-origin']).toBe('*')
  expect(store.asked).toEqual([])
  expect((await at('/sub/a.txt')).text).toBe('hello')
})

test('127.0.0.1 stays the path gateway', async () => {
  const { ask, root, port } = await openSite(pages)
  for (const host of [`127.0.0.1:${port}`, 'a-machine', `[::1]:${port}`, 'gateway.example.org']) {
    expect((await ask(`/ipfs/${root}/sub/a.txt`, { headers: { host } })).text).toBe('hello')
  }
})

test('a redirect is one for HEAD too, and only for GET and HEAD', async () => {
  const { ask, root } = await openSite(pages)
  const headers = { host: 'localhost' }
  expect((await ask(`/ipfs/${root}`, { method: 'HEAD', headers })).status).toBe(301)
  expect((await ask(`/ipfs/${root}`, { method: 'POST', headers })).status).toBe(405)
  expect((await ask(`/ipfs/${root}`, { method: 'OPTIONS', headers })).status).toBe(200)
})

test('what is memorised for one host is not served at another', async () => {
  const { ask, root, at } = await openSite(pages)
  for (let round = 0; round < 2; round++) {
    expect((await ask(`/ipfs/${root}/page.html`, { headers: { host: '127.0.0.1' } })).status).toBe(200)
    const moved = await ask(`/ipfs/${root}/page.html`, { headers: { host: 'localhost:1' } })
    expect(moved.headers.location).toBe(`http://${root}.ipfs.localhost:1/page.html`)
    const other = await ask(`/ipfs/${root}/page.html`, { headers: { host: 'localhost:2' } })
    expect(other.headers.location).toBe(`http://${root}.ipfs.localhost:2/page.html`)
    expect((await at(`/ipfs/${root}/page.html`)).status).toBe(404)
  }
})

test('at its own origin /ipfs is a path like any other', async () => {
  const { root, at } = await openSite(pages)
  expect((await at('/ipfs/b.txt')).text).toBe('below')
  expect((await at(`/ipfs/${root}/sub/a.txt`)).status).toBe(404)
  expect((await at('/names/x')).status).toBe(404)
})

test('its headers tell the content path, its redirects stay at its origin', async () => {
  const { root, at } = await openSite(pages)
  const { headers } = await at('/sub/a.txt')
  expect(headers['x-ipfs-path']).toBe(`/ipfs/${root}/sub/a.txt`)
  expect(headers['cache-control']).toBe('public, max-age=29030400, immutable')
  expect((await at('/sub')).headers.location).toBe('/sub/')
  expect((await at('/%c4%85?a')).headers.location).toBe('/%C4%85/?a')
})

test('another spelling of a CID leads to the one origin', async () => {
  const { ask, root } = await openSite(pages)
  const host = `B${root.slice(1).toUpperCase()}.ipfs.localhost:8080`
  const { status, headers } = await ask('/sub/?q', { headers: { host } })
  expect([status, headers.location]).toEqual([301, `http://${root}.ipfs.localhost:8080/sub/?q`])
})

test('a CID that no label can hold is refused at both forms, and served by path', async () => {
  const { ask, store } = await openSite(pages)
  const bytes = Buffer.from('long')
  const { createHash } = await import('node:crypto')
  const digest = Digest.create(0x13, createHash('sha512').update(bytes).digest())
  const { verifyBlock } = await import('../../src/blocks/block.ts')
  const cid = CID.createV1(0x55, digest)
  await store.put(verifyBlock(cid, bytes), { signal })
  for (const [path, host] of [
    [`/ipfs/${cid}`, 'localhost'],
    ['/', `${cid}.ipfs.localhost`],
  ] as const) {
    const { status, text } = await ask(path, { headers: { host } })
    expect([status, text]).toEqual([400, expect.stringContaining('CID incompatible with DNS label length limit of 63')])
  }
  expect((await ask(`/ipfs/${cid}`)).text).toBe('long')
})

test('a bad CID is said before any redirect', async () => {
  const { ask } = await openSite(pages)
  const { status, text } = await ask('/ipfs/QmInvalidCID', { headers: { host: 'localhost' } })
  expect([status, text]).toEqual([400, expect.stringContaining('invalid path "/ipfs/QmInvalidCID"')])
})

test('origin isolation: a service worker and scripts are allowed at an origin of their own, and nowhere else', async () => {
  const { ask, root, at } = await openSite(pages)
  const worker = { 'service-worker': 'script' }
  expect((await at('/page.html', worker)).status).toBe(200)
  expect((await at('/page.html')).headers['content-security-policy']).toBeUndefined()
  expect((await ask(`/ipfs/${root}/page.html`, { headers: worker })).status).toBe(400)
  const byPath = await ask(`/ipfs/${root}/page.html`)
  expect(byPath.headers['content-security-policy']).toMatch(/^sandbox/)
})

test('110: forwarded headers of anybody but a configured proxy are not read', async () => {
  const { ask, root } = await openSite(pages)
  const spoofed = { 'x-forwarded-host': 'localhost', 'x-forwarded-proto': 'https' }
  expect((await ask(`/ipfs/${root}/sub/a.txt`, { headers: spoofed })).text).toBe('hello')
  const { headers } = await ask(`/ipfs/${root}`, { headers: { host: 'localhost', ...spoofed } })
  expect(headers.location).toBe(`http://${root}.ipfs.localhost/`)
})

test('a configured proxy tells the host and the scheme', async () => {
  const hosts = { trustedProxies: ['127.0.0.1'], subdomainHosts: ['example.com'] }
  const { ask, root } = await openSite(pages, hosts)
  const forwarded = { 'x-forwarded-host': 'example.com', 'x-forwarded-proto': 'https' }
  expect((await ask(`/ipfs/${root}`, { headers: forwarded })).headers.location).toBe(
    `https://${root}.ipfs.example.com/`,
  )
  const below = { 'x-forwarded-host': `${root}.ipfs.example.com` }
  expect((await ask('/sub/a.txt', { headers: below })).text).toBe('hello')
  const evil = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }
  expect((await ask(`/ipfs/${root}/sub/a.txt`, { headers: evil })).text).toBe('hello')
})

test('42: ?uri= leads to a path of this host before anything else, whatever the host', async () => {
  const { ask, root, at } = await openSite(pages)
  for (const host of ['127.0.0.1', 'localhost']) {
    for (const path of ['/ipfs/', '/ipfs', '/', `/ipfs/${root}`]) {
      const uri = encodeURIComponent(`ipfs://${root}/sub/a.txt`)
      const { status, headers } = await ask(`${path}?uri=${uri}`, { headers: { host } })
      expect([status, headers.location]).toEqual([301, `/ipfs/${root}/sub/a.txt`])
    }
    for (const uri of ['javascript:alert(1)', '//evil.example', 'https://evil.example']) {
      expect((await ask(`/ipfs/?uri=${encodeURIComponent(uri)}`, { headers: { host } })).status).toBe(400)
    }
  }
  // At its own origin the parameter belongs to the site.
  expect((await at('/sub/a.txt?uri=javascript:x')).text).toBe('hello')
})

test.each(['//evil.example', '//evil.example/..', '/\\evil.example', '/%5Cevil.example', '///evil.example/x'])(
  'no open redirect: %s never leads to another host',
  async (path) => {
    const { ask, at } = await openSite(pages)
    for (const { status, headers } of [
      await ask(path),
      await ask(path, { headers: { host: 'localhost' } }),
      await at(path),
    ]) {
      expect(status).toBeGreaterThanOrEqual(400)
      expect(headers.location).toBeUndefined()
    }
  },
)

test('what is redirected can hold any byte and still be one header', async () => {
  const { ask, root } = await openSite(pages)
  const { headers } = await ask(`/ipfs/${root}/a%0d%0ax:%20y/%ff?z=%0d%0a"`, { headers: { host: 'localhost' } })
  expect(headers.location).toBe(`http://${root}.ipfs.localhost/a%0D%0Ax:%20y/%FF?z=%0D%0A%22`)
})

test('a root that is not here is 404 at its origin', async () => {
  const { ask } = await openSite(pages)
  const { cid } = hashBlock(Buffer.from('absent'), 0x55)
  expect((await ask('/', { headers: { host: `${cid}.ipfs.localhost` } })).status).toBe(404)
})

test('a listing links to its own origin, and to other content through the gateway', async () => {
  const { root, at, store } = await openSite(pages)
  const { text } = await at('/sub/')
  const leaf = await putRaw(store, Buffer.from('hello'))
  expect(text).toContain('<a href="/sub/a.txt">a.txt</a>')
  expect(text).toContain(`href="//localhost:8080/ipfs/${leaf}?filename=a.txt"`)
  expect(text).toContain(`<a href="//localhost:8080/ipfs/${root}">`)
})

test('a read is logged under the path that the path gateway would have', async () => {
  const paths: string[] = []
  const store = new CountingStore()
  const reads = { read: (_: unknown, { path }: { readonly path: string }) => void paths.push(path) }
  const { ask } = await openGateway(onTestFinished, {}, store, { parts: { reads } })
  const root = await importDag(store, pages)
  const host = `${root}.ipfs.localhost`
  await ask('/sub/a.txt?x', { headers: { host } })
  await ask(`http://${host}/sub/a.txt`)
  await ask(`http://127.0.0.1/ipfs/${root}/sub/a.txt`)
  await ask(`/ipfs/${root}/sub/a.txt?x`)
  expect(paths).toEqual(Array.from({ length: 4 }, () => `/ipfs/${root}/sub/a.txt`))
})
