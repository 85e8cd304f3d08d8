import type { Denials } from './denylist.ts'
import type { ContentPath, Get, PathEnd } from './get.ts'

/**
 * Asks the denylists about a path before it is opened, and about each part of it once it is known what it leads over: a
 * rule for `/ipfs/<directory>/x` holds as well where the directory is met below another root.
 */
export function deniedGet(get: Get, denials: Pick<Denials, 'checkPath'>): Get {
  const checked = async <End extends PathEnd>(path: ContentPath, reach: () => Promise<End>): Promise<End> => {
    denials.checkPath(path.root, path.segments)
    const end = await reach()
    for (const [depth, cid] of end.roots.entries()) {
      if (depth > 0) denials.checkPath(cid, path.segments.slice(depth))
    }
    return end
  }
  return {
    ...get,
    open: (path, options) => checked(path, () => get.open(path, options)),
    follow: (path, options) => checked(path, () => get.follow(path, options)),
  }
}
