import { expect, test } from 'vitest'
import { closestWord } from '../../src/lib/closest-word.ts'
import { isServiceLink } from '../../src/lib/service-links.ts'
import { serviceLinks } from '../support/service-links.ts'

test('what Kubernetes puts into a pod is known for what it is, of any name, port and protocol', () => {
  const made = serviceLinks({
    stowage: { ip: '10.0.0.1', ports: [{ port: 8080, name: 'http' }] },
    'stowage-nats': { ip: 'fd00::12', ports: [{ port: 4222 }, { port: 53, protocol: 'UDP', name: 'dns-udp' }] },
    s3: { ip: '10.96.0.10', ports: [{ port: 9000, protocol: 'SCTP' }] },
  })
  expect(Object.keys(made).length).toBe(8 + 12 + 7)
  expect(Object.entries(made).filter(([name, value]) => !isServiceLink(name, value))).toEqual([])
})

test.each([
  ['STOWAGE_GATEWAY_PROT', '80'],
  ['STOWAGE_GATEWAY_PORT', '8080'],
  ['STOWAGE_API_PORT', 'tcp://somewhere:8080'],
  ['STOWAGE_PORT', 'http://10.0.0.1:80'],
  ['STOWAGE_SERVICE_HOST', 'a host'],
  ['STOWAGE_SERVICE_PORT', 'tcp'],
  ['STOWAGE_PORT_80_TCP_ADDR', 'localhost'],
  ['STOWAGE_PORT_80_TCP_NAME', '10.0.0.1'],
  ['STOWAGE_DATA', 'tcp://10.0.0.1:80'],
])('%s=%s is not taken for a link', (name, value) => {
  expect(isServiceLink(name, value)).toBe(false)
})

test.each([
  ['GATEWAY_PROT', 'GATEWAY_PORT'],
  ['GATWAY_PORT', 'GATEWAY_PORT'],
  ['API_ULR', 'API_URL'],
  ['LOGG', 'LOG'],
  ['CACHE', undefined],
  ['X', undefined],
  ['', undefined],
])('instead of %s %s was meant', (word, meant) => {
  expect(closestWord(word, ['GATEWAY_PORT', 'API_PORT', 'API_URL', 'LOG', 'CACHE_BYTES', 'DATA'])).toBe(meant)
})
