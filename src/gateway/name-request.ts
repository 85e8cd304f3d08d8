import { parseContentPath } from '../content/get.ts'
import type { NameEntry, Verbs } from '../content/verbs.ts'
import { AppError, isAppError } from '../errors.ts'
import { asUtf8, type ContentRequest, contentRequest, encodeSegment, onPathGateway } from './request.ts'

export type NameLookup = Pick<Verbs, 'resolveName'>

/** A name with more segments than this is not served by its name here; the API knows it. */
export const lookupsMax = 32

/** `/names/<name>[/path]` as it was asked for, each segment decoded once. */
interface Asked {
  readonly segments: readonly string[]
  readonly trailingSlash: boolean
  readonly search: string
}

/**
 * What a URL below `/names/` leads to now. The longest name wins: the whole path is looked up first, then its parents, and
 * what is left of the path goes on in the DAG. A name may carry its version: `docs/a.txt@7`.
 * @param pathname starts with `/names/`
 * @throws AppError NAME_INVALID | NAME_NOT_FOUND | PATH_INVALID
 */
export async function resolveNameRequest(
  pathname: string,
  search: string,
  names: NameLookup,
  { pathSegmentsMax, signal }: { readonly pathSegmentsMax: number; readonly signal: AbortSignal },
): Promise<ContentRequest> {
  const asked = parse(pathname, search, pathSegmentsMax)
  const { segments } = asked
  let failure: unknown
  for (let length = Math.min(segments.length, lookupsMax); length > 0; length--) {
    try {
      const entry = await names.resolveName(segments.slice(0, length).join('/'), { signal })
      return requestOf(entry, asked, length, pathSegmentsMax)
    } catch (error) {
      if (!isAppError(error, 'NAME_NOT_FOUND') && !isAppError(error, 'NAME_INVALID')) throw error
      // Of the shortest: a path may be longer than a name can be.
      failure = error
    }
  }
  throw isAppError(failure, 'NAME_INVALID') ? failure : nothingNamed(failure)
}

function parse(pathname: string, search: string, pathSegmentsMax: number): Asked {
  const text = asUtf8(pathname).slice('/names/'.length)
  const trailingSlash = text.endsWith('/')
  const segments = (trailingSlash ? text.slice(0, -1) : text).split('/', pathSegmentsMax + 1).map(decodeSegment)
  if (segments.length > pathSegmentsMax) {
    throw new AppError('PATH_INVALID', `the path has more than ${pathSegmentsMax} segments`)
  }
  // Neither a name nor a path in a DAG has one.
  if (segments.length > 1 && segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw new AppError('PATH_INVALID', 'the path has an empty or a dot segment')
  }
  return { segments, trailingSlash, search }
}

function decodeSegment(text: string): string {
  try {
    const segment = decodeURIComponent(text)
    if (!segment.includes('/')) return segment
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path has a percent-encoding that is not UTF-8', { cause })
  }
  throw new AppError('PATH_INVALID', 'a path segment contains an encoded slash')
}

function requestOf(entry: NameEntry, asked: Asked, length: number, pathSegmentsMax: number): ContentRequest {
  const { segments, trailingSlash, search } = asked
  const below = segments.slice(length)
  const { path } = parseContentPath([entry.cid, ...below.map(encodeURIComponent)].join('/'), { pathSegmentsMax })
  const { name, revision, mediaType, heads } = entry
  return contentRequest(path, {
    place: onPathGateway(`/names/${segments.slice(0, length).map(encodeSegment).join('/')}`),
    tail: below,
    trailingSlash,
    search,
    name: { name, revision, mediaType, heads: heads?.length ?? 1 },
  })
}

function nothingNamed(cause: unknown): AppError {
  return new AppError('NAME_NOT_FOUND', 'there is no such name', { cause, hint: 'check the address, letter by letter' })
}
