import { settings } from '../../src/config.ts'

/** The settings table of the README, from the one list in src/config.ts. */
export function settingsTable(): string {
  const rows = Object.entries(settings).map(([name, setting]) => {
    const initial = 'default' in setting ? `\`${setting.default}\`` : ''
    return `| \`STOWAGE_${name}\` | ${initial} | ${setting.help.replaceAll('|', '\\|')} |`
  })
  return ['| variable | default | what |', '|---|---|---|', ...rows].join('\n')
}

export const tableStart = '<!-- settings: made by `npm run docs`, checked by a test -->\n'
export const tableEnd = '\n<!-- /settings -->'

export function withSettingsTable(readme: string): string {
  const start = readme.indexOf(tableStart)
  const end = readme.indexOf(tableEnd)
  if (start === -1 || end === -1) throw new Error('the README has no place for the settings table')
  return readme.slice(0, start + tableStart.length) + settingsTable() + readme.slice(end)
}
