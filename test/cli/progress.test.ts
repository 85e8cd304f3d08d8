import { expect, test } from 'vitest'
import { printable } from '../../src/cli/printable.ts'
import { formatSeconds, renderProgress } from '../../src/cli/progress.ts'
import { MiB } from '../../src/lib/units.ts'

const state = { label: 'adding photos', bytes: 45 * MiB, totalBytes: 100 * MiB, bytesPerSecond: 5 * MiB }

test('a bar shows its share, bytes, rate and time left', () => {
  expect(renderProgress(state, 100)).toBe(
    'adding photos  [==============                ]   45%  45.0 MiB of 100.0 MiB  5.00 MiB/s  11 s left',
  )
})

test('without a total there are bytes and a rate', () => {
  expect(renderProgress({ ...state, totalBytes: undefined }, 80)).toBe('adding photos  45.0 MiB  5.00 MiB/s')
})

test('no line is as wide as the terminal, however long its label', () => {
  for (const columns of [20, 40, 60, 80, 200]) {
    for (const label of ['a', 'n'.repeat(300)]) {
      expect(renderProgress({ ...state, label }, columns).length).toBeLessThan(columns)
    }
  }
})

test('more bytes than were announced do not pass 100 %', () => {
  expect(renderProgress({ ...state, bytes: 200 * MiB }, 100)).toContain(']  100%')
})

test('a time is short at every scale', () => {
  expect([0.2, 59.1, 185, 7800].map(formatSeconds)).toEqual(['1 s', '1 min 00 s', '3 min 05 s', '2 h 10 min'])
})

test('escape sequences and marks that turn the writing are shown, not obeyed', () => {
  expect(printable('a\u001b[31m\u202etxt.exe\n')).toBe('a\\u{1b}[31m\\u{202e}txt.exe\\u{a}')
})
