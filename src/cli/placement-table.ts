import { formatBytes } from '../lib/units.ts'
import { printable } from './printable.ts'

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0)
const shown = (value: unknown): string => numberOf(value).toLocaleString('en')

const head = ['site', 'store', 'state', 'copies', 'on the way', 'to go', 'failed', 'bytes'] as const

/** The summary of `/api/v1/placement` as a table: a line for each store, then what it comes to. */
export function placementTable(summary: Fields): string {
  const stores = Array.isArray(summary.stores) ? summary.stores.map(fieldsOf) : []
  const rows = stores.filter(({ state }) => state !== 'removed').map(rowOf)
  const all = [[...head], ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const lines = all.map((row) =>
    row
      .map((cell, at) => padded(cell, widths[at] ?? 0, at))
      .join('  ')
      .trimEnd(),
  )
  const { all: roots, degraded, lost, bytes } = fieldsOf(summary.roots)
  const trouble = [
    numberOf(degraded) > 0 ? `${shown(degraded)} degraded` : '',
    numberOf(lost) > 0 ? `${shown(lost)} lost` : '',
  ].filter((text) => text !== '')
  const sum = [`${shown(roots)} roots`, formatBytes(numberOf(bytes)), ...trouble].join(', ')
  return [...lines, '', sum].join('\n')
}

function rowOf(store: Fields): string[] {
  const { site, store: name, state, up, primary, copies, usedBytes } = store
  const { verified, requested, removing, failed } = fieldsOf(copies)
  const states = [
    up === false ? 'not heard' : '',
    state === 'active' ? '' : String(state),
    primary === true ? 'takes puts' : '',
  ]
  return [
    ...[site, name].map((text) => printable(String(text))),
    printable(states.filter((text) => text !== '').join(', ')),
    ...[verified, requested, removing, failed].map(shown),
    formatBytes(numberOf(usedBytes)),
  ]
}

/** Numbers to the right. */
const padded = (cell: string, width: number, column: number): string =>
  column < 3 ? cell.padEnd(width) : cell.padStart(width)
