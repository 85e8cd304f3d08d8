import { expect, test } from 'vitest'
import { nodeUrl, originUrl } from '../../src/client/node-url.ts'

const base = 'http://127.0.0.1:8081'

test('a segment reaches the node as it is, whatever it holds', () => {
  const segments = ['a b', '100%?#', 'ü', '%2e%2e', 'a/b', '\t', '...', '.x']
  const url = nodeUrl(base, ['names', ...segments])
  expect(url).toBe(`${base}/names/a%20b/100%25%3F%23/%C3%BC/%252e%252e/a%2Fb/%09/.../.x`)
  // As the client of node:http reads it: nothing is folded.
  expect(new URL(url).pathname.split('/').slice(2).map(decodeURIComponent)).toEqual(segments)
})

test('a query leaves out what is undefined', () => {
  expect(nodeUrl(base, ['events'], { follow: true, cid: undefined, prefix: '../a&b' })).toBe(
    `${base}/events?follow=true&prefix=..%2Fa%26b`,
  )
  expect(nodeUrl(base, ['events'], { cid: undefined })).toBe(`${base}/events`)
})

test.each([['..'], ['.'], [''], ['a\0'], ['\ud800']])('the segment %j is refused wherever it stands', (segment) => {
  for (const path of [[segment], ['names', segment], ['names', segment, 'x'], ['stores', 'b', segment]]) {
    expect(() => nodeUrl(base, path)).toThrow(expect.objectContaining({ code: 'PATH_INVALID' }))
  }
})

test('a gateway sends on to hosts below its own, and nowhere else', () => {
  const from = nodeUrl('http://gw.example:8080', ['ipfs', 'bafy'])
  expect(originUrl(from, 'http://bafy.ipfs.gw.example:8080/a?x=1')).toEqual({
    url: 'http://bafy.ipfs.gw.example:8080/a?x=1',
  })
  for (const other of ['http://evil.example/', 'http://bafy.ipfs.gw.example/', 'http://xgw.example:8080/', '/a']) {
    expect(originUrl(from, other)).toBeUndefined()
  }
  expect(originUrl(nodeUrl('http://localhost:8080', ['ipfs', 'b']), 'http://b.ipfs.localhost:8080/a')).toEqual({
    url: 'http://localhost:8080/a',
    host: 'b.ipfs.localhost:8080',
  })
})

test('a path that is refused is shown as it was written, without the route before it', () => {
  const refused = () => nodeUrl('http://localhost', ['api', 'v1', 'names', 'a', '..', 'keep'])
  expect(refused).toThrow(/^"a\/\.\.\/keep" has the segment "\.\."/)
})
