import type { CID } from 'multiformats/cid'
import type { NameEntry } from '../names/name-entry.ts'
import { isWithoutRoots, linked } from '../names/name-fold.ts'
import { idTaken } from './command-id.ts'
import type { Recorded } from './command-log.ts'
import type { DeleteOutcome, NameOutcome, PutOutcome } from './verbs.ts'

// What a command answers is read from its events, so that a repeat gets the very same answer from the log.

const count = (value: unknown): number => (typeof value === 'number' ? value : 0)

function entriesOf(events: readonly Recorded[]): { entry: NameEntry | null; name: string; sequence: number }[] {
  return events.flatMap(({ effects, sequence }) =>
    effects.flatMap((effect) => (effect.kind === 'name' ? [{ entry: effect.entry, name: effect.name, sequence }] : [])),
  )
}

/** @throws AppError COMMAND_ID_TAKEN when the events are of another kind of command; so all of these */
export function putOutcome(events: readonly Recorded[], repeated: boolean): PutOutcome<CID | undefined> {
  const [first] = events
  const [effect] = first?.effects ?? []
  const isRootless = first !== undefined && isWithoutRoots(first.event.data)
  if (first === undefined || (!isRootless && (effect?.kind !== 'object' || effect.deleted))) throw idTaken()
  const { cid, size, blocks, newBlocks, roots, partial, missing } = first.event.data
  const root = isRootless ? undefined : linked(cid)
  const [named] = entriesOf(events)
  return {
    cid: root,
    size: BigInt(count(size)),
    blocks: count(blocks),
    newBlocks: count(newBlocks),
    roots: Array.isArray(roots) ? roots.map(linked) : root === undefined ? [] : [root],
    ...(partial === true ? { partial: { missing: Array.isArray(missing) ? missing.map(linked) : undefined } } : {}),
    eventId: first.event.id,
    sequence: first.sequence,
    ...(named?.entry === undefined || named.entry === null ? {} : { name: named.entry }),
    repeated,
  }
}

export function nameOutcome(events: readonly Recorded[], repeated: boolean): NameOutcome {
  const changes = entriesOf(events)
  if (changes.length === 0 || changes.length < events.length) throw idTaken()
  return {
    entries: changes.map(({ entry }) => entry),
    sequences: changes.map(({ sequence }) => sequence),
    repeated,
  }
}

export function deleteOutcome(events: readonly Recorded[], repeated: boolean): DeleteOutcome {
  const [first] = events
  const [effect] = first?.effects ?? []
  if (first === undefined || effect?.kind !== 'object' || !effect.deleted) throw idTaken()
  return {
    cid: effect.cid,
    namesRemoved: entriesOf(events).map(({ name }) => name),
    sequence: first.sequence,
    repeated,
  }
}
