import { expect, test } from 'vitest'
import { parseSince } from '../../src/cli/since.ts'

const now = new Date('2026-03-10T12:00:00.000Z')

for (const [text, expected] of [
  ['0', '0'],
  ['17', '17'],
  ['90s', '2026-03-10T11:58:30.000Z'],
  ['15m', '2026-03-10T11:45:00.000Z'],
  ['1h', '2026-03-10T11:00:00.000Z'],
  ['2d', '2026-03-08T12:00:00.000Z'],
  ['1w', '2026-03-03T12:00:00.000Z'],
  ['2026-01-31', '2026-01-31T00:00:00.000Z'],
  ['2026-01-31T12:00:00+02:00', '2026-01-31T10:00:00.000Z'],
] as const) {
  test(`--since ${text} is ${expected}`, () => {
    expect(parseSince(text, now)).toBe(expected)
  })
}

for (const text of ['', 'yesterday', '1y', '-1', '1.5h', '2026-13-01', '9999999999999999']) {
  test(`--since ${JSON.stringify(text)} is refused with what to give`, () => {
    expect(() => parseSince(text, now)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  })
}
