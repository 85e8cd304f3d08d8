import { expect, test } from 'vitest'
import { readConfig } from '../src/config.ts'

const refused = (variable: string) =>
  expect.objectContaining({ code: 'SETTING_INVALID', message: expect.stringContaining(variable) })

test('out of the box the gateway has localhost for subdomains, believes no proxy and asks no DNS', () => {
  const { hosts, dnsLinks } = readConfig({})
  expect(hosts).toEqual({ subdomainHosts: ['localhost'], dnsLinkHosts: true, trustedProxies: [], proxy: true })
  expect(dnsLinks).toEqual([])
})

test('hosts are lists in any case and with spaces; off is none', () => {
  const { hosts, dnsLinks } = readConfig({
    STOWAGE_SUBDOMAIN_HOSTS: 'Example.com, dweb.example.org,localhost',
    STOWAGE_TRUSTED_PROXIES: '127.0.0.1, 10.0.0.0/8,fd00::/8',
    STOWAGE_DNS_LINKS: 'example.org,*.Example.net',
    STOWAGE_PROXY: 'off',
    STOWAGE_DNSLINK_HOSTS: 'off',
  })
  expect(hosts).toEqual({
    subdomainHosts: ['example.com', 'dweb.example.org', 'localhost'],
    dnsLinkHosts: false,
    trustedProxies: ['127.0.0.1', '10.0.0.0/8', 'fd00::/8'],
    proxy: false,
  })
  expect(dnsLinks).toEqual(['example.org', '*.example.net'])
  expect(readConfig({ STOWAGE_SUBDOMAIN_HOSTS: 'off' }).hosts.subdomainHosts).toEqual([])
  expect(readConfig({ STOWAGE_DNS_LINKS: '*' }).dnsLinks).toEqual(['*'])
})

test.each([
  ['SUBDOMAIN_HOSTS', 'localhost:8080'],
  ['SUBDOMAIN_HOSTS', 'http://localhost'],
  ['SUBDOMAIN_HOSTS', '127.0.0.1'],
  ['SUBDOMAIN_HOSTS', '*.example.org'],
  ['SUBDOMAIN_HOSTS', 'a..b'],
  ['SUBDOMAIN_HOSTS', 'a,'],
  ['SUBDOMAIN_HOSTS', `${'a'.repeat(64)}.org`],
  ['TRUSTED_PROXIES', 'localhost'],
  ['TRUSTED_PROXIES', '10.0.0.0/33'],
  ['TRUSTED_PROXIES', '10.0.0.0/8/8'],
  ['TRUSTED_PROXIES', '*'],
  ['DNS_LINKS', 'a.*.org'],
  ['DNS_LINKS', '**'],
  ['PROXY', 'yes'],
])('%s=%s is refused', (name, value) => {
  expect(() => readConfig({ [`STOWAGE_${name}`]: value })).toThrow(refused(`STOWAGE_${name}`))
})
