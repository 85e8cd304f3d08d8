import type { EventReply } from '../client/events.ts'
import { printable } from './printable.ts'

/** One event on a line: number, time, entity.verb, owner, subject, and what is worth knowing of its data. */
export function eventLine({ sequence, json }: EventReply): string {
  const columns = [
    String(sequence).padStart(8),
    textOf(json.time),
    actOf(textOf(json.type)).padEnd(15),
    textOf(json.owner).padEnd(8),
    textOf(json.subject),
    detailOf(json.data),
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

/** Of a name: what it stands for now. Of a failure: its code. */
function detailOf(data: unknown): string {
  if (typeof data !== 'object' || data === null) return ''
  const { cid, code } = data as Readonly<Record<string, unknown>>
  if (typeof code === 'string') return `(${code})`
  const link = typeof cid === 'object' && cid !== null ? (cid as Readonly<Record<string, unknown>>)['/'] : cid
  return typeof link === 'string' ? `-> ${link}` : ''
}
