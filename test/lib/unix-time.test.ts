import { expect, test } from 'vitest'
import { formatRfc3339, formatSeconds, parseRfc3339, parseSeconds, unixTime } from '../../src/lib/unix-time.ts'

test.each([
  ['0', 0n, 0, '1970-01-01T00:00:00.000Z'],
  ['1600000000', 1_600_000_000n, 0, '2020-09-13T12:26:40.000Z'],
  ['1600000000.5', 1_600_000_000n, 500_000_000, '2020-09-13T12:26:40.500Z'],
  ['1600000000.123456789', 1_600_000_000n, 123_456_789, '2020-09-13T12:26:40.123456789Z'],
  ['-0.25', -1n, 750_000_000, '1969-12-31T23:59:59.750Z'],
  ['-1', -1n, 0, '1969-12-31T23:59:59.000Z'],
  ['-4.999999993', -5n, 7, '1969-12-31T23:59:55.000000007Z'],
])('%s s is the same in every form', (text, secs, nsecs, date) => {
  const time = { secs, nsecs }
  expect(parseSeconds(text)).toEqual(time)
  expect(formatSeconds(time)).toBe(text)
  expect(formatRfc3339(time)).toBe(date)
  expect(parseRfc3339(date)).toEqual(time)
  expect(unixTime(secs * 1_000_000_000n + BigInt(nsecs))).toEqual(time)
})

test('RFC 3339 may name a zone, or be a date alone', () => {
  expect(parseRfc3339('2020-09-13t14:26:40.1+02:00')).toEqual({ secs: 1_600_000_000n, nsecs: 100_000_000 })
  expect(parseRfc3339('2020-09-13 12:26Z')).toEqual({ secs: 1_599_999_960n, nsecs: 0 })
  expect(parseRfc3339('2020-09-13')).toEqual({ secs: 1_599_955_200n, nsecs: 0 })
})

test.each([
  '',
  'yesterday',
  '1e9',
  '1.',
  '.5',
  '+1',
  '0x1',
  '2020-09-13T12:26:40',
  '2020-13-01',
  '2020-09-13T12:26.5Z',
])('%j is no time', (text) => {
  expect([parseSeconds(text), parseRfc3339(text)]).toEqual([undefined, undefined])
})

test('beyond all dates there is no time to be written', () => {
  expect(parseSeconds('9999999999999999')).toBeUndefined()
  expect(parseSeconds('-9999999999999999')).toBeUndefined()
  expect(formatRfc3339({ secs: 2n ** 60n, nsecs: 0 })).toBeUndefined()
})
