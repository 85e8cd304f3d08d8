import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { withCodesTable } from './codes-table.ts'
import { withSettingsTable } from './settings-table.ts'

// npm run docs
const pages = [
  ['README.md', withSettingsTable],
  ['docs/http.md', withCodesTable],
] as const
for (const [page, withTable] of pages) {
  const file = resolve(import.meta.dirname, '../..', page)
  writeFileSync(file, withTable(readFileSync(file, 'utf8')))
}
