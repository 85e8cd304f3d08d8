import { expect, test } from 'vitest'
import { readConfig } from '../src/config.ts'
import { serviceLinks } from './support/service-links.ts'

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

const pod = serviceLinks({
  stowage: { ip: '10.0.0.1', ports: [{ port: 8080, name: 'http' }, { port: 8081 }] },
  'stowage-nats': { ip: '10.0.0.2', ports: [{ port: 4222, name: 'client' }] },
  'stowage-api': { ip: '10.0.0.3', ports: [{ port: 80 }] },
  'stowage-gateway': { ip: 'fd00::4', ports: [{ port: 443, name: 'https' }] },
})

test('in a pod with Services of our name the defaults count, flags win, and the links are told', () => {
  const { nats, api, gateway, strayVariables } = readConfig(pod, { API_PORT: '9000' })
  expect([nats.port, api.port, gateway.port]).toEqual([4222, 9000, 8080])
  expect(strayVariables.unknown).toEqual([])
  const hiding = ['STOWAGE_NATS_PORT', 'STOWAGE_API_PORT', 'STOWAGE_GATEWAY_PORT']
  for (const name of hiding) expect(strayVariables.links).toContainEqual(expect.stringMatching(`^${name} is a link`))
  const others = Object.keys(pod).length - hiding.length
  expect(strayVariables.links.at(-1)).toMatch(`${others} variables STOWAGE_… that Kubernetes made`)
})

test('a link where no port is wanted is a value like any other, and a port that is none is refused', () => {
  expect(readConfig({ STOWAGE_DATA: 'tcp://10.0.0.1:80' }).dataDir).toBe('tcp://10.0.0.1:80')
  expect(() => readConfig({ STOWAGE_NATS_PORT: 'tcp://nats:4222' })).toThrow(refused('STOWAGE_NATS_PORT'))
  expect(() => readConfig({}, { NATS_PORT: 'tcp://10.0.0.1:4222' })).toThrow(refused('STOWAGE_NATS_PORT'))
})

test('an unknown variable is passed over and told, with the setting that was probably meant', () => {
  const { strayVariables, gateway } = readConfig({ STOWAGE_GATEWAY_PROT: '80', STOWAGE_MOTD: 'hello', OTHER: 'x' })
  expect(gateway.port).toBe(8080)
  expect(strayVariables.unknown).toEqual([
    'STOWAGE_GATEWAY_PROT is no setting and is passed over; did you mean STOWAGE_GATEWAY_PORT?',
    'STOWAGE_MOTD is no setting and is passed over',
  ])
})
