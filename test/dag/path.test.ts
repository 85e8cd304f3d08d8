import { expect, test } from 'vitest'
import { contentPath, parseContentPath } from '../../src/dag/path.ts'

const cid = 'bafkqaaa'
const options = { pathSegmentsMax: 256 }

test.each([
  ['22: a dot segment', `${cid}/../x`],
  ['22: one dot', `${cid}/./x`],
  ['23: an encoded dot segment', `${cid}/%2e%2e/x`],
  ['24: an encoded slash', `${cid}/..%2fx`],
  ['24: an encoded slash in a name', `${cid}/a%2Fb`],
  ['26: NUL', `${cid}/a%00b`],
  ['27: a bad escape', `${cid}/%zz`],
  ['27: half an escape', `${cid}/a%2`],
  ['28: overlong UTF-8', `${cid}/%c0%af`],
  ['29: a lone surrogate', `${cid}/%ed%a0%80`],
  ['30: an empty segment', `${cid}//a`],
  ['30: two slashes at the end', `${cid}/a//`],
  ['31: 10,000 segments', `${cid}${'/a'.repeat(10_000)}`],
  ['31: 257 segments', `${cid}${'/a'.repeat(257)}`],
])('%s is PATH_INVALID', (_, text) => {
  expect(() => parseContentPath(text, options)).toThrowError(expect.objectContaining({ code: 'PATH_INVALID' }))
})

test.each([
  ['the root alone', cid, [], false],
  ['a slash after the root', `${cid}/`, [], true],
  ['names', `${cid}/a/b.txt`, ['a', 'b.txt'], false],
  ['a slash at the end', `${cid}/a/`, ['a'], true],
  ['25: a name is decoded once', `${cid}/%252e%252e`, ['%2e%2e'], false],
  ['names beyond ASCII', `${cid}/%C3%A9%20%F0%9F%9A%A2`, ['é 🚢'], false],
  ['a question mark in a name', `${cid}/a%3Fb`, ['a?b'], false],
  ['256 segments', `${cid}${'/a'.repeat(256)}`, Array<string>(256).fill('a'), false],
] as const)('%s is read', (_, text, segments, trailingSlash) => {
  const parsed = parseContentPath(text, options)
  expect(parsed.path.root.toString()).toBe(cid)
  expect(parsed.path.segments).toEqual(segments)
  expect(parsed.trailingSlash).toBe(trailingSlash)
})

test('without a CID the path is CID_INVALID', () => {
  for (const text of ['', '/', 'foo/a']) {
    expect(() => parseContentPath(text, options)).toThrowError(expect.objectContaining({ code: 'CID_INVALID' }))
  }
})

test('segments that are already apart are checked too', () => {
  const root = parseContentPath(cid, options).path.root
  expect(contentPath(root, ['a', 'b'], options).segments).toEqual(['a', 'b'])
  for (const bad of ['', '.', '..', 'a/b', 'a\0', '\ud800']) {
    expect(() => contentPath(root, [bad], options)).toThrowError(expect.objectContaining({ code: 'PATH_INVALID' }))
  }
})
