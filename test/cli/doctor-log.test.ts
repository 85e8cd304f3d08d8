import { expect, test } from 'vitest'
import { checkLog } from '../../src/cli/doctor/network.ts'

const levels = (log: unknown) => checkLog(log).map(({ name, level }) => `${name} ${level}`)

test('doctor tells a damaged event log, and indexes that know too little', () => {
  expect(levels({ fault: null, mending: [] })).toEqual(['event log ok', 'indexes ok'])
  expect(levels({ fault: null, mending: ['names', 'refs'] })).toEqual(['event log ok', 'indexes warn'])
  expect(levels({ fault: 'its end is lost', mending: [] })).toEqual(['event log fail', 'indexes ok'])
  expect(levels({ fault: 'its end is lost', mending: ['names'] })).toEqual(['event log fail', 'indexes fail'])
  expect(checkLog({ fault: 'its end is lost', mending: [] })[0]).toMatchObject({
    message: 'its end is lost; writes are refused',
    hint: expect.stringContaining('stowage log status'),
  })
})

test('a node that is older says nothing of them', () => {
  expect([undefined, null, 'text'].flatMap(checkLog)).toEqual([])
})
