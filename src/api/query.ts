import type { FastifyRequest } from 'fastify'
import type { LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'

/** The query as it was sent, names in their order, repeats included. */
export function queryOf(request: FastifyRequest): URLSearchParams {
  const url = request.raw.url ?? ''
  const at = url.indexOf('?')
  return new URLSearchParams(at === -1 ? '' : url.slice(at + 1))
}

const secretNames: readonly string[] = ['token', 'access_token', 'api_key', 'authorization', 'auth']

/** URLs end up in logs and histories. @throws AppError REQUEST_INVALID */
export function refuseTokenInQuery(request: FastifyRequest): void {
  for (const name of queryOf(request).keys()) {
    if (!secretNames.includes(name.toLowerCase())) continue
    throw new AppError('REQUEST_INVALID', 'a token does not belong into a URL', {
      hint: 'send it as Authorization: Bearer <token>; and replace this one, it may be in a log now',
    })
  }
}

/** Takes a parameter out of the query. @throws AppError REQUEST_INVALID when it is given twice */
export function takeOne(query: URLSearchParams, name: string): string | undefined {
  const [value, ...more] = query.getAll(name)
  if (more.length > 0) throw givenTwice(name)
  query.delete(name)
  return value
}

/** @throws AppError REQUEST_INVALID for other parameters, and for one that is given twice */
export function allowOnly(query: URLSearchParams, names: readonly string[]): void {
  for (const name of query.keys()) {
    if (!names.includes(name)) {
      const hint = names.length === 0 ? 'there are none here' : `allowed here: ${names.join(', ')}`
      throw new AppError('REQUEST_INVALID', `unknown parameter ${JSON.stringify(name.slice(0, 100))}`, { hint })
    }
    if (query.getAll(name).length > 1) throw givenTwice(name)
  }
}

/** `?name`, `?name=true`, `?name=1`. @throws AppError REQUEST_INVALID */
export function flagOf(query: URLSearchParams, name: string, absent = false): boolean {
  const text = query.get(name)
  if (text === null) return absent
  if (text === '' || text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw new AppError('REQUEST_INVALID', `${name} is true or false`)
}

const entriesPerPage = 1000

/** `?limit=` of a page of a listing. @throws AppError REQUEST_INVALID */
export function limitOf(query: URLSearchParams, { listingEntriesMax }: Pick<LimitConfig, 'listingEntriesMax'>): number {
  const text = query.get('limit')
  if (text === null) return Math.min(entriesPerPage, listingEntriesMax)
  const limit = Number(text)
  if (/^\d{1,9}$/.test(text) && limit >= 1 && limit <= listingEntriesMax) return limit
  throw new AppError('REQUEST_INVALID', `limit is 1 to ${listingEntriesMax}`)
}

const givenTwice = (name: string) => new AppError('REQUEST_INVALID', `parameter ${name} is given twice`)
