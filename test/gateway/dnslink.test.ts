import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { DnsLinks } from '../../src/content/dns-link.ts'
import { createIpnsResolver, type IpnsName } from '../../src/content/resolve-ipns.ts'
import { AppError } from '../../src/errors.ts'
import { CountingStore, importDag, limits } from '../support/dags.ts'
import { openDns } from '../support/dns.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { openGateway } from '../support/gateway.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'
import { tar } from '../support/tar.ts'
import { openTestVerbs } from '../support/verbs.ts'

const closers: (() => unknown)[] = []
let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
  closers.push(() => server.stop())
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** fetch sets Host by itself. */
function get(
  base: string,
  host: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(new URL(base), { path, headers: { host, ...headers }, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
    asked.on('error', reject).end()
  })
}

test('a host without a DNSLink is looked up now and then, not with every request, and becomes a site soon', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'site/a.txt', content: Buffer.from('hello') }])
  const asked: string[] = []
  let isSite = false
  const resolve = async ({ name }: IpnsName) => {
    asked.push(name)
    if (!isSite) throw new AppError('IPNS_UNRESOLVED', 'it has no DNSLink')
    return { path: { root, segments: [] }, maxAgeSeconds: undefined }
  }
  const record = async () => {
    throw new AppError('IPNS_UNRESOLVED', 'no record')
  }
  const ipns = { resolve, record, isKnown: async () => isSite }
  const gateway = await openGateway(onTestFinished, {}, store, { parts: { ipns } })
  const at = (path: string) => gateway.ask(path, { headers: { host: 'gateway.example.org' } })
  for (let count = 0; count < 50; count++) expect((await at(`/ipfs/${root}/a.txt`)).text).toBe('hello')
  expect(asked.length).toBeLessThan(10)
  isSite = true
  await vi.waitFor(async () => expect((await at('/a.txt')).text).toBe('hello'), { timeout: 5000, interval: 50 })
})

describe('a name that is a domain', () => {
  let full: FullNode
  let http: NodeHttp
  let cid: string
  const at = (host: string, path: string, headers?: Readonly<Record<string, string>>) =>
    get(full.node.gatewayUrl, host, path, headers)

  beforeAll(async () => {
    full = await startFullNode((close) => closers.push(close as () => unknown), { nats: server })
    http = httpOf(full)
    const entries = [
      { path: 'index.html', content: '<script>1</script>' },
      { path: 'docs/a.txt', content: 'hello' },
      { path: '_redirects', content: '/old /docs/a.txt 302\n' },
    ]
    const put = await http.put('docs.example-site.org', tar(...entries), { 'content-type': 'application/x-tar' })
    cid = String(put.json?.cid)
  })

  test('is its DNSLink: served at that host, at its subdomain and by path', async () => {
    for (const [host, path] of [
      ['docs.example-site.org', '/docs/a.txt'],
      ['DOCS.Example-Site.org.:8080', '/docs/a.txt'],
      ['docs-example--site-org.ipns.localhost:8080', '/docs/a.txt'],
      ['docs.example-site.org.ipns.localhost', '/docs/a.txt'],
      ['127.0.0.1', '/ipns/docs.example-site.org/docs/a.txt'],
    ] as const) {
      const { status, text, headers } = await at(host, path)
      expect([host, status, text]).toEqual([host, 200, 'hello'])
      expect(headers['x-ipfs-path']).toBe('/ipns/docs.example-site.org/docs/a.txt')
      expect(headers['cache-control'] ?? '').not.toContain('immutable')
    }
    const moved = await at('localhost:8080', '/ipns/docs.example-site.org/docs/?x')
    expect(moved.headers.location).toBe('http://docs-example--site-org.ipns.localhost:8080/docs/?x')
  })

  test('has an origin of its own: scripts, service workers and its _redirects; nothing else is below it', async () => {
    const { text, headers } = await at('docs.example-site.org', '/', { 'service-worker': 'script' })
    expect([text, headers['content-security-policy']]).toEqual(['<script>1</script>', undefined])
    expect((await at('docs.example-site.org', '/old')).headers.location).toBe('/docs/a.txt')
    expect((await at('docs.example-site.org', `/ipfs/${cid}/docs/a.txt`)).status).toBe(404)
    expect((await at('docs.example-site.org', '/names/docs.example-site.org')).status).toBe(404)
  })

  test('serves what the name stands for now', async () => {
    await http.put('now.example.org', 'one', { 'content-type': 'text/plain' })
    expect((await at('now.example.org', '/')).text).toBe('one')
    await http.put('now.example.org', 'two', { 'content-type': 'text/plain' })
    expect((await at('now.example.org', '/')).text).toBe('two')
  })

  test('any other host is the path gateway', async () => {
    expect((await at('other.example.org', `/ipfs/${cid}/docs/a.txt`)).text).toBe('hello')
    expect((await at('other.example.org', '/')).text).toContain('stowage gateway')
    expect((await at('docs.example-site.org.evil.example', '/docs/a.txt')).status).toBe(404)
  })

  test('a name that is none is never a host', async () => {
    await http.put('plain', 'plain')
    expect((await at('plain', '/')).text).toContain('stowage gateway')
  })
})

/** A gateway that asks a DNS server of the test. */
async function openWithDns(patterns: readonly string[] = ['*']) {
  const dns = await openDns(onTestFinished)
  const { names } = await openTestVerbs(server.url, onTestFinished)
  const links = new DnsLinks({ patterns, servers: [dns.address], timeoutMs: 200 })
  const ipns = createIpnsResolver({
    names,
    limits: { ...limits, pathSegmentsMax: 256 },
    lookupDnsLink: (domain, options) => links.lookupDnsLink(domain, options),
  })
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'all/www/a.txt', content: Buffer.from('hello') }])
  const gateway = await openGateway(onTestFinished, {}, store, { parts: { ipns } })
  const link = (domain: string, value: string) => dns.records.set(`_dnslink.${domain}`, [`dnslink=${value}`])
  const at = (host: string, path: string) => gateway.ask(path, { headers: { host } })
  return { ...gateway, dns, root, link, at }
}

describe('a DNSLink in the DNS', () => {
  test('is followed from domain to domain, and kept as long as the DNS says', async () => {
    const { link, at, root } = await openWithDns()
    link('a.example.org', '/ipns/b.example.org/www')
    link('b.example.org', `/ipfs/${root}`)
    const { status, text, headers } = await at('a.example.org', '/a.txt')
    expect([status, text, headers['cache-control']]).toEqual([200, 'hello', 'public, max-age=60'])
  })

  test('that leads to itself, or too far, ends with 400', async () => {
    const { link, at, dns } = await openWithDns()
    link('a.example.org', '/ipns/b.example.org')
    link('b.example.org', '/ipns/a.example.org')
    expect((await at('a.example.org', '/')).status).toBe(400)
    expect(dns.asked).toHaveLength(2)
    for (let hop = 0; hop < 40; hop++) link(`h${hop}.example.org`, `/ipns/h${hop + 1}.example.org`)
    expect((await at('h0.example.org', '/')).status).toBe(400)
    expect(dns.asked).toHaveLength(2 + 32)
  })

  test('that the settings do not allow is not looked up, on the way neither', async () => {
    const { link, at, root, dns } = await openWithDns(['a.example.org'])
    link('a.example.org', '/ipns/b.example.org')
    link('b.example.org', `/ipfs/${root}`)
    expect((await at('a.example.org', '/a.txt')).status).toBe(500)
    expect((await at('b.example.org', '/')).text).toContain('stowage gateway')
    expect(dns.asked).toEqual(['_dnslink.a.example.org'])
  })

  test('that cannot be learnt is an error, not the path gateway', async () => {
    const { dns, at, root, logged } = await openWithDns()
    dns.records.set('_dnslink.a.example.org', 'fail')
    const { status, text } = await at('a.example.org', `/ipfs/${root}/www/a.txt`)
    expect([status, text]).toEqual([500, expect.stringContaining('the DNS does not answer')])
    expect(logged).toEqual([])
  })

  test('that is no content path is an error of the site', async () => {
    const { link, at } = await openWithDns()
    link('a.example.org', '/ipfs/nonsense')
    expect((await at('a.example.org', '/')).status).toBe(500)
  })
})
