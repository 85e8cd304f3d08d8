import { expect, test } from 'vitest'
import { parseContentRequest, splitTarget } from '../../src/gateway/request.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const parse = (path: string) => parseContentRequest(path, '', 256)

test('33: of an absolute-form target only path and query count', () => {
  expect(splitTarget(`http://evil.example/ipfs/${cid}?a=b`)).toEqual({ pathname: `/ipfs/${cid}`, search: '?a=b' })
  expect(splitTarget('http://evil.example')).toEqual({ pathname: '/', search: '' })
})

test('32: a URL above 8 KiB is refused', () => {
  expect(() => splitTarget(`/ipfs/${'a'.repeat(8192)}`)).toThrow(expect.objectContaining({ code: 'PATH_INVALID' }))
})

test('links and redirects are built from the path as read: percent-encoded strictly, in capitals', () => {
  const request = parse(`/ipfs/${cid}/%c4%85/a+b'c/d%20e/`)
  expect(request.href).toBe(`/ipfs/${cid}/%C4%85/a%2Bb%27c/d%20e`)
  expect(request.trailingSlash).toBe(true)
  expect(request.path.segments).toEqual(['ą', "a+b'c", 'd e'])
})

test('bytes that a client did not escape are read as UTF-8', () => {
  expect(parse(`/ipfs/${cid}/${Buffer.from('ą').toString('latin1')}`).path.segments).toEqual(['ą'])
  expect(() => parse(`/ipfs/${cid}/\xff`)).toThrow(expect.objectContaining({ code: 'PATH_INVALID' }))
})

test('X-Ipfs-Path and Ipfs-Uri tell the path, percent-encoded where a header could not carry it', () => {
  expect(parse(`/ipfs/${cid}/a/`).pathHeaders).toEqual([
    'X-Ipfs-Path',
    `/ipfs/${cid}/a/`,
    'Ipfs-Uri',
    `ipfs://${cid}/a/`,
  ])
  for (const name of ['%C4%85', 'a%0D%0Ab']) {
    expect(parse(`/ipfs/${cid}/${name}`).pathHeaders).toEqual([
      'X-Ipfs-Path',
      `/ipfs/${cid}/${name}`,
      'Ipfs-Uri',
      `ipfs://${cid}/${name}`,
    ])
  }
})

test('Ipfs-Uri names a version 0 CID as version 1', () => {
  const request = parse('/ipfs/Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD')
  expect(request.pathHeaders.at(-1)).toMatch(/^ipfs:\/\/bafybei[a-z2-7]{52}$/)
  expect(request.href).toBe('/ipfs/Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD')
})

test.each([
  ['22: a dot segment', `/ipfs/${cid}/../x`],
  ['23: an encoded dot segment', `/ipfs/${cid}/%2e%2e/x`],
  ['24: an encoded slash', `/ipfs/${cid}/..%2fx`],
  ['26: NUL', `/ipfs/${cid}/a%00`],
  ['27: a bad escape', `/ipfs/${cid}/%zz`],
  ['28: an overlong form', `/ipfs/${cid}/%c0%af`],
  ['29: a lone surrogate', `/ipfs/${cid}/%ed%a0%80`],
  ['30: an empty segment', `/ipfs/${cid}//x`],
  ['31: 300 segments', `/ipfs/${cid}${'/a'.repeat(300)}`],
])('%s is PATH_INVALID', (_, path) => {
  expect(() => parse(path)).toThrow(expect.objectContaining({ code: 'PATH_INVALID' }))
})

test('25: a name is decoded once', () => {
  expect(parse(`/ipfs/${cid}/%252e`).path.segments).toEqual(['%2e'])
})

test('44: of a key given twice the first counts', () => {
  expect(parseContentRequest(`/ipfs/${cid}`, '?filename=a&filename=b', 256).query.filename).toBe('a')
})
