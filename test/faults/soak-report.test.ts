import { expect, test } from 'vitest'
import { type Sample, trendOf, unwantedLines } from './soak-report.ts'

const mib = 2 ** 20
const samplesOf = (count: number, bytes: (at: number) => number): Sample[] =>
  Array.from({ length: count }, (_, at) => ({ seconds: at * 10, nodeBytes: bytes(at), serverBytes: 0, handles: 0 }))
const nodeTrend = (samples: Sample[]) => trendOf(samples, ({ nodeBytes }) => nodeBytes, 16 * mib)

test('memory that fills and then stays is flat, whatever its peaks', () => {
  const filling = samplesOf(100, (at) => Math.min(at * 10, 200) * mib + (at % 7 === 0 ? 90 * mib : 0))
  expect(nodeTrend(filling)).toMatchObject({ isFlat: true })
})

test('memory that grows a little with each sample is not, and how much is told', () => {
  const leaking = samplesOf(100, (at) => (200 + at + (at % 3) * 10) * mib)
  const { grown, isFlat } = nodeTrend(leaking)
  expect(isFlat).toBe(false)
  expect(grown / mib).toBeGreaterThan(45)
  expect(grown / mib).toBeLessThan(55)
})

test('no samples and one sample are no trend', () => {
  expect(nodeTrend([])).toMatchObject({ grown: 0, isFlat: true })
  expect(nodeTrend(samplesOf(1, () => mib))).toMatchObject({ grown: 0, isFlat: true })
})

test('warnings, errors and what is no line of the log are unwanted, by message, the most frequent first', () => {
  const line = (level: number, msg: string, more = {}) => JSON.stringify({ level, msg, ...more })
  const output = [
    'stowage 1.0.0 is ready',
    '  gateway     http://127.0.0.1:1/ipfs/<cid>',
    '  admin token in /data/admin.token',
    '              (shown once; kept in /data/admin.token)',
    line(30, 'stopping'),
    line(40, 'slow', { at: 1 }),
    line(50, 'failed'),
    line(40, 'slow', { at: 2 }),
    '(node:1) MaxListenersExceededWarning: Possible EventEmitter memory leak',
    '',
  ].join('\n')
  expect(unwantedLines(output)).toEqual([
    { count: 2, line: line(40, 'slow', { at: 1 }) },
    { count: 1, line: line(50, 'failed') },
    { count: 1, line: '(node:1) MaxListenersExceededWarning: Possible EventEmitter memory leak' },
  ])
  expect(unwantedLines(output, (message) => message === 'slow')).toHaveLength(2)
})
