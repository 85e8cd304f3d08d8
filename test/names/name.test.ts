import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkName, isName, nameKey, nameOfKey, parseReference } from '../../src/names/name.ts'

const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

test.each([
  ['docs/a.txt', 'docs.a=2Etxt'],
  ['a', 'a'],
  ['a.b*c>d e', 'a=2Eb=2Ac=3Ed=20e'],
  ['é', '=C3=A9'],
  ['x=y', 'x=3Dy'],
  ['a_b-C9', 'a_b-C9'],
  ['ann@example.org', 'ann=40example=2Eorg'],
  ['日本/語', '=E6=97=A5=E6=9C=AC.=E8=AA=9E'],
])('%j has the key %s, and back', (name, key) => {
  checkName(name)
  expect(nameKey(name)).toBe(key)
  expect(nameOfKey(key)).toBe(name)
})

// What is refused as a name.
test.each([
  ['', 'empty'],
  ['a'.repeat(1025), 'too long'],
  ['é'.repeat(513), 'too long in bytes'],
  ['/a', 'leading slash'],
  ['a/', 'trailing slash'],
  ['a//b', 'empty segment'],
  ['.', 'dot'],
  ['a/../b', 'dots'],
  ['a/./b', 'dot segment'],
  ['a\nb', 'LF'],
  ['a\r\nb', 'CRLF'],
  ['a\0b', 'NUL'],
  ['a\u007fb', 'DEL'],
  ['a\u0085b', 'C1 control'],
  ['e\u0301', 'NFD twin of é'],
  ['\ud800', 'lone surrogate'],
  [cid, 'a CID'],
  [cid.toUpperCase(), 'a CID in capitals'],
  ['QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG', 'a CIDv0'],
  [`${cid}/a.txt`, 'a CID first'],
  ['a@17', 'like a revision'],
  ['a@2026-01-31T12:00:00Z', 'like a time'],
])('%j is no name: %s', (name) => {
  expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
})

test.each([
  'a.b',
  '*',
  '>',
  'a b',
  '$KV',
  'a'.repeat(300),
  'a'.repeat(1024),
  'bafy',
  'Qm',
  'music',
  '...',
  'a@b',
  '@7',
  'p@1.2.3',
])('%j is a name', (name) => expect(isName(name)).toBe(true))

const anyName = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 40 })
  .map((text) => text.normalize('NFC'))
  .filter(isName)

test('a key is a valid subject and KV key, leads back to its name, and no two names share one', () => {
  fc.assert(
    fc.property(anyName, anyName, (a, b) => {
      expect(nameKey(a)).toMatch(/^[\w=-]+(\.[\w=-]+)*$/)
      expect(nameOfKey(nameKey(a))).toBe(a)
      expect(nameKey(a) === nameKey(b)).toBe(a === b)
    }),
    { numRuns: 2_000 },
  )
})

test('a text that is no key of a name leads to none', () => {
  for (const key of ['a=2', 'a=2e', 'a=ZZ', 'a=41', '=FF', 'a b', 'a=']) expect(nameOfKey(key)).toBeUndefined()
})

test('every name refers to itself, and to its versions', () => {
  fc.assert(
    fc.property(anyName, fc.nat(), (name, revision) => {
      expect(parseReference(name)).toEqual({ name, version: undefined })
      expect(parseReference(`${name}@${revision}`)).toEqual({ name, version: { revision } })
      const time = new Date(revision * 1000)
      expect(parseReference(`${name}@${time.toISOString()}`)).toEqual({ name, version: { time } })
    }),
    { numRuns: 500 },
  )
})
