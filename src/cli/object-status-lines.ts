import { formatBytes } from '../lib/units.ts'
import { factLines } from './facts.ts'
import { printable } from './printable.ts'

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as readonly unknown[]) : [])
const textsOf = (value: unknown): string => printable(listOf(value).map(String).join(', '))

/** What `/api/v1/status/<cid>` says: the sum, then a line for each copy. */
export function objectStatusLines(status: Fields): string {
  const { min, max } = fieldsOf(status.wanted)
  const wanted = min === max ? String(min) : `${min} to ${max}`
  const facts: [string, string][] = [
    ['CID', printable(String(status.cid))],
    ['names', textsOf(status.names)],
    ['size', typeof status.bytes === 'number' ? formatBytes(status.bytes) : ''],
    ['rule', printable(String(status.rule))],
    ['copies', `${status.verified} verified${status.partial === true ? ' of a part' : ''}, ${wanted} wanted`],
    ['state', stateOf(status)],
    ['failure domains', String(status.failureDomains)],
    ['confidence', String(status.confidence)],
    ['shown at', textsOf(status.projectedAt)],
    ['not possible', textsOf(status.unmet)],
  ]
  const copies = listOf(status.copies).map((copy) => copyLine(fieldsOf(copy)))
  return [factLines(facts.filter(([, value]) => value !== '')), ...(copies.length > 0 ? ['', ...copies] : [])].join(
    '\n',
  )
}

function stateOf(status: Fields): string {
  const { deleted, lost, satisfied, degraded } = status
  if (deleted === true) return 'deleted'
  if (lost === true) return 'lost'
  const met = satisfied === true ? 'satisfied' : 'provisional: the policy is not met yet'
  const state = degraded === true ? `${met}; on fewer failure domains than copies are wanted` : met
  return status.partial === true ? `${partialText(status)}; of what was put: ${state}` : state
}

/** Of content that was imported as partial. */
export function partialText({ missing }: Fields): string {
  const blocks = missing === 1 ? 'block was' : 'blocks were'
  return typeof missing === 'number' ? `partial: ${missing} ${blocks} never put` : 'partial: blocks were never put'
}

function copyLine({ site, store, state, verifiedAt, zones, reachable }: Fields): string {
  const checked = typeof verifiedAt === 'string' ? `, verified ${verifiedAt}` : ''
  const away = reachable === false ? ', not in reach' : ''
  return printable(`${site}/${store}  ${state}${checked}, in ${listOf(zones).map(String).join(', ')}${away}`)
}
