import type { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { parseCid } from './cid.ts'
import type { ContentPath } from './target.ts'

export interface PathOptions {
  readonly pathSegmentsMax: number
}

export interface ParsedPath {
  readonly path: ContentPath
  /** The text ended in `/`: the client means a directory. */
  readonly trailingSlash: boolean
}

/**
 * Reads what stands after `/ipfs/` in a URL, without the query and not yet decoded: a CID and names. Each name is
 * percent-decoded exactly once. Dot segments, empty segments (`//`), an encoded slash and NUL are refused, not resolved:
 * one content has one path.
 * @throws AppError CID_INVALID | PATH_INVALID
 */
export function parseContentPath(text: string, options: PathOptions): ParsedPath {
  const trailingSlash = text.endsWith('/')
  const [root = '', ...segments] = (trailingSlash ? text.slice(0, -1) : text).split('/', options.pathSegmentsMax + 2)
  return { path: contentPath(parseCid(decodeSegment(root)), segments.map(decodeSegment), options), trailingSlash }
}

/** The path of names that are already apart and decoded. @throws AppError PATH_INVALID */
export function contentPath(root: CID, segments: readonly string[], options: PathOptions): ContentPath {
  if (segments.length > options.pathSegmentsMax) {
    throw new AppError('PATH_INVALID', `the path has more than ${options.pathSegmentsMax} segments`, {
      limit: 'path_segments',
    })
  }
  for (const segment of segments) checkSegment(segment)
  return { root, segments }
}

function checkSegment(segment: string): void {
  if (segment === '') throw new AppError('PATH_INVALID', 'the path has an empty segment (//)')
  if (segment === '.' || segment === '..') throw new AppError('PATH_INVALID', 'the path has a dot segment')
  if (segment.includes('/')) throw new AppError('PATH_INVALID', 'a path segment contains an encoded slash')
  if (segment.includes('\0')) throw new AppError('PATH_INVALID', 'the path contains NUL')
  if (!segment.isWellFormed()) throw new AppError('PATH_INVALID', 'the path is not valid Unicode')
}

/** `decodeURIComponent` is strict: bad `%xx`, overlong forms and encoded surrogates are errors. */
function decodeSegment(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path has a percent-encoding that is not UTF-8', { cause })
  }
}
