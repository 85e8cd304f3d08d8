import { expect, test } from 'vitest'
import { BlockedTime } from '../../src/observability/blocked-time.ts'

test('without beats it grows with the time, and the next beat ends it', () => {
  const time = new BlockedTime(1_000, 5, 0)
  expect([1_000, 2_010, 3_000].map((nowMs) => time.look(5, nowMs))).toEqual([1_000, 2_010, 3_000])
  expect(time.look(6, 4_000)).toBe(0)
  expect(time.look(6, 5_000)).toBe(1_000)
})

test('an hour in which nobody looked counts for two looks', () => {
  const time = new BlockedTime(1_000, 5, 0)
  expect(time.look(5, 3_600_000)).toBe(2_000)
  expect(time.look(5, 7_200_000)).toBe(4_000)
})
