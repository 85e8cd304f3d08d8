import { expect, test } from 'vitest'
import type { HostConfig } from '../../src/config.ts'
import { Hosts } from '../../src/gateway/host.ts'

const config: HostConfig = {
  subdomainHosts: ['localhost', 'example.com'],
  dnsLinkHosts: true,
  trustedProxies: ['127.0.0.1', '10.1.0.0/16', 'fd00::/8'],
  proxy: true,
}
const stranger = { remoteAddress: '192.0.2.7' }

function hostOf(host: string | undefined, more: { readonly target?: string; readonly config?: HostConfig } = {}) {
  const headers = host === undefined ? {} : { host }
  return new Hosts(more.config ?? config).of({ target: more.target ?? '/', headers, peer: stranger })
}

const gateway = (authority: string, scheme = 'http') => ({ kind: 'gateway', gateway: { authority, scheme } })
const subdomain = (label: string, namespace: string, authority: string, scheme = 'http') => ({
  kind: 'subdomain',
  namespace,
  label,
  gateway: { authority, scheme },
})
const domain = (name: string, authority = name) => ({ kind: 'domain', domain: name, authority })
const path = { kind: 'path' }

test.each([
  ['127.0.0.1:8080', path],
  ['127.0.0.1', path],
  ['[::1]:8080', path],
  ['a-machine:8080', path],
  [undefined, path],
  ['', path],
  ['localhost', gateway('localhost')],
  ['localhost:8080', gateway('localhost:8080')],
  ['LocalHost:8080', gateway('localhost:8080')],
  ['localhost.:8080', gateway('localhost:8080')],
  ['bafyfoo.ipfs.localhost:8080', subdomain('bafyfoo', 'ipfs', 'localhost:8080')],
  ['QmFoo.IPFS.example.com', subdomain('QmFoo', 'ipfs', 'example.com')],
  ['k51foo.ipns.localhost:8080', subdomain('k51foo', 'ipns', 'localhost:8080')],
  ['en.wiki-x.org.ipns.localhost', subdomain('en.wiki-x.org', 'ipns', 'localhost')],
  [`${'b'.repeat(120)}.ipfs.localhost:8080`, subdomain('b'.repeat(120), 'ipfs', 'localhost:8080')],
  ['ipfs.localhost', domain('ipfs.localhost')],
  ['foo.localhost', domain('foo.localhost')],
  ['notlocalhost', path],
  ['x.ipfs.notexample.com', domain('x.ipfs.notexample.com')],
  ['Docs.Example.ORG:8080', domain('docs.example.org', 'docs.example.org:8080')],
  [`${'a.'.repeat(150)}org`, path],
  ['b'.repeat(2000), path],
  // What is not written like a host is never repeated.
  ['localhost@evil.example', path],
  ['localhost/evil.example', path],
  ['a b.ipfs.localhost', path],
  ['"><script>.example.org', path],
  ['.ipfs.localhost', path],
  ['a..b.example.org', path],
  ['localhost:999999', path],
])('Host %s', (host, expected) => {
  expect(hostOf(host)).toEqual(expected)
})

test('of an absolute-form target its own host counts, not the header', () => {
  expect(hostOf('docs.example.org', { target: 'http://localhost:8080/ipfs/x' })).toEqual(gateway('localhost:8080'))
  expect(hostOf('localhost', { target: 'HTTP://docs.example.org?x' })).toEqual(domain('docs.example.org'))
  expect(hostOf('localhost', { target: 'http://user@docs.example.org/' })).toEqual(path)
})

test('DNSLink hosts and subdomain hosts can be switched off', () => {
  expect(hostOf('docs.example.org', { config: { ...config, dnsLinkHosts: false } })).toEqual(path)
  expect(hostOf('localhost:8080', { config: { ...config, subdomainHosts: [] } })).toEqual(path)
})

function forwarded(remoteAddress: string | undefined, host: string | undefined, proto?: string, sent = 'fake.example') {
  const headers = {
    host: sent,
    ...(host === undefined ? {} : { 'x-forwarded-host': host }),
    ...(proto === undefined ? {} : { 'x-forwarded-proto': proto }),
  }
  return new Hosts(config).of({ target: '/', headers, peer: { remoteAddress } })
}

test.each(['127.0.0.1', '10.1.2.3', 'fd00::1', '::ffff:127.0.0.1'])('a proxy at %s is believed', (address) => {
  expect(forwarded(address, 'example.com', 'https')).toEqual(gateway('example.com', 'https'))
  expect(forwarded(address, 'x.ipfs.example.com')).toEqual(subdomain('x', 'ipfs', 'example.com'))
  expect(forwarded(address, undefined, 'https', 'localhost:8080')).toEqual(gateway('localhost:8080', 'https'))
})

test.each(['192.0.2.7', '10.2.0.1', '::1', 'fe80::1', undefined])('110: anybody else, like %s, is not', (address) => {
  expect(forwarded(address, 'example.com', 'https')).toEqual(domain('fake.example'))
  expect(forwarded(address, undefined, 'https', 'localhost')).toEqual(gateway('localhost'))
})

test('without a setting no proxy is believed', () => {
  const hosts = new Hosts({ ...config, trustedProxies: [] })
  const headers = { host: 'localhost', 'x-forwarded-host': 'example.com', 'x-forwarded-proto': 'https' }
  expect(hosts.of({ target: '/', headers, peer: { remoteAddress: '127.0.0.1' } })).toEqual(gateway('localhost'))
})

test('a proxy can only forward a host that is configured', () => {
  expect(forwarded('127.0.0.1', 'evil.example', 'https')).toEqual(domain('fake.example'))
  expect(forwarded('127.0.0.1', 'example.com\r\nx: y', 'https')).toEqual(domain('fake.example'))
  expect(forwarded('127.0.0.1', '', 'https', 'example.com')).toEqual(gateway('example.com', 'https'))
})

test('of several proxies the nearest counts; what stands before, anybody may have sent', () => {
  expect(forwarded('127.0.0.1', 'localhost, example.com', 'http, https')).toEqual(gateway('example.com', 'https'))
})

test('a scheme that is neither is http', () => {
  expect(forwarded('127.0.0.1', 'example.com', 'javascript')).toEqual(gateway('example.com', 'http'))
})

test('hosts that somebody makes up do not fill the memory', () => {
  const hosts = new Hosts(config)
  const ask = (host: string) => hosts.of({ target: '/', headers: { host }, peer: stranger })
  for (let i = 0; i < 5000; i++) expect(ask(`h${i}.example.org`)).toEqual(domain(`h${i}.example.org`))
  expect(ask('localhost')).toBe(ask('localhost'))
})
