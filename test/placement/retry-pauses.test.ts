import { expect, test } from 'vitest'
import { AppError } from '../../src/errors.ts'
import { RetryPauses } from '../../src/placement/retry-pauses.ts'

const outage = new AppError('STORE_UNAVAILABLE', 'away')
const failure = new AppError('BLOCK_CORRUPT', 'damaged')

test('what fails again and again waits longer and longer, up to ten minutes, and from the start once it was done', () => {
  const pauses = new RetryPauses()
  const waits = Array.from({ length: 7 }, (_, i) => pauses.after('a', failure, i + 1))
  expect(waits).toEqual([1_000, 5_000, 15_000, 60_000, 600_000, 600_000, 600_000])
  expect(pauses.after('b', failure, 1)).toBe(1_000)
  pauses.forget('a')
  expect(pauses.after('a', failure, 9)).toBe(1_000)
})

test('an outage is waited out by a few seconds, however long it is, and makes no later failure wait longer', () => {
  const pauses = new RetryPauses()
  const waits = Array.from({ length: 50 }, (_, i) => pauses.after('a', outage, i + 1))
  expect(waits.slice(0, 3)).toEqual([1_000, 5_000, 5_000])
  expect(Math.max(...waits)).toBe(5_000)
  expect(pauses.after('a', failure, 51)).toBe(1_000)
})

test('tries that were put off for other reasons do not count as failures', () => {
  expect(new RetryPauses().after('a', failure, 40)).toBe(1_000)
})
