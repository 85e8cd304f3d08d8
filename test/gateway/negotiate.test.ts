import { expect, test } from 'vitest'
import { negotiate } from '../../src/gateway/negotiate.ts'
import { parseContentRequest } from '../../src/gateway/request.ts'

const query = (search: string) => parseContentRequest('/ipfs/bafkqaaa', search === '' ? '' : `?${search}`, 256).query
const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8'

test.each([
  ['nothing asked', '', undefined, 'unixfs'],
  ['anything', '', '*/*', 'unixfs'],
  ['a browser', '', browser, 'unixfs'],
  ['a block scope', 'format=car&dag-scope=block', undefined, 'car'],
  ['an image', '', 'image/png', 'unixfs'],
  ['format=raw', 'format=raw', undefined, 'raw'],
  ['format beats Accept', 'format=raw', 'application/vnd.ipld.car', 'raw'],
  ['Accept raw', '', 'application/vnd.ipld.raw', 'raw'],
  ['Accept car with parameters', '', 'application/vnd.ipld.car; version=1; order=dfs; dups=y', 'car'],
  ['a car of unknown order', '', 'application/vnd.ipld.car;order=unk', 'car'],
  ['the first of equals', '', 'application/vnd.ipld.car, application/vnd.ipld.raw', 'car'],
  ['the better loved', '', 'application/vnd.ipld.car;q=0.5, application/vnd.ipld.raw', 'raw'],
  ['a refused type', '', 'application/vnd.ipld.raw;q=0', 'unixfs'],
  ['a page before JSON', '', 'text/html, application/json;q=0.5', 'unixfs'],
  ['JSON', '', 'application/json', 'codec'],
  ['capitals', '', 'Application/Vnd.IPLD.Raw', 'raw'],
  ['a tar', 'format=tar', undefined, 'tar'],
  ['a tar by Accept', '', 'application/x-tar', 'tar'],
  ['an IPNS record', 'format=ipns-record', undefined, 'ipns-record'],
  ['a duplicate key: the first counts', 'format=raw&format=car', undefined, 'raw'],
])('%s', (_, search, accept, kind) => {
  expect(negotiate(query(search), accept).kind).toBe(kind)
})

test.each([
  ['39: an unknown format', 'format=exe', undefined, 'FORMAT_UNSUPPORTED'],
  ['CAR version 2', 'format=car&car-version=2', undefined, 'FORMAT_UNSUPPORTED'],
  ['CAR version 2 in Accept', '', 'application/vnd.ipld.car;version=2', 'FORMAT_UNSUPPORTED'],
  ['the URL beats Accept', 'format=car&car-order=x', 'application/vnd.ipld.car;order=dfs', 'FORMAT_UNSUPPORTED'],
  ['40: a scope that is not served', 'format=car&dag-scope=bogus', undefined, 'REQUEST_INVALID'],
  ['41: a range of an entity', 'format=car&entity-bytes=5:1', undefined, 'REQUEST_INVALID'],
  ['43: 1,000 types', '', 'application/x,'.repeat(1000), 'FORMAT_UNSUPPORTED'],
])('%s is refused', (_, search, accept, code) => {
  expect(() => negotiate(query(search), accept)).toThrow(expect.objectContaining({ code }))
})

test('a format from Accept is marked, because it has a URL of its own', () => {
  expect(negotiate(query(''), 'application/vnd.ipld.raw')).toEqual({ kind: 'raw', fromAccept: true })
  expect(negotiate(query('format=raw'), undefined)).toEqual({ kind: 'raw', fromAccept: false })
})
