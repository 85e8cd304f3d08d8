import type { CarParams, EntityBytes } from '../content/get.ts'
import { AppError } from '../errors.ts'
import type { Query } from './request.ts'

/** Offsets beyond it are in no file; 19 digits also bound what is parsed. */
const offsetMax = 2n ** 63n - 1n

/**
 * What CAR is asked for: the URL's `car-…` parameters, else those of the media type in Accept (IPIP-412, IPIP-523).
 * Version 1, order dfs or unk, duplicates y or n are what there is; an empty parameter counts as left out.
 * @throws AppError FORMAT_UNSUPPORTED | REQUEST_INVALID
 */
export function carParams(query: Query, accepted: ReadonlyMap<string, string>): CarParams {
  const version = query.carVersion ?? (accepted.get('version') || '1')
  const order = query.carOrder ?? (accepted.get('order') || 'dfs')
  const dups = query.carDups ?? (accepted.get('dups') || 'n')
  if (version !== '1') throw new AppError('FORMAT_UNSUPPORTED', 'only CAR version 1 is served')
  if (order !== 'dfs' && order !== 'unk') throw new AppError('FORMAT_UNSUPPORTED', 'CAR order is dfs or unk')
  if (dups !== 'y' && dups !== 'n') throw new AppError('FORMAT_UNSUPPORTED', 'CAR dups is y or n')
  const bytes = query.entityBytes === undefined ? undefined : entityBytes(query.entityBytes)
  return { scope: scopeOf(query.dagScope, bytes), bytes, dups: dups === 'y', order }
}

/** Whether Accept decides something that the URL leaves open: then the URL alone stands for another CAR. */
export function dependsOnAccept(query: Query, accepted: ReadonlyMap<string, string>): boolean {
  return (
    (query.carVersion === undefined && accepted.has('version')) ||
    (query.carOrder === undefined && accepted.has('order')) ||
    (query.carDups === undefined && accepted.has('dups'))
  )
}

function scopeOf(text: string | undefined, bytes: EntityBytes | undefined): CarParams['scope'] {
  if (text !== undefined && text !== 'all' && text !== 'entity' && text !== 'block') {
    throw new AppError('REQUEST_INVALID', 'dag-scope is block, entity or all')
  }
  return bytes === undefined ? (text ?? 'all') : 'entity'
}

/** `from:to`, both inclusive; negative = from the end; `*` = to the end. */
function entityBytes(text: string): EntityBytes {
  const match = /^(-?\d{1,19}):(-?\d{1,19}|\*)$/.exec(text)
  const [, first, last] = match ?? []
  if (first === undefined || last === undefined) throw malformed('it is not from:to')
  const from = BigInt(first)
  const to = last === '*' ? undefined : BigInt(last)
  if (tooFar(from) || (to !== undefined && tooFar(to))) throw malformed(`an offset is beyond ${offsetMax}`)
  if (to !== undefined && to < 0n === from < 0n && to < from) throw malformed('it ends before it begins')
  return { from, to }
}

function tooFar(offset: bigint): boolean {
  return offset > offsetMax || offset < -offsetMax
}

function malformed(why: string): AppError {
  return new AppError('REQUEST_INVALID', `entity-bytes cannot be read: ${why}`, {
    hint: 'entity-bytes=from:to, two offsets in bytes, e.g. 0:1023, 512:* or -1024:*',
  })
}

/** The CAR's own part of a URL that stands for it alone: what is sent, and nothing of Accept. */
export function carSearch({ scope, bytes, dups }: CarParams): string {
  const range = bytes === undefined ? '' : `&entity-bytes=${bytes.from}:${bytes.to ?? '*'}`
  const dagScope = scope === 'all' ? '' : `&dag-scope=${scope}`
  return `format=car${dagScope}${range}&car-version=1&car-order=dfs&car-dups=${dups ? 'y' : 'n'}`
}
