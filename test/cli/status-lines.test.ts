import { expect, test } from 'vitest'
import { statusFacts } from '../../src/cli/commands/status.ts'

test('a fact that counts bytes has a unit, and a limit that is named after bytes counts hits', () => {
  const facts = statusFacts({
    store: { bytes: 2048, payloadBytesMax: 1024, troubles: [] },
    limitHits: { api: { dag_bytes: 3, file_bytes: 1200 } },
  })
  expect(Object.fromEntries(facts)).toEqual({
    'store bytes': '2.00 KiB',
    'store payload max': '1.00 KiB',
    'store troubles': 'none',
    'limit hits api dag_bytes': '3',
    'limit hits api file_bytes': '1,200',
  })
})
