import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.ts'
import { type HeaderOf, refuseOtherContent } from '../lib/content-headers.ts'

const bodiless: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

/**
 * What the head of a request says of its body, before anything of it is read: on every route that takes one.
 * @throws AppError REQUEST_INVALID | MEDIA_TYPE_UNSUPPORTED
 */
export function checkBodyHeaders(request: FastifyRequest): void {
  if (bodiless.includes(request.method)) return
  refuseOtherContent(headerOf(request))
  const types = request.raw.rawHeaders.filter((name, at) => at % 2 === 0 && /^content-type$/i.test(name))
  if (types.length > 1) throw new AppError('REQUEST_INVALID', 'the request has several Content-Type headers')
  const type = request.headers['content-type'] ?? ''
  // Its parameters are for whoever reads the body: some write the boundary of a multipart body in ways of their own.
  if (type === '' || /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+[ \t]*(;|$)/.test(type)) return
  throw new AppError('REQUEST_INVALID', 'the Content-Type is no media type', { hint: 'like text/plain; charset=utf-8' })
}

export const headerOf =
  ({ headers }: Pick<FastifyRequest, 'headers'>): HeaderOf =>
  (name) => {
    const value = headers[name]
    return typeof value === 'string' ? value : value?.join(', ')
  }
