import { expect, test } from 'vitest'
import { chooseRange, ifRangeHolds } from '../../src/gateway/range.ts'

const etag = '"bafy"'

// Bad ranges, and their good neighbours. Content of 1,000 bytes unless named.
const rows: readonly [string, string | undefined, string | readonly [bigint, bigint]][] = [
  ['no header', undefined, 'whole'],
  ['a plain range', 'bytes=0-99', [0n, 99n]],
  ['an open range', 'bytes=990-', [990n, 999n]],
  ['a suffix', 'bytes=-10', [990n, 999n]],
  ['a suffix longer than the content', 'bytes=-5000', [0n, 999n]],
  ['white space and capitals', ' Bytes=1-2 ', [1n, 2n]],
  ['the last byte', 'bytes=999-999', [999n, 999n]],
  ['45: backwards', 'bytes=5-2', 'whole'],
  ['46: beyond the end', 'bytes=999999999999-', 'unsatisfiable'],
  ['46: right at the end', 'bytes=1000-', 'unsatisfiable'],
  ['47: the last zero bytes', 'bytes=-0', 'unsatisfiable'],
  ['48: an end of 23 digits', 'bytes=0-99999999999999999999999', [0n, 999n]],
  ['49: several ranges', 'bytes=10-19,30-39', [10n, 19n]],
  ['49: several, the first unsatisfiable', 'bytes=5000-,30-39', [30n, 39n]],
  ['49: several, none satisfiable', 'bytes=5000-,6000-', 'unsatisfiable'],
  ['49: several, one malformed', 'bytes=0-1,x', 'whole'],
  ['49: 1,000 overlapping ranges', `bytes=${'0-,'.repeat(999)}0-`, [0n, 999n]],
  ['49: a header beyond the bound', `bytes=${'0-,'.repeat(9999)}0-`, 'whole'],
  ['50: another unit', 'items=0-1', 'whole'],
  ['no numbers', 'bytes=-', 'whole'],
  ['an empty list', 'bytes=', 'whole'],
  ['a sign', 'bytes=--1', 'whole'],
  ['a hexadecimal number', 'bytes=0x1-5', 'whole'],
]

test.each(rows)('%s', (_, header, expected) => {
  const choice = chooseRange(header, 1000n)
  expect(choice).toEqual(typeof expected === 'string' ? expected : { start: expected[0], end: expected[1] })
})

test('52: beyond 2^53 no bit of an offset is lost', () => {
  const start = 2n ** 53n + 1n
  expect(chooseRange(`bytes=${start}-${start + 2n}`, 2n ** 60n)).toEqual({ start, end: start + 2n })
})

test('a range of empty content is ignored, as some clients add one to every request', () => {
  expect(chooseRange('bytes=0-10', 0n)).toBe('whole')
})

test.each([
  ['no header', undefined, true],
  ['the same strong tag', etag, true],
  ['another tag', '"other"', false],
  ['54: the weak form of the tag', `W/${etag}`, false],
  ['a date', 'Sat, 21 Nov 2026 08:00:00 GMT', false],
])('If-Range with %s', (_, header, holds) => {
  expect(ifRangeHolds(header, etag)).toBe(holds)
})

test('If-Range never holds for a tag that is weak itself', () => {
  expect(ifRangeHolds('W/"x"', 'W/"x"')).toBe(false)
})
