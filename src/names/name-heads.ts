import { nameKey } from './name.ts'
import type { NameEntry, NameHead, NameVersion } from './name-entry.ts'
import type { NameEffect } from './name-fold.ts'

/**
 * A name over sites is a register of several values: an event of a name says which ones it replaces (`parents`, by id), and
 * what no other event replaces is a head. Sites that do not hear each other make several heads; all are kept until an event
 * replaces them all. Nothing here goes by the order of a log, which each site has its own of.
 */

/**
 * The heads, the one that the name stands for first.
 * @param versions all of the name up to some point, in the order of a log
 */
export function headsOf(versions: readonly NameVersion[]): NameVersion[] {
  const replaced = new Set(versions.flatMap(({ parents }) => parents ?? []))
  // An event that does not say what it replaces is none that we made: it replaces what was there.
  const from = versions.findLastIndex(({ parents }) => parents === null)
  const heads = new Map<string, NameVersion>()
  for (const version of versions.slice(Math.max(0, from))) {
    if (replaced.has(version.eventId)) continue
    const same = heads.get(version.eventId)
    // One command that was carried out at two sites is one head.
    if (same === undefined || byPrecedence(version, same) < 0) heads.set(version.eventId, version)
  }
  const found = [...heads.values()].sort(byPrecedence)
  const last = versions.at(-1)
  // Events that replace each other in a circle: none that we made.
  return found.length === 0 && last !== undefined ? [last] : found
}

/**
 * The same at every site: what was set comes before what was removed (nothing that one side wrote is lost from sight), then
 * the latest event, then the greater id.
 */
function byPrecedence(a: NameVersion, b: NameVersion): number {
  if (a.verb !== b.verb) return a.verb === 'set' ? -1 : 1
  const [aMs, bMs] = [Date.parse(a.time) || 0, Date.parse(b.time) || 0]
  if (aMs !== bMs) return bMs - aMs
  if (a.eventId !== b.eventId) return a.eventId < b.eventId ? 1 : -1
  return a.site < b.site ? 1 : -1
}

/**
 * How the name stands after these events: its first head, with the revision of the last event, whichever head that made:
 * a revision is a point in the log, and a compare-and-set with an older one must fail.
 */
export function standingOf(versions: readonly NameVersion[]): NameVersion | undefined {
  const last = versions.at(-1)
  const [first, ...more] = headsOf(versions)
  if (last === undefined || first === undefined) return undefined
  const standing = { ...first, revision: last.revision }
  return more.length === 0 ? standing : { ...standing, heads: [first, ...more].map(headOf) }
}

/** What happened until `time` by the clocks of those who did it, and what that replaced. */
export function versionsUntil(versions: readonly NameVersion[], time: Date): readonly NameVersion[] {
  const isUntil = (version: NameVersion) => Date.parse(version.time) <= time.getTime()
  const sites = new Set(versions.map(({ site }) => site))
  // One site's events follow each other, whatever its clock says.
  if (sites.size <= 1) return versions.slice(0, versions.findLastIndex(isUntil) + 1)
  const byId = new Map(versions.map((version) => [version.eventId, version]))
  const wanted = new Set<string>()
  const open = versions.filter(isUntil)
  for (let version = open.pop(); version !== undefined; version = open.pop()) {
    if (wanted.has(version.eventId)) continue
    wanted.add(version.eventId)
    for (const id of version.parents ?? []) {
      const parent = byId.get(id)
      if (parent !== undefined) open.push(parent)
    }
  }
  return versions.filter(({ eventId }) => wanted.has(eventId))
}

/**
 * Whether these events, of which the first was the only head when it came, tell by themselves what the heads are: each
 * descends from the first. One that does not may have been replaced by what came before the first.
 */
export function areRooted(versions: readonly NameVersion[]): boolean {
  const ids = new Set(versions.map(({ eventId }) => eventId))
  return versions
    .slice(1)
    .every(({ parents }) => parents !== null && parents.length > 0 && parents.every((id) => ids.has(id)))
}

const headOf = ({ eventId, site, verb, cid, owner, time }: NameVersion): NameHead => ({
  eventId,
  site,
  cid: verb === 'set' ? cid : null,
  owner,
  time,
})

/** As the index would have it; undefined for a removed one. */
export function entryOfVersion(name: string, version: NameVersion | undefined): NameEntry | undefined {
  if (version?.verb !== 'set' || version.cid === null) return undefined
  const { cid, revision, size, mediaType, owner, time, heads } = version
  return { name, cid, revision, size, mediaType, owner, time, ...(heads === undefined ? {} : { heads }) }
}

/** What the indexes are to hold when the name stands so. */
export function effectOfVersion(name: string, version: NameVersion): NameEffect {
  const { revision, eventId, site, parents } = version
  const entry = entryOfVersion(name, version) ?? null
  return { kind: 'name', name, key: nameKey(name), revision, entry, eventId, site, parents }
}
