import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { parseIpnsName } from '../../src/content/ipns-name.ts'
import { testKey } from '../support/ipns.ts'

for (const type of ['ed25519', 'rsa'] as const) {
  test(`every spelling of an ${type} key is one name`, () => {
    const { cid, name } = testKey(type)
    const peerId = base58btc.encode(cid.multihash.bytes).slice(1)
    const dagPb = CID.createV1(0x70, cid.multihash)
    const spellings = [
      peerId,
      cid.toString(base32),
      cid.toString(base36),
      cid.toString(base58btc),
      cid.toString(base32).toUpperCase(),
      dagPb.toString(base32),
      dagPb.toString(base36),
    ]
    for (const text of spellings) expect(parseIpnsName(text)).toMatchObject({ kind: 'key', name })
    expect(name).toMatch(/^k[0-9a-z]{50,62}$/)
  })
}

test('what has a dot is a domain name, in lower case', () => {
  expect(parseIpnsName('Docs.Example.ORG.')).toEqual({ kind: 'domain', name: 'docs.example.org' })
  expect(parseIpnsName('_dnslink.xn--bcher-kva.example')).toMatchObject({ kind: 'domain' })
})

test('what is neither a key nor a domain name is refused', () => {
  const bad = [
    '',
    'hello',
    'bafkqaaa',
    '12D3KooW',
    `1${'2'.repeat(5000)}`,
    '12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJs0K',
    '127.0.0.1',
    '.',
    'a..b',
    '-a.b',
    `${'a'.repeat(64)}.org`,
    `${'a.'.repeat(127)}a`,
    'exam ple.org',
    'bücher.example',
    '[::1].org',
  ]
  for (const text of bad) {
    expect(() => parseIpnsName(text), text).toThrowError(expect.objectContaining({ code: 'NAME_INVALID' }))
  }
})
