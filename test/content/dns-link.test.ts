import { expect, onTestFinished, test } from 'vitest'
import { DnsLinks } from '../../src/content/dns-link.ts'
import { openDns, type TestDns } from '../support/dns.ts'

const fresh = () => new AbortController().signal

interface Opened extends TestDns {
  readonly look: (domain: string, options?: { signal: AbortSignal }) => ReturnType<DnsLinks['lookupDnsLink']>
  readonly clock: { nowMs: number }
}

async function open(patterns: readonly string[] = ['*'], timeoutMs = 2000): Promise<Opened> {
  const dns = await openDns(onTestFinished)
  const clock = { nowMs: 0 }
  const links = new DnsLinks({ patterns, servers: [dns.address], timeoutMs, now: () => clock.nowMs })
  return { ...dns, clock, look: (domain, options = { signal: fresh() }) => links.lookupDnsLink(domain, options) }
}

test('the TXT record of _dnslink.<domain> says what the domain stands for', async () => {
  const { records, look, asked } = await open()
  records.set('_dnslink.docs.example.org', ['v=spf1 -all', 'dnslink=/ipfs/bafyfoo/a', 'other'])
  expect(await look('docs.example.org')).toEqual({ value: '/ipfs/bafyfoo/a', ttlSeconds: 60 })
  expect(asked).toEqual(['_dnslink.docs.example.org'])
})

test('strings of one record belong together; two records that say the same are one', async () => {
  const { records, look } = await open()
  records.set('_dnslink.a.example', [['dnslink=/ipns/k51', 'foo'], 'dnslink=/ipns/k51foo'])
  expect((await look('a.example'))?.value).toBe('/ipns/k51foo')
})

test.each([
  ['no record', []],
  ['another use', ['v=spf1 -all']],
  ['an address', ['dnslink=169.254.169.254']],
  ['a URL', ['dnslink=http://127.0.0.1/ipfs/x']],
  ['another namespace', ['dnslink=/ip4/127.0.0.1']],
  ['nothing', ['dnslink=']],
  ['only a namespace', ['dnslink=/ipfs/']],
  ['a line break', ['dnslink=/ipfs/a\r\nb']],
  ['2,049 characters', [['dnslink=/ipfs/', ...Array.from({ length: 9 }, () => 'a'.repeat(250))]]],
])('%s is no DNSLink', async (_, found) => {
  const { records, look } = await open()
  records.set('_dnslink.a.example', found)
  expect(await look('a.example')).toBeUndefined()
})

test('two different DNSLinks are an error: nobody can say which is meant', async () => {
  const { records, look } = await open()
  records.set('_dnslink.a.example', ['dnslink=/ipfs/a', 'dnslink=/ipfs/b'])
  await expect(look('a.example')).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED' })
})

test('what the patterns do not allow is never asked', async () => {
  const { records, look, asked } = await open(['example.org', '*.example.net'])
  for (const domain of ['example.org', 'a.b.example.net', 'www.example.org', 'example.net', 'evilexample.org']) {
    records.set(`_dnslink.${domain}`, ['dnslink=/ipfs/bafyfoo'])
  }
  expect((await look('example.org'))?.value).toBe('/ipfs/bafyfoo')
  expect((await look('a.b.example.net'))?.value).toBe('/ipfs/bafyfoo')
  for (const domain of ['www.example.org', 'example.net', 'evilexample.org', 'xexample.net']) {
    expect(await look(domain)).toBeUndefined()
  }
  expect(asked).toHaveLength(2)
})

test('without patterns nobody is asked', async () => {
  const { look, asked } = await open([])
  expect(await look('example.org')).toBeUndefined()
  expect(asked).toEqual([])
})

test('an answer is kept for a minute, its absence for ten seconds, a failure not at all', async () => {
  const { records, look, asked, clock } = await open()
  records.set('_dnslink.a.example', ['dnslink=/ipfs/one'])
  for (const nowMs of [0, 59_999]) {
    clock.nowMs = nowMs
    expect((await look('a.example'))?.value).toBe('/ipfs/one')
  }
  expect(asked).toHaveLength(1)
  records.set('_dnslink.a.example', ['dnslink=/ipfs/two'])
  clock.nowMs = 60_000
  expect((await look('a.example'))?.value).toBe('/ipfs/two')

  expect(await look('b.example')).toBeUndefined()
  records.set('_dnslink.b.example', ['dnslink=/ipfs/b'])
  clock.nowMs = 69_999
  expect(await look('b.example')).toBeUndefined()
  clock.nowMs = 70_000
  expect((await look('b.example'))?.value).toBe('/ipfs/b')

  records.set('_dnslink.c.example', 'fail')
  await expect(look('c.example')).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED' })
  records.set('_dnslink.c.example', ['dnslink=/ipfs/c'])
  expect((await look('c.example'))?.value).toBe('/ipfs/c')
})

test('a server that fails or is silent is an error in the end, and not an absent DNSLink', async () => {
  const { records, look } = await open(['*'], 100)
  records.set('_dnslink.a.example', 'fail')
  records.set('_dnslink.b.example', 'silent')
  const message = expect.stringContaining('the DNS does not answer')
  await expect(look('a.example')).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED', message })
  await expect(look('b.example')).rejects.toMatchObject({ code: 'IPNS_UNRESOLVED', message })
})

test('many who ask at once ask one question, and one who leaves does not end it', async () => {
  const { records, look, asked } = await open()
  records.set('_dnslink.a.example', ['dnslink=/ipfs/a'])
  const leaving = new AbortController()
  const left = look('a.example', { signal: leaving.signal })
  const others = Array.from({ length: 50 }, () => look('a.example'))
  leaving.abort(new Error('left'))
  await expect(left).rejects.toThrow('left')
  for (const found of await Promise.all(others)) expect(found?.value).toBe('/ipfs/a')
  expect(asked).toHaveLength(1)
})

test('no more than 256 questions are under way', async () => {
  const { records, look, asked } = await open(['*'], 100)
  const domains = Array.from({ length: 300 }, (_, i) => `h${i}.example`)
  for (const domain of domains) records.set(`_dnslink.${domain}`, 'silent')
  const results = await Promise.allSettled(domains.map((domain) => look(domain)))
  expect(results.every(({ status }) => status === 'rejected')).toBe(true)
  expect(new Set(asked).size).toBe(256)
  records.set('_dnslink.h0.example', ['dnslink=/ipfs/a'])
  expect((await look('h0.example'))?.value).toBe('/ipfs/a')
})
