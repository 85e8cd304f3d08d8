import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { withSettingsTable } from './support/settings-table.ts'

test('the README lists the settings as src/config.ts has them (npm run docs writes it)', () => {
  const readme = readFileSync(resolve(import.meta.dirname, '../README.md'), 'utf8')
  expect(readme).toBe(withSettingsTable(readme))
})
