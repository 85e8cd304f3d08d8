import { AppError } from '../errors.ts'

declare const made: unique symbol

/** A URL of a node. Requests take no other, and only this file makes them. */
export type NodeUrl = string & { readonly [made]: true }

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/**
 * The one place where a user's text gets into the path of a URL: segment by segment, so that a `/`, `?` or `%` in one stays
 * in it. What a URL parser, a proxy or a router would fold into another path (`.`, `..`, an empty segment) is refused:
 * `names/a/x/../keep` would act on another name, `names/../objects/<cid>` on content.
 * @param base without a slash at the end; from the settings
 * @param query without what is undefined
 * @throws AppError PATH_INVALID
 */
export function nodeUrl(base: string, path: readonly string[], query: Query = {}): NodeUrl {
  const fields = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) fields.set(name, String(value))
  // Behind `api/v1/<resource>` comes what somebody wrote, and that alone is shown.
  const written = path[0] === 'api' ? path.slice(3) : path
  for (const segment of path) checkSegment(segment, written)
  const search = fields.size === 0 ? '' : `?${fields}`
  return `${base}/${path.map(encodeURIComponent).join('/')}${search}` as NodeUrl
}

/** The segments of a name, or of another text with slashes. */
export const segmentsOf = (text: string): readonly string[] => text.split('/')

/** @throws AppError PATH_INVALID for what stands for another place in a path, or for nothing */
export function checkSegment(segment: string, path: readonly string[]): void {
  const problem = problemOf(segment)
  if (problem === undefined) return
  const text = path.join('/')
  const shown = JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text)
  throw new AppError('PATH_INVALID', `${shown} ${problem}`, { hint: 'write the name or path itself' })
}

function problemOf(segment: string): string | undefined {
  if (segment === '') return 'has an empty segment (a "/" too many, or no name at all)'
  if (segment === '.' || segment === '..') return `has the segment ${JSON.stringify(segment)}, which is not followed`
  if (segment.includes('\0')) return 'has a NUL'
  return /\p{Surrogate}/u.test(segment) ? 'is not valid UTF-8' : undefined
}

/** Where a request goes on, and the `Host` that it is to name where that is another than the URL's. */
export interface Onward {
  readonly url: NodeUrl
  readonly host?: string
}

/** A gateway may serve each content at a host of its own below its own: there it may send us, and nowhere else. */
export function originUrl(from: NodeUrl, location: string): Onward | undefined {
  if (!URL.canParse(location)) return undefined
  const gateway = new URL(from)
  const origin = new URL(location)
  if (!origin.host.endsWith(`.ipfs.${gateway.host}`)) return undefined
  // Few systems look up names below localhost.
  if (gateway.hostname !== 'localhost') return { url: origin.href as NodeUrl }
  return { url: `${gateway.origin}${origin.pathname}${origin.search}` as NodeUrl, host: origin.host }
}
