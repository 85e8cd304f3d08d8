import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { withCodesTable } from './support/codes-table.ts'
import { withSettingsTable } from './support/settings-table.ts'

const pageOf = (path: string) => readFileSync(resolve(import.meta.dirname, '..', path), 'utf8')

test('the README lists the settings as src/config.ts has them (npm run docs writes it)', () => {
  const readme = pageOf('README.md')
  expect(readme).toBe(withSettingsTable(readme))
})

test('docs/http.md lists the error codes as src/errors.ts has them (npm run docs writes it)', () => {
  const page = pageOf('docs/http.md')
  expect(page).toBe(withCodesTable(page))
})
