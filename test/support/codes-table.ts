import { type ErrorCode, statusOf } from '../../src/errors.ts'

/** Codes that no HTTP answer of a node has: they end a process or a command of the command line. */
const ofProcess: ReadonlySet<ErrorCode> = new Set([
  ...(['SETTING_INVALID', 'SERVER_NOT_FOUND', 'SERVER_TOO_OLD', 'SERVER_FAILED', 'PORT_TAKEN'] as const),
  ...(['DATA_FOLDER_LOCKED', 'DATA_FOLDER_UNUSABLE', 'NODE_UNREACHABLE', 'CONNECTION_LOST', 'FILE_UNUSABLE'] as const),
])

/** The codes of docs/http.md by their status, from the one list in src/errors.ts. */
export function codesTable(): string {
  const byStatus = new Map<number, string[]>()
  for (const [code, status] of Object.entries(statusOf) as [ErrorCode, number][]) {
    if (ofProcess.has(code)) continue
    byStatus.set(status, [...(byStatus.get(status) ?? []), `\`${code.toLowerCase()}\``])
  }
  const rows = [...byStatus]
    .sort(([one], [other]) => one - other)
    .map(([status, codes]) => `| ${status} | ${codes.join(', ')} |`)
  return ['| status | codes |', '|---|---|', ...rows].join('\n')
}

const start = '<!-- codes: made by `npm run docs`, checked by a test -->\n'
const end = '\n<!-- /codes -->'

export function withCodesTable(page: string): string {
  const from = page.indexOf(start)
  const to = page.indexOf(end)
  if (from === -1 || to === -1) throw new Error('the page has no place for the table of codes')
  return page.slice(0, from + start.length) + codesTable() + page.slice(to)
}
