import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CheckedCopy, confidenceOf, copyTrust, domainTrust, halfLifeMs } from '../../src/placement/confidence.ts'

const nowMs = Date.parse('2026-11-21T12:00:00Z')
const copyAt = (ageMs: number, ...domains: string[]): CheckedCopy => ({
  verifiedAt: new Date(nowMs - ageMs).toISOString(),
  domains,
})

const hoursMax = 24 * 90
const copies = fc.array(
  fc
    .record({
      hours: fc.integer({ min: 0, max: hoursMax }),
      domains: fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { minLength: 1, maxLength: 3 }),
    })
    .map(({ hours, domains }) => copyAt(hours * 3_600_000, ...domains)),
  // More would come so near to 1 that a double cannot tell them apart.
  { maxLength: 3 },
)
const aged = (copy: CheckedCopy, ms: number): CheckedCopy => ({
  ...copy,
  verifiedAt: new Date(Date.parse(copy.verifiedAt) - ms).toISOString(),
})

test('nothing verified is no confidence, one fresh copy is nearly all of it', () => {
  expect(confidenceOf([], nowMs)).toBe(0)
  expect(confidenceOf([copyAt(0, 'x')], nowMs)).toBeCloseTo(copyTrust * domainTrust, 12)
})

test('a copy counts for half when nobody looked for a half-life', () => {
  expect(confidenceOf([copyAt(halfLifeMs, 'x')], nowMs)).toBeCloseTo((copyTrust * domainTrust) / 2, 12)
})

test('it is always in [0, 1], and the order of copies does not matter', () => {
  fc.assert(
    fc.property(copies, (list) => {
      const confidence = confidenceOf(list, nowMs)
      expect(confidence).toBeGreaterThanOrEqual(0)
      expect(confidence).toBeLessThanOrEqual(1)
      expect(confidenceOf(list.toReversed(), nowMs)).toBeCloseTo(confidence, 12)
    }),
  )
})

test('it rises with each copy that is verified', () => {
  fc.assert(
    fc.property(
      copies,
      fc.integer({ min: 0, max: hoursMax }),
      fc.constantFrom('x', 'y', 'z', 'new'),
      (list, hours, at) => {
        const before = confidenceOf(list, nowMs)
        expect(confidenceOf([...list, copyAt(hours * 3_600_000, at)], nowMs)).toBeGreaterThan(before)
      },
    ),
  )
})

test('a copy in a failure domain of its own is worth more than one beside another', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: hoursMax }), fc.integer({ min: 0, max: hoursMax }), (one, other) => {
      const first = copyAt(one * 3_600_000, 'x')
      const apart = confidenceOf([first, copyAt(other * 3_600_000, 'y')], nowMs)
      expect(apart).toBeGreaterThan(confidenceOf([first, copyAt(other * 3_600_000, 'x')], nowMs))
    }),
  )
})

test('no number of copies in one failure domain is trusted further than the domain itself', () => {
  const many = Array.from({ length: 50 }, () => copyAt(0, 'x'))
  expect(confidenceOf(many, nowMs)).toBeLessThanOrEqual(domainTrust)
})

test('it falls with age, for any copy of which it is made', () => {
  fc.assert(
    fc.property(
      copies.filter((list) => list.length > 0),
      fc.integer({ min: 1, max: hoursMax }),
      fc.nat(),
      (list, hours, pick) => {
        const at = pick % list.length
        const older = list.map((copy, i) => (i === at ? aged(copy, hours * 3_600_000) : copy))
        expect(confidenceOf(older, nowMs)).toBeLessThan(confidenceOf(list, nowMs))
        expect(confidenceOf(list, nowMs + hours * 3_600_000)).toBeLessThan(confidenceOf(list, nowMs))
      },
    ),
  )
})

test('a time that is none, or lies ahead, makes nothing better', () => {
  expect(confidenceOf([{ verifiedAt: 'soon', domains: ['x'] }], nowMs)).toBe(0)
  expect(confidenceOf([copyAt(-3_600_000, 'x')], nowMs)).toBe(confidenceOf([copyAt(0, 'x')], nowMs))
})
