import { AppError } from '../errors.ts'

/** An answer of the node whose fields have not been looked at yet. */
export type Fields = Readonly<Record<string, unknown>>

export function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null) throw unexpected('an object')
  return value as Fields
}

export function text(fields: Fields, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw unexpected(name)
  return value
}

export function count(fields: Fields, name: string): number {
  const value = fields[name]
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (typeof number !== 'number') throw unexpected(name)
  return number
}

export function unexpected(what: string): AppError {
  return new AppError('INTERNAL', `the answer of the node has no ${what}`, {
    hint: 'is this a Stowage node of the same version? See `stowage status`',
  })
}
