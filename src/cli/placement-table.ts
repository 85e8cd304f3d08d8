import { formatBytes } from '../lib/units.ts'
import { tableLines } from './table.ts'

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0)
const shown = (value: unknown): string => numberOf(value).toLocaleString('en')

const head = ['site', 'store', 'state', 'copies', 'on the way', 'to go', 'failed', 'bytes'] as const

/** The summary of `/api/v1/placement` as a table: a line for each store, then what it comes to. */
export function placementTable(summary: Fields): string {
  const stores = Array.isArray(summary.stores) ? summary.stores.map(fieldsOf) : []
  const rows = stores.filter(({ state }) => state !== 'removed').map(rowOf)
  const { all: roots, degraded, lost, bytes } = fieldsOf(summary.roots)
  const trouble = [
    numberOf(degraded) > 0 ? `${shown(degraded)} degraded` : '',
    numberOf(lost) > 0 ? `${shown(lost)} lost` : '',
  ].filter((text) => text !== '')
  const sum = [`${shown(roots)} ${roots === 1 ? 'root' : 'roots'}`, formatBytes(numberOf(bytes)), ...trouble].join(', ')
  return `${tableLines([head, ...rows])}\n\n${sum}`
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
    String(site),
    String(name),
    states.filter((text) => text !== '').join(', '),
    ...[verified, requested, removing, failed].map(shown),
    formatBytes(numberOf(usedBytes)),
  ]
}
