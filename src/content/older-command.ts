import type { Json } from '../events/canonical.ts'
import type { CloudEvent, Context } from '../events/envelope.ts'
import type { NameEffect } from '../names/name-fold.ts'
import { isWithoutRoots, linked } from '../names/name-fold.ts'
import type { Recorded } from './command-log.ts'

/** What a command asks, as its digest is made of it. */
type Asked = { readonly [field: string]: Json | undefined }

/**
 * Whether events that do not say what was asked, of before there was a digest of it, may be those of this command: of all that can be
 * seen in them (kind, roots, names, media types, revisions, owner) nothing differs.
 */
export function fitsOlder(events: readonly Recorded[], { owner }: Pick<Context, 'owner'>, asked: Json): boolean {
  const [first] = events
  if (first === undefined || first.event.owner !== owner) return false
  const wanted = asked as Asked
  switch (wanted.verb) {
    case 'put':
      return fitsPut(events, first, wanted)
    case 'change':
      return fitsChanges(events, wanted.changes as unknown as readonly Asked[])
    case 'rename':
      return fitsRename(events, wanted)
    case 'undo':
      return fitsUndo(events, wanted)
    case 'delete':
      return fitsDelete(events, first, wanted)
    default:
      return fitsIpns(events, first, wanted)
  }
}

function fitsPut(events: readonly Recorded[], { event }: Recorded, wanted: Asked): boolean {
  const { data } = event
  const isRootless = isWithoutRoots(data)
  if (!isRootless && !isOf(event, 'object.added') && !isOf(event, 'object.imported')) return false
  const isCar = isRootless || isOf(event, 'object.imported')
  if (isCar !== (wanted.kind === 'car')) return false
  const roots = isRootless ? [] : (Array.isArray(data.roots) ? data.roots : [data.cid]).map(textOf)
  const asked = wanted.roots as readonly string[]
  const count = typeof data.rootCount === 'number' ? data.rootCount : roots.length
  if (asked.length !== count || roots.some((root, at) => root !== asked[at])) return false
  if ((data.mediaType ?? null) !== wanted.mediaType) return false
  const names = namesOf(events)
  if (wanted.name === undefined) return names.length === 0
  const [named] = names
  return (
    names.length === 1 && named !== undefined && named.effect.name === wanted.name && fitsExpect(named, wanted.expect)
  )
}

function fitsChanges(events: readonly Recorded[], changes: readonly Asked[]): boolean {
  const names = namesOf(events)
  if (names.length !== changes.length || names.length !== effectsIn(events)) return false
  return changes.every((change, at) => {
    const named = names[at]
    if (named === undefined || named.effect.name !== change.name || isMore(named.event)) return false
    const { entry } = named.effect
    if ((entry !== null) !== (change.kind === 'set') || !fitsExpect(named, change.expect)) return false
    return entry === null || (entry.cid === change.cid && entry.mediaType === change.mediaType)
  })
}

function fitsRename(events: readonly Recorded[], { from, to, expect }: Asked): boolean {
  const [target, source] = namesOf(events)
  if (target === undefined || source === undefined) return false
  const isTarget = target.effect.name === to && target.event.data.renamedFrom === from
  return isTarget && source.effect.name === from && source.event.data.renamedTo === to && fitsExpect(source, expect)
}

function fitsUndo(events: readonly Recorded[], { name, revision }: Asked): boolean {
  const [undone] = namesOf(events)
  if (undone === undefined || undone.effect.name !== name) return false
  const { undoes } = undone.event.data
  return typeof undoes === 'number' && (revision === null || undoes === revision)
}

function fitsDelete(events: readonly Recorded[], { effects: [effect] }: Recorded, { root, force }: Asked): boolean {
  if (effect?.kind !== 'object' || !effect.deleted || effect.root !== root) return false
  return force === true || namesOf(events).length === 0
}

function fitsIpns(events: readonly Recorded[], { effects: [effect] }: Recorded, wanted: Asked): boolean {
  if (events.length !== 1 || effect?.kind !== 'ipns' || effect.name !== wanted.name) return false
  const { entry } = effect
  if (entry === null) return wanted.verb === 'ipns remove'
  if (wanted.verb !== 'ipns publish') return false
  if (wanted.record !== undefined) return entry.record === wanted.record && entry.binding === null
  if (wanted.value !== undefined)
    return entry.value === wanted.value && entry.ttlSeconds === (wanted.ttlSeconds ?? null)
  const { binding } = entry
  if (binding === null) return false
  // Of a renewal: what it was signed for.
  if (wanted.renewal !== undefined) return binding.revision === wanted.renewal
  return (
    binding.name === wanted.binding &&
    binding.lifetimeSeconds === wanted.lifetimeSeconds &&
    binding.ttlSeconds === wanted.ttlSeconds
  )
}

interface Named {
  readonly event: CloudEvent
  readonly effect: NameEffect
}

function namesOf(events: readonly Recorded[]): Named[] {
  return events.flatMap(({ event, effects }) =>
    effects.flatMap((effect) => (effect.kind === 'name' ? [{ event, effect }] : [])),
  )
}

const effectsIn = (events: readonly Recorded[]): number => events.reduce((sum, { effects }) => sum + effects.length, 0)

/** Left by a command that is no plain change. */
const isMore = ({ data }: CloudEvent): boolean =>
  data.renamedFrom !== undefined || data.renamedTo !== undefined || data.undoes !== undefined

/** Whether the event replaced what was expected: that a name was absent cannot be told from one that was removed. */
function fitsExpect({ event }: Named, expect: Json | undefined): boolean {
  const { previous } = event.data
  if (typeof expect === 'number') return previous === expect
  return expect !== '*' || (typeof previous === 'number' && previous > 0)
}

const isOf = ({ type }: CloudEvent, kind: string): boolean => type.endsWith(`.${kind}.v1`)

const textOf = (cid: Json | undefined): string => linked(cid).toV1().toString()
