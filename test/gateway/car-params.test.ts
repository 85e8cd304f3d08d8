import { describe, expect, test } from 'vitest'
import type { CarParams } from '../../src/content/get.ts'
import { carSearch } from '../../src/gateway/car-params.ts'
import { negotiate } from '../../src/gateway/negotiate.ts'
import { parseContentRequest } from '../../src/gateway/request.ts'

const ask = (search: string, accept?: string) =>
  negotiate(parseContentRequest('/ipfs/bafkqaaa', search === '' ? '' : `?${search}`, 256).query, accept)

const whole: CarParams = { scope: 'all', bytes: undefined, dups: false, order: 'dfs' }
const car = 'application/vnd.ipld.car'

describe('which CAR is asked for', () => {
  test.each<[string, string, string | undefined, Partial<CarParams>]>([
    ['nothing said', 'format=car', undefined, {}],
    ['by Accept alone', '', car, {}],
    ['version 1, told twice', 'format=car&car-version=1', `${car};version=1`, {}],
    ['a block', 'format=car&dag-scope=block', undefined, { scope: 'block' }],
    ['an entity', 'format=car&dag-scope=entity', undefined, { scope: 'entity' }],
    ['a scope beside Accept', 'dag-scope=entity', car, { scope: 'entity' }],
    ['bytes, which mean an entity', 'format=car&entity-bytes=0:9', undefined, bytes(0n, 9n)],
    ['bytes, whatever scope is said', 'format=car&entity-bytes=0:9&dag-scope=all', undefined, bytes(0n, 9n)],
    ['bytes to the end', 'format=car&entity-bytes=7:*', undefined, bytes(7n, undefined)],
    ['bytes from the end', 'format=car&entity-bytes=-9:-2', undefined, bytes(-9n, -2n)],
    ['bytes from the start to before the end', 'format=car&entity-bytes=5:-1', undefined, bytes(5n, -1n)],
    ['bytes from the end, a limit from the start', 'format=car&entity-bytes=-5:3', undefined, bytes(-5n, 3n)],
    ['the last offset there is', `format=car&entity-bytes=0:${2n ** 63n - 1n}`, undefined, bytes(0n, 2n ** 63n - 1n)],
    ['duplicates, by Accept', '', `${car}; version=1; order=dfs; dups=y`, { dups: true }],
    ['duplicates, by Accept beside format=car', 'format=car', `${car};dups=y`, { dups: true }],
    ['duplicates, by the URL', 'format=car&car-dups=y', undefined, { dups: true }],
    ['the URL beats Accept: no duplicates', 'format=car&car-dups=n', `${car};dups=y`, {}],
    ['the URL beats Accept: duplicates', 'car-dups=y', `${car};dups=n`, { dups: true }],
    ['any order', '', `${car};order=unk`, { order: 'unk' }],
    ['the URL beats Accept: an order', 'format=car&car-order=dfs', `${car};order=unk`, {}],
    ['parameters in quotes and capitals', '', `Application/VND.ipld.CAR; Dups="Y"`, { dups: true }],
    ['parameters left empty', 'format=car&car-dups=&car-order=', `${car};version=;dups=`, {}],
    ['the best-loved CAR of Accept', '', `${car};dups=n;q=0.5, ${car};dups=y`, { dups: true }],
    ['a CAR of Accept that is not its first choice', 'format=car', `text/html, ${car};dups=y;q=0.1`, { dups: true }],
    ['Accept without a CAR', 'format=car', 'application/vnd.ipld.raw;dups=y', {}],
    ['a parameter that we do not know', '', `${car};meta=eof`, {}],
  ])('%s', (_, search, accept, expected) => {
    expect(ask(search, accept)).toMatchObject({ kind: 'car', params: { ...whole, ...expected } })
  })
})

function bytes(from: bigint, to: bigint | undefined): Partial<CarParams> {
  return { scope: 'entity', bytes: { from, to } }
}

describe('refused', () => {
  test.each([
    ['41: a range that ends before it begins', 'entity-bytes=5:1'],
    ['41: letters', 'entity-bytes=a:b'],
    ['41: an offset beyond 2^63', 'entity-bytes=-9999999999999999999:*'],
    ['an offset of 2^63', `entity-bytes=0:${2n ** 63n}`],
    ['from the end, ending before it begins', 'entity-bytes=-1:-5'],
    ['one offset', 'entity-bytes=5'],
    ['no first offset', 'entity-bytes=:5'],
    ['no last offset', 'entity-bytes=5:'],
    ['a star in front', 'entity-bytes=*:5'],
    ['a dash, as in a Range', 'entity-bytes=0-5'],
    ['a sign', 'entity-bytes=%2B1:5'],
    ['a space', 'entity-bytes=0:%205'],
    ['a fraction', 'entity-bytes=0.5:9'],
    ['a power', 'entity-bytes=0:1e3'],
    ['hexadecimal', 'entity-bytes=0x0:0x9'],
    ['three offsets', 'entity-bytes=0:1:2'],
    ['a thousand digits', `entity-bytes=${'9'.repeat(1000)}:*`],
    ['40: a scope that is none', 'dag-scope=bogus'],
    ['a scope in capitals', 'dag-scope=ALL'],
  ])('%s, as 400', (_, search) => {
    expect(() => ask(`format=car&${search}`)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
    expect(() => ask(search, car)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  })

  test.each([
    ['version 2', 'car-version=2', 'version=2'],
    ['an order that is none', 'car-order=bfs', 'order=bfs'],
    ['dups that are neither', 'car-dups=maybe', 'dups=maybe'],
  ])('%s, as 406, in the URL and in Accept', (_, search, param) => {
    const refused = expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' })
    expect(() => ask(`format=car&${search}`)).toThrow(refused)
    expect(() => ask('', `${car};${param}`)).toThrow(refused)
    expect(() => ask('format=car', `${car};${param}`)).toThrow(refused)
    // Control: the URL is what counts.
    const [name = '', value] = param.split('=')
    expect(ask(`format=car&car-${name}=${{ version: '1', order: 'dfs', dups: 'n' }[name]}`, `${car};${name}=${value}`))
  })
})

test('other formats know nothing of these parameters', () => {
  expect(ask('format=raw&dag-scope=bogus&entity-bytes=x&car-version=9').kind).toBe('raw')
  expect(ask('dag-scope=bogus').kind).toBe('unixfs')
})

test('a CAR whose URL leaves to Accept which CAR it is, has another URL of its own', () => {
  const fromAccept = (search: string, accept?: string) => (ask(search, accept) as { fromAccept: boolean }).fromAccept
  expect(fromAccept('', car)).toBe(true)
  expect(fromAccept('format=car', `${car};dups=y`)).toBe(true)
  expect(fromAccept('format=car', `${car};version=1`)).toBe(true)
  expect(fromAccept('format=car', car)).toBe(false)
  expect(fromAccept('format=car&car-dups=n', `${car};dups=y`)).toBe(false)
  expect(fromAccept('format=car')).toBe(false)
})

test.each<[Partial<CarParams>, string]>([
  [{}, 'format=car&car-version=1&car-order=dfs&car-dups=n'],
  [{ dups: true, order: 'unk' }, 'format=car&car-version=1&car-order=dfs&car-dups=y'],
  [{ scope: 'block' }, 'format=car&dag-scope=block&car-version=1&car-order=dfs&car-dups=n'],
  [
    { scope: 'entity', bytes: { from: -5n, to: undefined } },
    'format=car&dag-scope=entity&entity-bytes=-5:*&car-version=1&car-order=dfs&car-dups=n',
  ],
])('that URL asks for the same CAR: %o', (params, search) => {
  expect(carSearch({ ...whole, ...params })).toBe(search)
  expect(ask(search)).toMatchObject({ kind: 'car', params: { ...whole, ...params, order: 'dfs' }, fromAccept: false })
})
