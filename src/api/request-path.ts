import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.ts'

type Asked = Pick<FastifyRequest, 'raw' | 'routeOptions'>

/** As it was sent, not decoded: without scheme and host, which a request line may begin with, and without the query. */
export function pathOf({ raw }: Pick<FastifyRequest, 'raw'>): string {
  const [target = ''] = (raw.url ?? '').split('?', 1)
  const path = target.replace(/^https?:\/\/[^/]*/i, '')
  return path === '' ? '/' : path
}

/** What is behind the prefix of the route, not decoded. */
export function pathBelow(request: Pick<FastifyRequest, 'raw'>, prefix: string): string {
  return pathOf(request).slice(prefix.length)
}

/**
 * Refuses a path that somebody on the way, or the router, may read as another one: with a dot segment, encoded or not, which
 * URL parsers fold; or with the words of the route spelled in percent-encoding, which the router decodes and a proxy that
 * guards paths may not.
 * @throws AppError PATH_INVALID
 */
export function checkPath(request: Asked): void {
  const path = pathOf(request)
  if (path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment))) {
    throw new AppError('PATH_INVALID', 'the path has a dot segment', {
      hint: 'names and paths have no segment that is . or ..; write the path without it',
    })
  }
  if (path.includes('#')) throw new AppError('PATH_INVALID', 'the path has a #, which is written %23')
  const [fixed = ''] = (request.routeOptions.url ?? '').split(/[:*]/, 1)
  if (!path.startsWith(fixed)) {
    throw new AppError('PATH_INVALID', `the path is not written ${fixed}`, {
      hint: 'write it without percent-encoding',
    })
  }
}
