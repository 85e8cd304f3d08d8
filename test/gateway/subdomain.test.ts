import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { originOf, subdomainLocation, uriLocation, urlText } from '../../src/gateway/subdomain.ts'

const gateway = { authority: 'localhost:8080', scheme: 'http' } as const
const locate = (pathname: string, search = '') => subdomainLocation(pathname, search, gateway)

const v0 = CID.parse('Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD')
const v1 = v0.toV1().toString()
const sha512 = CID.createV1(0x55, Digest.create(0x13, Buffer.alloc(64, 7))).toString()
const identity = (bytes: number) => CID.createV1(0x55, Digest.create(0, Buffer.alloc(bytes, 'A')))
const keyDigest = Digest.create(0, Buffer.from([8, 1, 18, 32, ...Buffer.alloc(32, 5)]))
const key = CID.createV1(0x72, keyDigest).toString(base36)
const peerId = base58btc.encode(keyDigest.bytes).slice(1)
const rsaKey = CID.createV1(0x72, v0.multihash).toString(base36)

test.each([
  ['a root', `/ipfs/${v1}`, '', `http://${v1}.ipfs.localhost:8080/`],
  ['a root with a slash', `/ipfs/${v1}/`, '', `http://${v1}.ipfs.localhost:8080/`],
  ['a path', `/ipfs/${v1}/a/b`, '', `http://${v1}.ipfs.localhost:8080/a/b`],
  ['a path with a slash and a query', `/ipfs/${v1}/a/`, '?x=1&y', `http://${v1}.ipfs.localhost:8080/a/?x=1&y`],
  ['a query behind a root', `/ipfs/${v1}`, '?format=raw', `http://${v1}.ipfs.localhost:8080/?format=raw`],
  ['version 0', `/ipfs/${v0}/a`, '', `http://${v1}.ipfs.localhost:8080/a`],
  ['another base', `/ipfs/${v0.toV1().toString(base58btc)}`, '', `http://${v1}.ipfs.localhost:8080/`],
  ['capitals', `/ipfs/b${v1.slice(1).toUpperCase()}`, '', `http://${v1}.ipfs.localhost:8080/`],
  [
    'what only fits in base36',
    `/ipfs/${identity(35)}`,
    '',
    `http://${identity(35).toString(base36)}.ipfs.localhost:8080/`,
  ],
  ['a key as peer id', `/ipns/${peerId}/a`, '', `http://${key}.ipns.localhost:8080/a`],
  ['an old key, Qm', `/ipns/${v0}`, '', `http://${rsaKey}.ipns.localhost:8080/`],
  ['a key as dag-pb', `/ipns/${CID.createV1(0x70, keyDigest)}`, '', `http://${key}.ipns.localhost:8080/`],
  ['a key', `/ipns/${key}/`, '', `http://${key}.ipns.localhost:8080/`],
  ['a domain name', '/ipns/en.Wiki-x.org/a', '', 'http://en-wiki--x-org.ipns.localhost:8080/a'],
  // Already escaped stays, in capitals; what a header cannot carry is escaped.
  ['escapes', `/ipfs/${v1}/a%252C+%c4%85`, '?q=%c4', `http://${v1}.ipfs.localhost:8080/a%252C+%C4%85?q=%C4`],
  ['bytes of UTF-8', `/ipfs/${v1}/Espa\xc3\xb1a=x`, '', `http://${v1}.ipfs.localhost:8080/Espa%C3%B1a=x`],
  ['a backslash', `/ipfs/${v1}/\\evil`, '', `http://${v1}.ipfs.localhost:8080/%5Cevil`],
  ['slashes', `/ipfs/${v1}//evil.example`, '', `http://${v1}.ipfs.localhost:8080//evil.example`],
])('%s of a configured host has its own origin', (_, pathname, search, location) => {
  expect(locate(pathname, search)).toBe(location)
})

test.each(['/', '/ipfs', '/ipfs/', '/ipns/', '/names/docs', '/ipfsx/a', '/api/v1'])(
  '%s stays where it is',
  (pathname) => {
    expect(locate(pathname)).toBeUndefined()
  },
)

test.each([
  ['no CID', '/ipfs/QmInvalidCID', 'invalid path "/ipfs/QmInvalidCID"'],
  ['no CID, and long', `/ipfs/${'Qm'.repeat(300)}`, `invalid path "/ipfs/${'Qm'.repeat(47)}…"`],
  ['markup', '/ipfs/"><script>', String.raw`invalid path "/ipfs/\"><script>"`],
  ['a digest of 64 bytes', `/ipfs/${sha512}`, 'CID incompatible with DNS label length limit of 63'],
  ['a digest too long for base36', `/ipfs/${identity(40)}`, 'CID incompatible with DNS label length limit of 63'],
  ['a long domain name', `/ipns/${'a'.repeat(60)}.example.org`, 'DNS label length limit of 63'],
])('%s is refused, and said why', (_, pathname, message) => {
  expect(() => locate(pathname)).toThrow(
    expect.objectContaining({ code: 'CID_INVALID', message: expect.stringContaining(message) }),
  )
})

test.each(['/ipns/foo', `/ipns/${identity(10)}`, '/ipns/a..b', '/ipns/127.0.0.1', '/ipns/%0d%0ax.org'])(
  '%s is no name',
  (pathname) => {
    expect(() => locate(pathname)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
  },
)

test('the scheme is that of the proxy', () => {
  const location = subdomainLocation(`/ipfs/${v1}`, '', { authority: 'example.com', scheme: 'https' })
  expect(location).toBe(`https://${v1}.ipfs.example.com/`)
})

test('a subdomain is content, a name, or another spelling of one', () => {
  expect(originOf('ipfs', v1)).toMatchObject({ kind: 'content', label: v1 })
  expect(originOf('ipfs', v0.toString())).toEqual({ kind: 'moved', label: v1 })
  expect(originOf('ipfs', v1.toUpperCase())).toEqual({ kind: 'moved', label: v1 })
  expect(originOf('ipfs', v0.toV1().toString(base36))).toEqual({ kind: 'moved', label: v1 })
  expect(originOf('ipns', key)).toMatchObject({ kind: 'name', name: { kind: 'key', name: key } })
  expect(originOf('ipns', CID.createV1(0x70, keyDigest).toString(base36))).toEqual({ kind: 'moved', label: key })
  expect(originOf('ipns', CID.createV1(0x72, keyDigest).toString(base32))).toEqual({ kind: 'moved', label: key })
  expect(originOf('ipns', 'en-wiki--x-org')).toMatchObject({
    kind: 'name',
    name: { kind: 'domain', name: 'en.wiki-x.org' },
  })
  expect(originOf('ipns', 'EN.wiki-x.org')).toMatchObject({
    kind: 'name',
    name: { kind: 'domain', name: 'en.wiki-x.org' },
  })
})

test('a subdomain whose label DNS could not carry says so, like the path does', () => {
  const message = expect.stringContaining('CID incompatible with DNS label length limit of 63')
  expect(() => originOf('ipfs', sha512)).toThrow(expect.objectContaining({ code: 'CID_INVALID', message }))
})

test.each(['foo', v0.toString().toLowerCase(), `a.${v1}`])('ipfs subdomain %s is no CID', (label) => {
  expect(() => originOf('ipfs', label)).toThrow(expect.objectContaining({ code: 'CID_INVALID' }))
})

test.each(['foo', '-', '--', 'a--b', 'a-1'])('ipns subdomain %s is no name', (label) => {
  expect(() => originOf('ipns', label)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
})

test.each([
  [`ipfs://${v0}/wiki/Diego_Maradona.html`, `/ipfs/${v0}/wiki/Diego_Maradona.html`],
  [`ipfs://${v1}`, `/ipfs/${v1}`],
  [`IPFS://${v1}/?a=b#c`, `/ipfs/${v1}/?a=b`],
  ['ipns://en.wikipedia-on-ipfs.org', '/ipns/en.wikipedia-on-ipfs.org'],
  [`ipfs://${v1}/ą b%20c`, `/ipfs/${v1}/%C4%85%20b%20c`],
  [`ipfs://${v1}/\r\nX: y`, `/ipfs/${v1}/%0D%0AX:%20y`],
])('?uri=%s leads to %s', (uri, location) => {
  expect(uriLocation(`?uri=${encodeURIComponent(uri)}`)).toBe(location)
})

test.each([
  'javascript:alert(1)',
  '//evil.example',
  'https://evil.example/',
  'ipfs:////evil.example',
  'ipfs:///evil.example',
  'ipfs://',
  'ipfs://a@evil.example',
  'ipfs://evil.example:80/x',
  '/ipfs/x',
  ' ipfs://x',
])('42: ?uri=%s is refused', (uri) => {
  expect(() => uriLocation(`?uri=${encodeURIComponent(uri)}`)).toThrow(
    expect.objectContaining({ code: 'REQUEST_INVALID' }),
  )
})

test('without a uri there is nothing to do', () => {
  for (const search of ['', '?', '?uri=', '?a=uri=b', '?format=raw']) expect(uriLocation(search)).toBeUndefined()
})

test('text for a URL in a header has visible ASCII only', () => {
  const text = urlText(Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join(''))
  expect(text).toMatch(/^[\x21-\x7e]+$/)
  expect(text).not.toMatch(/["<>\\^`{|}]/)
})
