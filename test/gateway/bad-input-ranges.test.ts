import { afterAll, beforeAll, expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { pattern, putFile, putRaw, signal } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'
import { exchange, expectErrorShape, request } from '../support/raw-http.ts'

// Ranges and conditions, over a bare socket to a running gateway.

const hello = Buffer.from('hello world')
const cid = hashBlock(hello, 0x55).cid
const etag = `"${cid}"`

let gateway: OpenGateway
let close: () => unknown
beforeAll(async () => {
  gateway = await openGateway((ended) => {
    close = () => ended({} as never)
  })
  await putRaw(gateway.store, hello)
})
afterAll(() => close())

type Headers = Readonly<Record<string, string>>
type Row = readonly [group: number, what: string, headers: Headers, status: number | readonly number[], body?: string]

const rows: readonly Row[] = [
  [45, 'backwards', { Range: 'bytes=5-2' }, 200, 'hello world'],
  [45, 'backwards among others', { Range: 'bytes=0-1,5-2' }, 200, 'hello world'],
  [46, 'beyond the end', { Range: 'bytes=999999999999-' }, 416],
  [46, 'right at the end', { Range: 'bytes=11-' }, 416],
  [47, 'the last zero bytes', { Range: 'bytes=-0' }, 416],
  [48, 'an end of 23 digits', { Range: 'bytes=6-99999999999999999999999' }, 206, 'world'],
  [48, 'a start of 23 digits', { Range: 'bytes=99999999999999999999999-' }, 416],
  [48, 'a suffix of 23 digits', { Range: 'bytes=-99999999999999999999999' }, 206, 'hello world'],
  [49, '1,000 ranges', { Range: `bytes=${'0-,'.repeat(999)}0-` }, 206, 'hello world'],
  [49, '1,000 overlapping ranges', { Range: `bytes=${'1-3,2-5,'.repeat(500)}0-0` }, 206, 'ell'],
  [49, '1,000 ranges beyond the end', { Range: `bytes=${'99-,'.repeat(999)}99-` }, 416],
  [49, 'ranges of 14 KB', { Range: `bytes=${'0-0,'.repeat(3500)}0-0` }, 200, 'hello world'],
  [50, 'another unit', { Range: 'items=0-1' }, 200, 'hello world'],
  [50, 'no unit', { Range: '0-1' }, 200, 'hello world'],
  [50, 'words', { Range: 'bytes=a-b' }, 200, 'hello world'],
  [50, 'nothing', { Range: 'bytes=' }, 200, 'hello world'],
  [50, 'commas', { Range: `bytes=${','.repeat(1000)}` }, 200, 'hello world'],
  [53, '2,000 tags', { 'If-None-Match': '"x", '.repeat(2000) }, 200, 'hello world'],
  [53, '10,000 tags', { 'If-None-Match': '"x", '.repeat(10_000) }, 431],
  [53, '2,000 tags, the last one ours', { 'If-None-Match': `${'"x", '.repeat(2000)}${etag}` }, 304, ''],
  [53, 'tags without quotes', { 'If-None-Match': 'x, y, '.repeat(1000) }, 200, 'hello world'],
  [54, 'a weak If-Range', { Range: 'bytes=0-1', 'If-Range': `W/${etag}` }, 200, 'hello world'],
  [54, 'another If-Range', { Range: 'bytes=0-1', 'If-Range': '"other"' }, 200, 'hello world'],
  [54, 'a date as If-Range', { Range: 'bytes=0-1', 'If-Range': 'Thu, 02 Jan 2020 03:04:05 GMT' }, 200, 'hello world'],
  [54, 'the If-Range that holds', { Range: 'bytes=0-1', 'If-Range': etag }, 206, 'he'],
]

const table = rows.map(([group, what, headers, status, body]) => [group, what, headers, status, body] as const)

test.each(table)('%i: %s', async (_, what, headers, status, body) => {
  for (const query of ['', '?format=raw']) {
    // The tags of the raw block are others.
    if (query !== '' && ('If-Range' in headers || 'If-None-Match' in headers)) continue
    const target = `/ipfs/${cid}${query}`
    const answer = await exchange(gateway.port, [
      request(target, { headers: { Accept: '*/*, application/problem+json', ...headers } }),
    ])
    expect([what, query, answer.status]).toEqual([what, query, expect.toBeOneOf([status].flat())])
    if (body !== undefined) expect(answer.body.toString()).toBe(body)
    if (answer.status === 416) expect(answer.headers.get('content-range')).toBe('bytes */11')
    if (answer.status === 200 || answer.status === 206) expect(answer.body.byteLength).toBeLessThanOrEqual(11)
    expectErrorShape(answer)
  }
})

test('51: over a missing block, only the ranges that touch it fail', async () => {
  const { store, port } = gateway
  const content = pattern(3000)
  const parts = [0, 1, 2].map((index) => content.subarray(index * 1000, (index + 1) * 1000))
  const children = await Promise.all(parts.map(async (part) => ({ cid: await putRaw(store, part), size: 1000n })))
  const file = await putFile(store, children)
  const missing = children[1]
  if (missing !== undefined) await store.delete(missing.cid, { signal })
  const statusOf = async (range: string) => {
    const headers = { Accept: 'application/problem+json', Range: range }
    const answer = await exchange(port, [request(`/ipfs/${file.cid}?filename=a.bin`, { headers })])
    expectErrorShape(answer)
    return answer.status
  }
  expect(await statusOf('bytes=0-999')).toBe(206)
  expect(await statusOf('bytes=2000-2999')).toBe(206)
  expect(await statusOf('bytes=-1')).toBe(206)
  expect(await statusOf('bytes=1000-1000')).toBe(404)
  expect(await statusOf('bytes=1999-2000')).toBe(404)
})

test('52: beyond 2^53 of a file of 2^60 bytes no bit of an offset is lost', async () => {
  const { store, port } = gateway
  const leaf = pattern(1 << 20)
  let child = { cid: await putRaw(store, leaf), size: 1n << 20n }
  for (let level = 0; level < 20; level++) child = await putFile(store, [child, child, child, child])
  for (const start of [2n ** 53n + 1n, 2n ** 53n - 1n, 2n ** 60n - 5n]) {
    const end = start + 4n
    const headers = { Accept: '*/*', Range: `bytes=${start}-${end}` }
    const answer = await exchange(port, [request(`/ipfs/${child.cid}?filename=a.bin`, { headers })])
    expect([answer.status, answer.headers.get('content-range')]).toEqual([206, `bytes ${start}-${end}/${2n ** 60n}`])
    const at = (offset: bigint) => leaf[Number(offset % 2n ** 20n)]
    expect([...answer.body]).toEqual([0n, 1n, 2n, 3n, 4n].map((step) => at(start + step)))
  }
})
