import type { FastifyRequest } from 'fastify'
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
