import { multihashKey } from '../blocks/block.ts'
import type { Follow, Step } from './walk.ts'

/** Links of all nodes that are remembered: some 30 MB. */
const linksMax = 65_536

/**
 * `follow`, which remembers what it gave for the nodes met last. A walk with repeats comes through the same nodes again and
 * again; decoding one of 8,000 links each time makes more garbage than is collected in time (8 levels of them: 200 MiB).
 * @param different what else than the block the links depend on
 */
export function rememberedLinks<S extends Step>(
  follow: Follow<S>,
  different: (step: S | undefined) => string = () => '',
): Follow<S> {
  const known = new Map<string, readonly S[]>()
  let count = 0
  return (block, step) => {
    const key = `${block.cid.code} ${different(step)} ${multihashKey(block.cid)}`
    const links = known.get(key) ?? follow(block, step)
    // Last used comes last.
    if (!known.delete(key)) count += links.length
    known.set(key, links)
    for (const [oldest, { length }] of known) {
      if (count <= linksMax || oldest === key) break
      known.delete(oldest)
      count -= length
    }
    return links
  }
}
