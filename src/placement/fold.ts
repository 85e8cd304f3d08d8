import type { CID } from 'multiformats/cid'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { type CloudEvent, decodeEvent } from '../events/envelope.ts'
import { isWithoutRoots, type LogMessage, linked, rootKey } from '../names/name-fold.ts'
import { isDeletedBy, saidAtMs, withWord } from '../names/object-life.ts'
import type { Copy, RootFacts } from './model.ts'
import { partOf, settled, withMissing } from './partial.ts'

/** One thing that an event says of one root. */
export interface RootEffect {
  /** See `rootKey`: the content, whatever its CID's version and codec say. */
  readonly key: string
  readonly sequence: number
  /** What the facts are afterwards; undefined = this event says nothing without those before it. */
  apply(facts: RootFacts | undefined): RootFacts | undefined
}

/**
 * What one event of the log means for roots: a pure step, of facts and event alone, so that the same log gives the same
 * facts everywhere. An event that is older than the facts changes nothing.
 */
export function rootEffects(message: LogMessage): readonly RootEffect[] {
  const [, kind, site = '', , entity, verb = ''] = message.subject.split('.')
  if (kind !== 'evt') return []
  const event = decodeEvent(message.payload)
  if (event === undefined) return []
  try {
    if (entity === 'object') return objectEffects(event, site, verb, message.sequence)
    if (entity === 'copy') return copyEffects(event, verb, message.sequence)
  } catch {
    // A CID that is none: not an event that we made.
  }
  return []
}

function objectEffects(event: CloudEvent, site: string, verb: string, sequence: number): readonly RootEffect[] {
  const { cid, roots } = event.data
  if (isWithoutRoots(event.data)) return []
  const all = Array.isArray(roots) && roots.length > 0 ? roots.map(linked) : [linked(cid)]
  switch (verb) {
    case 'added':
    case 'imported':
      return all.map((root) =>
        newer(root, event, sequence, (facts) => added(facts, root, event, site, all.length === 1)),
      )
    case 'deleted':
      // Kept also of what was never put here: that is perhaps still on its way from another site.
      return all.map((root) =>
        newer(root, event, sequence, (facts) => withPutOrDeletion(facts ?? foretold(root, event), event, site, true)),
      )
    case 'lost':
      return all.map((root) => newer(root, event, sequence, (facts) => facts && { ...facts, lost: true }))
    case 'restored':
      return all.map((root) => newer(root, event, sequence, (facts) => facts && { ...facts, lost: false }))
    default:
      return []
  }
}

function newer(
  root: CID,
  { id }: CloudEvent,
  sequence: number,
  change: (facts: RootFacts | undefined) => RootFacts | undefined,
): RootEffect {
  const apply = (facts: RootFacts | undefined) => {
    if (facts !== undefined && facts.revision >= sequence) return facts
    const changed = change(facts)
    return changed === undefined ? undefined : { ...settled(changed), revision: sequence, lastEventId: id }
  }
  return { key: rootKey(root), sequence, apply }
}

/**
 * A put has had every block of it acknowledged by the store: a verified copy there, or one of the part that was put. Where the same content was put at two
 * sites, each log may have them in another order: the earlier by its time is the origin, at every site.
 */
function added(
  facts: RootFacts | undefined,
  root: CID,
  event: CloudEvent,
  site: string,
  alone: boolean,
): RootFacts | undefined {
  const { size, blocks, mediaType, store, partial } = event.data
  const isPart = partial === true
  const known = (value: unknown) => (alone && typeof value === 'number' ? value : undefined)
  const origin = { originSite: site, owner: event.owner, addedAt: event.time, correlation: event.correlationid }
  const isEarlier =
    facts !== undefined && `${event.time} ${site}` < `${facts.addedAt} ${facts.originSite}` && facts.originSite !== site
  const base: RootFacts = facts ?? { ...nothingKnown, ...origin, root: root.toV1().toString(), lastEventId: event.id }
  // What was counted of a part is too little for the whole.
  const counted = !isPart && partOf(base) !== undefined ? nothingKnown : base
  const put: RootFacts = {
    ...withPutOrDeletion(base, event, site, false),
    ...(isEarlier ? origin : {}),
    bytes: counted.bytes ?? known(size),
    blocks: counted.blocks ?? known(blocks),
    mediaType: typeof mediaType === 'string' ? mediaType : base.mediaType,
    lost: false,
    ...(isPart ? { missing: withMissing(base.missing, event.data) } : { whole: true as const }),
  }
  // Events of before there was placement do not say where.
  if (typeof store !== 'string') return put
  const copy: Copy = { site, store, state: 'verified', verifiedAt: event.time, eventId: event.id }
  if (!isPart) return withCopy(put, copy)
  const before = put.copies.find((one) => storeKey(one) === storeKey(copy))
  // All of it lies there, and a part of it was put once more.
  return before?.state === 'verified' && before.partial !== true ? put : withCopy(put, { ...copy, partial: true })
}

const nothingKnown = {
  ...{ bytes: undefined, blocks: undefined, mediaType: null, deleted: false, copies: [], told: undefined, lost: false },
  ...{ said: {}, revision: 0, copyRevision: 0 },
}

function withPutOrDeletion(facts: RootFacts, event: CloudEvent, site: string, deleted: boolean): RootFacts {
  const said = withWord(facts.said, site, { deleted, atMs: saidAtMs(event) })
  return { ...facts, said, deleted: isDeletedBy(said) }
}

function copyEffects(event: CloudEvent, verb: string, sequence: number): readonly RootEffect[] {
  const { cid, site, store, action, bytes, blocks, missing } = event.data
  const root = linked(cid)
  const change = (step: (facts: RootFacts) => RootFacts) => [
    newer(root, event, sequence, (facts) => ({ ...step(facts ?? foretold(root, event)), copyRevision: sequence })),
  ]
  if (verb === 'satisfied' || verb === 'degraded') return change((facts) => ({ ...facts, told: verb }))
  if (typeof site !== 'string' || typeof store !== 'string') return []
  const at = { site, store }
  const copyOf = (facts: RootFacts) => facts.copies.find((copy) => storeKey(copy) === storeKey(at))
  const put = (facts: RootFacts, state: Copy['state'], verifiedAt: string | undefined) =>
    withCopy(facts, { ...at, state, verifiedAt, eventId: event.id })
  switch (verb) {
    case 'requested':
      // A copy that is to go is there still, but nobody may count on it.
      // Of one that is not there the end has come in already: it is told by another site than the request.
      if (action === 'remove') {
        return change((facts) =>
          copyOf(facts) === undefined ? facts : put(facts, 'removing', copyOf(facts)?.verifiedAt),
        )
      }
      return change((facts) => (copyOf(facts)?.state === 'verified' ? facts : put(facts, 'requested', undefined)))
    case 'verified':
      return change((facts) => {
        const { bytes: knownBytes, blocks: knownBlocks } = facts
        const counted = {
          ...facts,
          bytes: typeof bytes === 'number' ? bytes : knownBytes,
          blocks: typeof blocks === 'number' ? blocks : knownBlocks,
        }
        const isPart = typeof missing === 'number' && missing > 0
        const copy: Copy = { ...at, state: 'verified', verifiedAt: event.time, eventId: event.id }
        return isPart ? withCopy(counted, { ...copy, partial: true }) : withCopy({ ...counted, whole: true }, copy)
      })
    case 'failed':
      return change((facts) => put(facts, 'failed', copyOf(facts)?.verifiedAt))
    case 'removed':
      return change((facts) => withoutCopy(facts, at))
    case 'made':
    case 'repaired':
      // Nothing new of what lies where, and still the last that was said: a compare-and-set goes by it. A repaired block may be
      // no root at all, so nothing is begun by it.
      return [newer(root, event, sequence, (facts) => facts && { ...facts, copyRevision: sequence })]
    default:
      return []
  }
}

/**
 * A root of which a copy or a deletion is told before its put: the two are events of two sites, and the log of a third one takes
 * them up in either order. Any put is earlier than this.
 */
function foretold(root: CID, { id, correlationid }: CloudEvent): RootFacts {
  const origin = { originSite: '', owner: '', addedAt: '~', correlation: correlationid ?? id }
  return { ...nothingKnown, ...origin, root: root.toV1().toString(), lastEventId: id }
}

/** Whether the put of a root is known, and with it who decides about its copies. */
export const isPut = ({ originSite }: RootFacts): boolean => originSite !== ''

/** The facts of what is an object as far as anyone knows: a deletion alone may be of any block. */
export const objectIn = (facts: RootFacts | undefined): RootFacts | undefined =>
  facts !== undefined && (isPut(facts) || facts.copies.length > 0) ? facts : undefined

/** A copy that was asked to go does not count again because somebody has looked at it: only its end changes that. */
function withCopy(facts: RootFacts, copy: Copy): RootFacts {
  const isGoing = facts.copies.some(({ state, ...at }) => state === 'removing' && storeKey(at) === storeKey(copy))
  const kept: Copy = isGoing && copy.state === 'verified' ? { ...copy, state: 'removing' } : copy
  const others = withoutCopy(facts, copy).copies
  return { ...facts, copies: [...others, kept].sort((a, b) => (storeKey(a) < storeKey(b) ? -1 : 1)) }
}

function withoutCopy(facts: RootFacts, at: StoreRef): RootFacts {
  return { ...facts, copies: facts.copies.filter((copy) => storeKey(copy) !== storeKey(at)) }
}
