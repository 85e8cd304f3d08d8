import type { EventReply } from '../client/events.ts'
import { formatBytes } from '../lib/units.ts'
import { printable } from './printable.ts'

/** One event on a line: number, time, entity.verb, owner, subject, and what is worth knowing of its data. */
export function eventLine({ sequence, json }: EventReply): string {
  const act = actOf(textOf(json.type))
  const columns = [
    String(sequence).padStart(8),
    textOf(json.time),
    act.padEnd(15),
    textOf(json.owner).padEnd(8),
    textOf(json.subject),
    detailOf(act, json.data),
  ]
  return printable(columns.filter((column) => column !== '').join('  '))
}

/** `stowage.name.set.v1` is `name.set`. */
function actOf(type: string): string {
  return /([^.]+\.[^.]+)\.v\d+$/.exec(type)?.[1] ?? type
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Of a name that was set, or published below `/ipns/`: what it stands for now. Of new content: its size. Of a failure: its code. */
function detailOf(act: string, data: unknown): string {
  if (typeof data !== 'object' || data === null) return ''
  const { cid, code, heads, size, value } = data as Readonly<Record<string, unknown>>
  if (typeof code === 'string') return `(${code})`
  if (act.startsWith('object.') && typeof size === 'number') return `(${formatBytes(size)})`
  if (act === 'name.conflicted') return Array.isArray(heads) ? `(${heads.length} heads)` : ''
  if (act === 'ipns.published') return typeof value === 'string' ? `-> ${value}` : ''
  const link = typeof cid === 'object' && cid !== null ? (cid as Readonly<Record<string, unknown>>)['/'] : cid
  return act === 'name.set' && typeof link === 'string' ? `-> ${link}` : ''
}
