import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { link } from '../events/canonical.ts'
import { nameKey } from '../names/name.ts'
import type { NameExpectation, NameVersion } from '../names/name-entry.ts'
import { effectOfVersion } from '../names/name-heads.ts'
import type { Head } from '../names/name-log.ts'
import type { Names } from '../names/names.ts'
import type { Step } from './command-log.ts'

/** The last version where the name exists now. */
export function presentOf({ version }: Head): NameVersion | undefined {
  return version?.verb === 'set' ? version : undefined
}

/** @throws AppError REVISION_CONFLICT */
export function checkExpectation(head: Head, expect: NameExpectation): void {
  if (expect === 'any') return
  const present = presentOf(head)
  const wanted = expect === 'absent' ? undefined : expect.revision
  if (present?.revision === wanted) return
  const state = present === undefined ? 'does not exist' : `is at revision ${present.revision}`
  const asked = wanted === undefined ? 'no such name' : `revision ${wanted}`
  throw new AppError('REVISION_CONFLICT', `${head.name} ${state}; ${asked} was expected`, {
    hint: 'read it again and decide anew',
  })
}

export interface NamedContent {
  readonly cid: CID
  readonly size: number | null
  readonly mediaType: string | null
}

const previousOf = ({ version }: Head) => ({
  previous: version?.revision ?? 0,
  // Ids, not sequences: they mean the same at every site. Of all heads: so several become one.
  parents: version === undefined ? [] : (version.heads ?? [version]).map(({ eventId }) => eventId),
})

type More = { readonly [key: string]: string | number }

export function setStep(head: Head, { cid, size, mediaType }: NamedContent, more: More = {}): Step {
  const { name, expect } = head
  const data = { name, cid: link(cid.toV1()), size, mediaType, ...previousOf(head), ...more }
  const draft = { entity: 'name', verb: 'set', key: nameKey(name), subject: name, data } as const
  return { draft, expect, wasAbsent: expect.lastSequence === 0 }
}

/** @throws AppError NAME_NOT_FOUND */
export function removeStep(head: Head, more: More = {}): Step {
  const { name, expect } = head
  const present = presentOf(head)
  if (present?.cid === undefined || present.cid === null) throw nameNotFound(name)
  const data = { name, cid: link(CID.parse(present.cid)), ...previousOf(head), ...more }
  return { draft: { entity: 'name', verb: 'removed', key: nameKey(name), subject: name, data }, expect }
}

/** @throws AppError NAME_NOT_FOUND */
export function contentOf(head: Head): NamedContent {
  const present = presentOf(head)
  if (present?.cid === undefined || present.cid === null) throw nameNotFound(head.name)
  return { cid: CID.parse(present.cid), size: present.size, mediaType: present.mediaType }
}

export function nameNotFound(name: string): AppError {
  return new AppError('NAME_NOT_FOUND', `there is no name ${JSON.stringify(name)}`)
}

/**
 * Who hears that a name has changed must see the change when he looks: the index is brought to these heads first, for
 * whoever made the change may still be on the way to it, or have died. Best effort, the projector does the same.
 */
export async function showHeads(names: Names, heads: readonly Head[]): Promise<void> {
  const writes = heads.flatMap(({ name, version }) => {
    if (version === undefined) return []
    return [names.apply(effectOfVersion(name, version))]
  })
  await Promise.allSettled(writes)
}
