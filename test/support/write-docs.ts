import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { withSettingsTable } from './settings-table.ts'

// npm run docs
const readme = resolve(import.meta.dirname, '../../README.md')
writeFileSync(readme, withSettingsTable(readFileSync(readme, 'utf8')))
