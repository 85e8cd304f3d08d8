import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import type { Position } from '../content/get.ts'
import { AppError } from '../errors.ts'

export const sortKeys = ['name', 'size', 'kind'] as const
export type SortKey = (typeof sortKeys)[number]

/** What of a directory is to be shown, and how. */
export interface ListingQuery {
  readonly sort: SortKey
  readonly descending: boolean
  /** Entries on the page. */
  readonly limit: number
  /** Undefined: the first page. */
  readonly cursor: Cursor | undefined
}

/** Where a page begins: after the entry at this position, which so many entries came up to. */
export interface Cursor {
  readonly after: Position
  /** Only shown: nothing is skipped by it. */
  readonly before: number
}

/** A page of 10,000 rows has 3 MB; nobody reads that far. */
export const entriesDefault = 1000

/** The query of a listing: `?sort=name|size|kind&desc&limit=N&cursor=…`. @throws AppError REQUEST_INVALID for a wrong cursor */
export function parseListingQuery(search: string, directory: CID, entriesMax: number): ListingQuery {
  const params = new URLSearchParams(search)
  const limit = params.get('limit') ?? ''
  const wanted = /^[1-9]\d{0,8}$/.test(limit) ? Number(limit) : entriesDefault
  const cursor = params.get('cursor')
  return {
    sort: sortKeys.find((key) => key === params.get('sort')) ?? 'name',
    descending: params.has('desc'),
    limit: Math.min(wanted, entriesMax),
    cursor: cursor === null ? undefined : parseCursor(cursor, directory),
  }
}

/** The same as a query string, without what is the default; '' for all defaults. */
export function listingSearch({ sort, descending, limit, cursor }: ListingQuery, directory: CID): string {
  const parts = [
    ...(sort === 'name' ? [] : [`sort=${sort}`]),
    ...(descending ? ['desc'] : []),
    ...(limit === entriesDefault ? [] : [`limit=${limit}`]),
    ...(cursor === undefined ? [] : [`cursor=${formatCursor(cursor, directory)}`]),
  ]
  return parts.join('&')
}

/** `<entries before>.<position>.<check>`. The check binds it to its directory; it keeps no secret. */
export function formatCursor({ after, before }: Cursor, directory: CID): string {
  const text = `${before}.${after.join('-')}`
  return `${text}.${checkOf(text, directory)}`
}

function parseCursor(cursor: string, directory: CID): Cursor {
  const [, text = '', before = '', after = '', check] =
    /^((\d{1,15})\.(\d{1,5}(?:-\d{1,5}){0,20}))\.([0-9a-f]{8})$/.exec(cursor) ?? []
  if (check === undefined || check !== checkOf(text, directory)) {
    throw new AppError('REQUEST_INVALID', 'this link leads to no page of this directory', {
      hint: 'start with the first page',
    })
  }
  return { after: after.split('-').map(Number), before: Number(before) }
}

function checkOf(text: string, directory: CID): string {
  return createHash('sha256').update(directory.bytes).update(text).digest('hex').slice(0, 8)
}
