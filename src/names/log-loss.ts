import { CID } from 'multiformats/cid'
import { type Json, link } from '../events/canonical.ts'
import { type CloudEvent, type Draft, decodeEvent } from '../events/envelope.ts'
import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'
import type { IpnsEntry } from './ipns-entry.ts'
import { ipnsKey } from './ipns-entry.ts'
import { nameKey } from './name.ts'
import type { NameEntry } from './name-entry.ts'
import { type IndexState, rootKey } from './name-fold.ts'
import { entryOf } from './name-index.ts'
import type { Names } from './names.ts'
import { standingOfObject } from './object-life.ts'
import { foldWhole } from './rebuild.ts'
import { revisionOf } from './revisioned.ts'

/** What a projection still knows, and the log does not say any more. */
export interface Lost {
  readonly kind: 'name' | 'removed name' | 'deletion' | 'content' | 'ipns' | 'setting'
  /** The name, the CID, or the key of a setting. */
  readonly about: string
  /** Of a name: what it stood for. */
  readonly cid?: string
  /** Says it again, as a new event. */
  readonly draft: Draft
  readonly owner: string
}

/** Content that was put, as somebody beside the log knows it. */
export interface KnownRoot {
  readonly root: string
  readonly deleted: boolean
  readonly owner: string
  readonly mediaType: string | null
  readonly bytes: number | undefined
  readonly blocks: number | undefined
  /** This site's store that holds a verified copy. */
  readonly store: string | undefined
}

export interface LossParts {
  readonly names: Names
  /** Buckets whose records bear the id of their event: sites, stores, projections and the policy. */
  readonly settings: readonly KvBucket[]
  readonly roots: (signal: AbortSignal) => AsyncIterable<readonly KnownRoot[]>
}

/**
 * Compares what was folded with the log as it is: what is in the projections alone was lost from the log. Reads everything.
 * What the log says later than a projection does is no loss: it stays.
 */
export async function lossOf({ names, settings, roots }: LossParts, signal: AbortSignal): Promise<Lost[]> {
  const { state } = await foldWhole(names, signal)
  return [
    ...(await lostNames(names, state, signal)),
    ...(await lostObjects(names, state, roots, signal)),
    ...(await lostIpns(names, state, signal)),
    ...(await lostSettings(names, settings, signal)),
  ]
}

async function recordsOf(bucket: KvBucket, space: string, signal: AbortSignal): Promise<KvRecord[]> {
  if (!(await bucket.exists())) return []
  const records: KvRecord[] = []
  for await (const page of bucket.scan(1, signal)) {
    for (const record of page) if (record.key.startsWith(`${space}.`)) records.push(record)
  }
  return records
}

async function lostNames(names: Names, state: IndexState, signal: AbortSignal): Promise<Lost[]> {
  const { space } = names.source
  const byKey = new Map([...state.names.values()].map((effect) => [effect.key, effect]))
  const lost: Lost[] = []
  for (const record of await recordsOf(names.buckets.names, space, signal)) {
    const now = byKey.get(record.key.slice(space.length + 1))
    const parents = now === undefined ? [] : [now.eventId]
    const previous = now?.revision ?? 0
    if (record.removed) {
      const isBack = now?.entry !== null && now?.entry !== undefined && now.revision < revisionOf(record)
      if (!isBack || now.entry === null) continue
      const { name, cid, owner } = now.entry
      const data = { name, cid: link(CID.parse(cid)), previous, parents, restored: true }
      lost.push({ kind: 'removed name', about: name, owner, draft: nameDraft('removed', name, data) })
      continue
    }
    const entry = entryOf(record)
    if (entry === undefined || isSaid(entry, now?.entry)) continue
    const { name, cid, size, mediaType, owner } = entry
    const data = { name, cid: link(CID.parse(cid)), size, mediaType, previous, parents, restored: true }
    lost.push({ kind: 'name', about: name, cid, owner, draft: nameDraft('set', name, data) })
  }
  return lost
}

/** Whether the log says the same, or something later. */
function isSaid(entry: NameEntry, now: NameEntry | null | undefined): boolean {
  return now !== null && now !== undefined && (now.cid === entry.cid || now.time > entry.time)
}

const nameDraft = (verb: 'set' | 'removed', name: string, data: Draft['data']): Draft<'name'> => ({
  ...{ entity: 'name', verb, key: nameKey(name), subject: name, data },
})

async function lostObjects(
  names: Names,
  state: IndexState,
  roots: LossParts['roots'],
  signal: AbortSignal,
): Promise<Lost[]> {
  const { space } = names.source
  const lost: Lost[] = []
  const isDeleted = (root: string) => standingOfObject(state.objects.get(root) ?? [])?.deleted === true
  const deleted = new Set<string>()
  for (const record of await recordsOf(names.buckets.deleted, space, signal)) {
    const root = record.key.slice(space.length + 1)
    if (record.removed) continue
    deleted.add(root)
    if (isDeleted(root)) continue
    const { cid } = JSON.parse(record.value.toString('utf8')) as { readonly cid: string }
    lost.push({ kind: 'deletion', about: cid, owner: 'admin', draft: objectDraft('deleted', cid, { names: [] }) })
  }
  for await (const page of roots(signal)) {
    for (const { root, deleted: wasDeleted, owner, mediaType, bytes, blocks, store } of page) {
      const key = rootKey(CID.parse(root))
      const isKnown = state.objects.has(key) && !isDeleted(key)
      if (wasDeleted || deleted.has(key) || isKnown) continue
      const data = { mediaType, size: bytes ?? null, blocks: blocks ?? null, ...(store === undefined ? {} : { store }) }
      lost.push({ kind: 'content', about: root, owner, draft: objectDraft('added', root, data) })
    }
  }
  return lost
}

function objectDraft(verb: 'added' | 'deleted', text: string, data: Draft['data']): Draft<'object'> {
  const cid = CID.parse(text)
  const key = cid.toV1().toString()
  return { entity: 'object', verb, key, subject: key, data: { cid: link(cid), ...data, restored: true } }
}

async function lostIpns(names: Names, state: IndexState, signal: AbortSignal): Promise<Lost[]> {
  const lost: Lost[] = []
  for (const record of await recordsOf(names.buckets.ipns, names.source.space, signal)) {
    if (record.removed) continue
    const entry = JSON.parse(record.value.toString('utf8')) as IpnsEntry
    const now = state.ipns.get(ipnsKey(entry.name))?.entry
    if (now !== null && now !== undefined && (now.record === entry.record || now.time > entry.time)) continue
    const { name, revision: _revision, owner, time: _time, ...rest } = entry
    const data = { name, ...rest, restored: true } as unknown as Draft['data']
    const draft: Draft<'ipns'> = { entity: 'ipns', verb: 'published', key: ipnsKey(name), subject: name, data }
    lost.push({ kind: 'ipns', about: name, owner, draft })
  }
  return lost
}

const settingEntities = ['policy', 'site', 'store', 'projection'] as const

/** Each record is the data of its event, with `revision`, `eventId`, `time` and `owner` beside them. */
async function lostSettings(names: Names, buckets: readonly KvBucket[], signal: AbortSignal): Promise<Lost[]> {
  const lost: Lost[] = []
  for (const bucket of buckets) {
    if (!(await bucket.exists())) continue
    for await (const page of bucket.scan(1, signal)) {
      for (const record of page) {
        const setting = settingOf(record, names.source.space)
        if (setting !== undefined && !(await isInLog(names, setting, signal))) lost.push(setting.lost)
      }
    }
  }
  return lost
}

function settingOf({ key, value, removed }: KvRecord, space: string) {
  const isPolicy = key === space
  const [first = '', second = ''] = key.split('.')
  const entity = isPolicy ? 'policy' : settingEntities.find((one) => one === (first === 'site' ? first : second))
  if (removed || entity === undefined || (!isPolicy && first !== 'site' && first !== space)) return undefined
  const rest = isPolicy ? space : key.slice(first === 'site' ? 5 : first.length + second.length + 2)
  const record = JSON.parse(value.toString('utf8')) as { readonly [name: string]: Json }
  const { revision, eventId, time: _time, owner, ...data } = record
  if (typeof revision !== 'number' || typeof eventId !== 'string') return undefined
  const subject = entity === 'store' ? rest.replace('.', '/') : rest
  const draft: Draft = { entity, verb: 'set', key: rest, subject, data: { ...data, restored: true } }
  const lost: Lost = { kind: 'setting', about: `${entity} ${subject}`, owner: String(owner), draft }
  return { revision, eventId, lost }
}

async function isInLog(
  names: Names,
  { revision, eventId }: { readonly revision: number; readonly eventId: CloudEvent['id'] },
  signal: AbortSignal,
): Promise<boolean> {
  for await (const { sequence, payload } of names.reader.from(`${names.source.domain}.evt.>`, revision, signal)) {
    return sequence === revision && decodeEvent(payload)?.id === eventId
  }
  return false
}
