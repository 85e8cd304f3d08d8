import type { Denials } from './denylist.ts'
import type { Get } from './get.ts'

/**
 * Asks the denylists about a path before it is opened, and about each part of it once it is known what it leads over: a
 * rule for `/ipfs/<directory>/x` holds as well where the directory is met below another root.
 */
export function deniedGet(get: Get, denials: Pick<Denials, 'checkPath'>): Get {
  return {
    ...get,
    open: async (path, options) => {
      denials.checkPath(path.root, path.segments)
      const target = await get.open(path, options)
      for (const [depth, cid] of target.roots.entries()) {
        if (depth > 0) denials.checkPath(cid, path.segments.slice(depth))
      }
      return target
    },
  }
}
