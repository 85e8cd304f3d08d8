import { CID } from 'multiformats/cid'
import { canonicalJson, type Json } from '../events/canonical.ts'
import { type CloudEvent, decodeEvent } from '../events/envelope.ts'
import { type IpnsEffect, ipnsBytes, readIpns } from './ipns-entry.ts'
import { isName, nameKey } from './name.ts'
import type { NameEntry } from './name-entry.ts'
import { type ObjectEffect, type ObjectLife, saidAtMs, standingOfObject, withEffect } from './object-life.ts'

/** A message of the event log, however it was read. */
export interface LogMessage {
  readonly subject: string
  readonly sequence: number
  readonly payload: Uint8Array
}

export interface NameEffect {
  readonly kind: 'name'
  readonly name: string
  readonly key: string
  readonly revision: number
  /** Null = there is no such name any more. */
  readonly entry: NameEntry | null
  /** Of the event, as are the next two. */
  readonly eventId: string
  readonly site: string
  /** Null = it does not say. */
  readonly parents: readonly string[] | null
}

/** What carried out a command: the event that bears its id, and those that went with it in the same commit. */
export interface CommandTrace {
  readonly id: string
  readonly sequence: number
  readonly events: number
}

/** What an event changes in an index. */
export type Effect = NameEffect | ObjectEffect | IpnsEffect

export interface Reading {
  readonly event: CloudEvent
  readonly effects: readonly Effect[]
  /** Of a command's first event. */
  readonly command: CommandTrace | undefined
}

/** The content behind a CID, whatever its version, base and codec say: CIDv1, raw, base32 of its multihash. */
export function rootKey(cid: CID): string {
  return CID.createV1(0x55, cid.multihash).toString()
}

/** The events that say something to the indexes. */
export const indexedVerbs = new Set([
  'name.set',
  'name.removed',
  'object.added',
  'object.imported',
  'object.deleted',
  'ipns.published',
  'ipns.removed',
  // Nothing to the indexes of names, but they are commands, whose outcomes are known by their ids.
  'policy.set',
  'site.set',
  'store.set',
  'projection.set',
  'projection.removed',
])

const placeEntities = new Set(['policy', 'site', 'store', 'projection'])

/** What one event means for the indexes; undefined for a message that is no event of ours, or lies about its subject. */
export function readMessage({ subject, sequence, payload }: LogMessage): Reading | undefined {
  const [, kind, site = '', , entity, verb, ...rest] = subject.split('.')
  if (kind !== 'evt' || sequence < 1) return undefined
  const event = decodeEvent(payload)
  if (event?.data === undefined || event.data === null) return undefined
  if (typeof event.time !== 'string' || typeof event.owner !== 'string') return undefined
  const key = rest.join('.')
  try {
    if (entity === 'name') return readName(event, { site, verb, key, sequence })
    if (entity === 'object') return readObject(event, { site, verb, key, sequence })
    if (placeEntities.has(entity ?? '')) return { event, command: commandOf(event, sequence), effects: [] }
    if (entity === 'ipns') {
      const effect = readIpns(event, verb, key, sequence)
      return effect && { event, command: commandOf(event, sequence), effects: [effect] }
    }
  } catch {
    // A CID that is none: not an event that we made.
  }
  return undefined
}

interface Place {
  readonly site: string
  readonly verb: string | undefined
  readonly key: string
  readonly sequence: number
}

function readName(event: CloudEvent, { site, verb, key, sequence }: Place): Reading | undefined {
  const { name, cid, size, mediaType, parents } = event.data
  if (typeof name !== 'string' || !isName(name) || nameKey(name) !== key) return undefined
  const base = {
    kind: 'name',
    ...{ name, key, revision: sequence, eventId: event.id, site },
    parents: Array.isArray(parents) ? parents.map(String) : null,
  } as const
  const command = commandOf(event, sequence)
  if (verb === 'removed') return { event, command, effects: [{ ...base, entry: null }] }
  if (verb !== 'set') return undefined
  const entry: NameEntry = {
    name,
    cid: linked(cid).toV1().toString(),
    revision: sequence,
    size: typeof size === 'number' ? size : null,
    mediaType: typeof mediaType === 'string' ? mediaType : null,
    owner: event.owner,
    time: event.time,
  }
  return { event, command, effects: [{ ...base, entry }] }
}

/** Of a CAR that was taken in as a bag of blocks: it says what came, and nothing of any root. */
export function isWithoutRoots({ cid, roots }: CloudEvent['data']): boolean {
  return cid === null && Array.isArray(roots) && roots.length === 0
}

function readObject(event: CloudEvent, { site, verb, sequence }: Place): Reading | undefined {
  if (verb !== 'added' && verb !== 'imported' && verb !== 'deleted') return undefined
  const { cid, roots } = event.data
  const all = isWithoutRoots(event.data)
    ? []
    : Array.isArray(roots) && roots.length > 0
      ? roots.map(linked)
      : [linked(cid)]
  const effects = all.map((root) => ({
    kind: 'object' as const,
    root: rootKey(root),
    cid: root.toString(),
    site,
    revision: sequence,
    deleted: verb === 'deleted',
    time: event.time,
    atMs: saidAtMs(event),
  }))
  return { event, effects, command: commandOf(event, sequence) }
}

function commandOf({ id, data }: CloudEvent, sequence: number): CommandTrace | undefined {
  const events = data.commit
  return typeof events === 'number' ? { id, sequence, events } : undefined
}

/** @throws Error when it is no link */
export function linked(value: Json | undefined): CID {
  if (typeof value !== 'object' || value === null || !('/' in value)) throw new TypeError('not a link')
  return CID.parse(String(value['/']))
}

/** What the indexes have to hold. */
export interface IndexState {
  readonly names: Map<string, NameEffect>
  readonly objects: Map<string, ObjectLife>
  readonly ipns: Map<string, IpnsEffect>
  /**
   * Names with an event that does not replace just the one before it: what they stand for is not told by their last event
   * alone (`standingOf`). Of a log that was folded from its beginning, in its order.
   */
  readonly tangled: Set<string>
  /** Messages that were no events of ours. */
  skipped: number
}

export const emptyState = (): IndexState => ({
  names: new Map(),
  objects: new Map(),
  ipns: new Map(),
  tangled: new Set(),
  skipped: 0,
})

/**
 * The reducer. Order and repetition do not matter: a newer revision wins, and of a root the last word of each site is kept.
 * @returns `state`, which it changes: one of a million names is not copied for every event
 */
export const foldMessage = (state: IndexState, message: LogMessage): IndexState => foldSome(state, message, () => true)

/** As `foldMessage`, of some of what an event changes. */
export function foldSome(state: IndexState, message: LogMessage, isWanted: (effect: Effect) => boolean): IndexState {
  const reading = readMessage(message)
  if (reading === undefined) state.skipped++
  for (const effect of reading?.effects ?? []) {
    if (!isWanted(effect)) continue
    if (effect.kind === 'name') {
      if (!follows(effect, state.names.get(effect.key))) state.tangled.add(effect.name)
      keepNewer(state.names, effect.key, effect)
    }
    if (effect.kind === 'ipns') keepNewer(state.ipns, effect.key, effect)
    if (effect.kind === 'object') {
      state.objects.set(effect.root, withEffect(state.objects.get(effect.root) ?? [], effect))
    }
  }
  return state
}

function follows({ parents }: NameEffect, before: NameEffect | undefined): boolean {
  if (parents === null) return true
  return before === undefined ? parents.length === 0 : parents.length === 1 && parents[0] === before.eventId
}

function keepNewer<T extends { readonly revision: number }>(map: Map<string, T>, key: string, effect: T): void {
  if ((map.get(key)?.revision ?? 0) < effect.revision) map.set(key, effect)
}

/** Values of the indexes, byte for byte. */
export const entryBytes = (entry: NameEntry): Buffer => Buffer.from(canonicalJson(entry as unknown as Json))
export const refBytes = (name: string, revision: number): Buffer => Buffer.from(canonicalJson({ name, revision }))
export const deletedBytes = ({ cid, revision, time }: ObjectEffect): Buffer =>
  Buffer.from(canonicalJson({ cid, revision, time }))

/** Keys without the space that they begin with. */
export interface IndexImage {
  readonly names: ReadonlyMap<string, Buffer>
  readonly refs: ReadonlyMap<string, Buffer>
  readonly deleted: ReadonlyMap<string, Buffer>
  readonly ipns: ReadonlyMap<string, Buffer>
}

export const refKey = (entry: NameEntry): string => `${rootKey(CID.parse(entry.cid))}.${nameKey(entry.name)}`

/** What the buckets hold when they are up to date. */
export function imageOf(state: IndexState): IndexImage {
  const names = new Map<string, Buffer>()
  const refs = new Map<string, Buffer>()
  const deleted = new Map<string, Buffer>()
  const ipns = new Map<string, Buffer>()
  for (const { key, entry } of state.names.values()) {
    if (entry === null) continue
    names.set(key, entryBytes(entry))
    refs.set(refKey(entry), refBytes(entry.name, entry.revision))
  }
  for (const life of state.objects.values()) {
    const standing = standingOfObject(life)
    if (standing?.deleted === true) deleted.set(standing.root, deletedBytes(standing))
  }
  for (const { key, entry } of state.ipns.values()) if (entry !== null) ipns.set(key, ipnsBytes(entry))
  return { names, refs, deleted, ipns }
}
