import { parseContentPath } from '../content/get.ts'
import type { IpnsName, IpnsResolver } from '../content/resolve-ipns.ts'
import { asUtf8, type ContentRequest, contentRequest, type Place } from './request.ts'

export type IpnsLookup = IpnsResolver

export interface IpnsContentQuestion {
  readonly name: IpnsName
  /** `/` and what was asked for below the name, as sent, like `search`. */
  readonly below: string
  readonly search: string
  readonly place: Place
}

/** What a URL of an IPNS name leads to now. @throws AppError PATH_INVALID | IPNS_UNRESOLVED */
export async function resolveIpnsContent(
  { name, below, search, place }: IpnsContentQuestion,
  ipns: Pick<IpnsLookup, 'resolve'>,
  { pathSegmentsMax, signal }: { readonly pathSegmentsMax: number; readonly signal: AbortSignal },
): Promise<ContentRequest> {
  const resolved = await ipns.resolve(name, { signal })
  const { root, segments } = resolved.path
  const { path, trailingSlash } = parseContentPath(`${root}${asUtf8(below)}`, { pathSegmentsMax })
  return contentRequest(
    { root, segments: [...segments, ...path.segments] },
    {
      place,
      tail: path.segments,
      trailingSlash,
      search,
      ipns: { name: name.name, maxAgeSeconds: resolved.maxAgeSeconds },
    },
  )
}
