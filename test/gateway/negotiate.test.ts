import { expect, test } from 'vitest'
import { type Format, negotiate } from '../../src/gateway/negotiate.ts'
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

/** The forms in the order in which they are tried, each by its name. */
function order(accept: string): string[] {
  const names: string[] = []
  for (let format: Format | undefined = negotiate(query(''), accept); format !== undefined; format = format.orElse) {
    if (format.kind === 'codec') names.push(format.codec)
    else if (format.kind === 'unixfs')
      names.push(`${format.html ? 'page' : 'own'}${format.only ? ` ${format.only}` : ''}`)
    else names.push(format.kind)
  }
  return names
}

test.each([
  ['axios', 'application/json, text/plain, */*', ['json', 'own']],
  ['Angular with a page', 'application/json, text/html, */*', ['json', 'page', 'page']],
  ['anything said first', '*/*, application/vnd.ipld.dag-json', ['dag-json', 'own']],
  ['anything loved more', 'application/json;q=0.1, */*', ['own', 'json']],
  ['anything loved less', '*/*;q=0.1, application/json;q=0.2', ['json', 'own']],
  ['anything refused', 'application/json, */*;q=0', ['json']],
  ['the format refused', 'application/json;q=0, */*', ['own']],
  ['two codecs', 'application/cbor;q=0.8, application/vnd.ipld.dag-json', ['dag-json', 'cbor']],
  ['three of equal weight', 'application/x-tar, application/cbor, application/json', ['tar', 'cbor', 'json']],
  ['a family of types', 'application/json, text/*', ['json', 'own text']],
  ['another family', 'application/json, application/*;q=0.5', ['json', 'own application']],
  ['a family that says nothing of formats', 'application/json, image/*', ['json']],
  ['a weight that is no number', 'application/json;q=x, application/cbor', ['cbor']],
  ['a weight above 1', 'application/json;q=5, application/cbor;q=1', ['json', 'cbor']],
  ['a weight without a value', 'application/json;q=, application/cbor', ['cbor']],
  ['blanks and capitals', ' Application/JSON ; Q=0.2 ,\t*/* ; q=0.3', ['own', 'json']],
  ['a browser', browser, ['page', 'page']],
  ['a CAR that there is none of', 'application/vnd.ipld.car;version=2, application/vnd.ipld.raw', ['raw']],
  ['a CAR that there is none of, further down', 'application/json, application/vnd.ipld.car;version=2', ['json']],
  ['only images', 'image/png, image/*', ['own']],
])('what is tried for %s: %s', (_, accept, expected) => {
  expect(order(accept)).toEqual(expected)
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
