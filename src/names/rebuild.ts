import { setTimeout as delay } from 'node:timers/promises'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { outcomeKeptSeconds } from '../nats/layout.ts'
import { nameKey } from './name.ts'
import {
  type CommandTrace,
  emptyState,
  foldSome,
  type IndexImage,
  type IndexState,
  imageOf,
  indexedVerbs,
  type LogMessage,
  readMessage,
} from './name-fold.ts'
import { effectOfVersion, standingOf } from './name-heads.ts'
import type { Names } from './names.ts'
import { writeRevision } from './revisioned.ts'

/** One key that is not as the log says. */
export interface Difference {
  readonly index: keyof IndexImage
  readonly key: string
  readonly kind: 'missing' | 'extra' | 'different'
}

export interface Verification {
  /** Up to which event the log was read. */
  readonly events: number
  /** Messages that are no events of ours. */
  readonly skipped: number
  readonly keys: number
  readonly differences: readonly Difference[]
  readonly repaired: boolean
  /** The last message of the log that was read. */
  readonly newest: LogMessage | undefined
}

export const indexes = ['names', 'refs', 'deleted', 'ipns'] as const
const writesAtOnce = 64
/** Between two looks at what differs: a writer is between its event and its index for a moment. */
const secondLookMs = 500
const batchMax = 256
/** Looked at in one pass over the log: more are done part by part, so that memory does not grow with the index. */
const keysAtOnce = 100_000

export interface VerifyOptions {
  readonly repair: boolean
  readonly signal: AbortSignal
  /** Called now and then: a low rate waits here. */
  readonly pace?: (signal: AbortSignal) => Promise<void>
  /** Sequences that did not come when the log was read. */
  readonly onGap?: (first: number, last: number) => void
  /** The log was read, to this message. Throws when nothing is to be repaired by it. */
  readonly beforeRepair?: (newest: number) => Promise<void>
}

/** Keys of which a pass looks at every `count`-th. */
interface Part {
  readonly index: number
  readonly count: number
}

export interface Folded {
  readonly state: IndexState
  readonly last: number
  /** Of the last message: subject and payload. */
  readonly newest: LogMessage | undefined
}

/**
 * Compares the indexes with the fold of the whole log. What changes meanwhile is looked at again before it is called a
 * difference, so it may run beside writers.
 * @param repair brings each different key to what the log says
 */
export async function verifyIndex(names: Names, options: VerifyOptions): Promise<Verification> {
  const count = Math.max(1, Math.ceil((names.list.size + names.deleted.size) / keysAtOnce))
  let whole: Verification = {
    events: 0,
    skipped: 0,
    keys: 0,
    differences: [],
    repaired: options.repair,
    newest: undefined,
  }
  for (let index = 0; index < count; index++) {
    const one = await verifyPart(names, { index, count }, options)
    const { events, skipped, newest } = one
    const differences = [...whole.differences, ...one.differences]
    whole = { ...whole, events, skipped, newest, keys: whole.keys + one.keys, differences }
  }
  return whole
}

async function verifyPart(names: Names, part: Part, options: VerifyOptions): Promise<Verification> {
  const { repair } = options
  let { differences, image, folded } = await compare(names, part, options)
  if (differences.length > 0) {
    await delay(secondLookMs, undefined, { signal: options.signal })
    const [before, known] = [image, new Set(differences.map(({ index, key }) => `${index} ${key}`))]
    const again = await compare(names, part, options)
    ;({ image, folded } = again)
    // What was changed meanwhile is on its way once more, and no difference.
    const isSame = ({ index, key }: Difference) => isEqual(before[index].get(key), image[index].get(key))
    differences = again.differences.filter((one) => known.has(`${one.index} ${one.key}`) && isSame(one))
  }
  if (repair) {
    await options.beforeRepair?.(folded.newest?.sequence ?? 0)
    await eachOf(differences, ({ index, key }) => bring(names, index, key, image, folded.last))
  }
  const keys = indexes.reduce((sum, index) => sum + image[index].size, 0)
  const { last: events, newest } = folded
  return { events, skipped: folded.state.skipped, keys, differences, repaired: repair, newest }
}

/**
 * Drops the indexes and makes them anew from the log. A name set meanwhile is kept: a newer revision stays.
 * @returns what it wrote
 */
export async function rebuildIndex(names: Names, signal: AbortSignal): Promise<{ events: number; keys: number }> {
  const { space } = names.source
  for (const index of indexes) await names.buckets[index].purge(`${space}.>`)
  // Read after the purge, so that nothing which was set before it is missed.
  const { state, last } = await foldLog(names, everyKey, { repair: true, signal })
  const image = imageOf(state)
  let keys = 0
  for (const index of indexes) {
    const entries = [...image[index]]
    keys += entries.length
    await eachOf(entries, ([key, value]) =>
      writeRevision(names.buckets[index], `${space}.${key}`, revisionIn(value), value, { assumeAbsent: true }),
    )
  }
  await recordOutcomes(names, signal)
  return { events: last, keys }
}

/** Writes the outcomes of all commands anew that are young enough to be kept. */
export async function recordOutcomes(names: Names, signal: AbortSignal): Promise<void> {
  const { domain, space } = names.source
  const oldest = new Date(Date.now() - outcomeKeptSeconds * 1000)
  let traces: CommandTrace[] = []
  for await (const message of names.reader.since(`${domain}.evt.*.${space}.>`, oldest, signal)) {
    const command = isIndexed(message.subject) ? readMessage(message)?.command : undefined
    if (command !== undefined) traces.push(command)
    if (traces.length < batchMax) continue
    await names.outcomes.record(traces)
    traces = []
  }
  await names.outcomes.record(traces)
}

const isEqual = (one: Buffer | undefined, other: Buffer | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.equals(other)

/** All keys and values of the indexes, sorted, as text: equal when the indexes are, byte for byte. */
export async function dumpIndex(names: Names, signal: AbortSignal): Promise<string> {
  const lines: string[] = []
  for (const index of indexes) {
    for (const [key, value] of await present(names, index, everyKey, signal))
      lines.push(`${index} ${key} ${value.toString('utf8')}`)
  }
  return lines.sort().join('\n')
}

async function foldLog(
  names: Names,
  part: Part,
  { signal, pace, onGap = () => undefined }: VerifyOptions,
): Promise<Folded> {
  const { space } = names.source
  const state = emptyState()
  let last = 0
  let newest: LogMessage | undefined
  for await (const message of names.reader.whole(1, signal, onGap)) {
    if (message.sequence % paceEvery === 0) await pace?.(signal)
    newest = message
    if (message.subject.split('.', 4)[3] !== space) continue
    last = message.sequence
    if (!isIndexed(message.subject)) continue
    foldSome(state, message, (effect) => isOf(part, effect.kind === 'object' ? effect.root : effect.key))
  }
  await eachOf([...state.tangled], async (name) => {
    const history = await names.log.history(name, signal)
    const version = standingOf(history.filter(({ revision }) => revision <= last))
    if (version !== undefined) state.names.set(nameKey(name), effectOfVersion(name, version))
  })
  return { state, last, newest }
}

/** The whole log, in memory. @throws AppError STORE_UNAVAILABLE */
export const foldWhole = (names: Names, signal: AbortSignal): Promise<Folded> =>
  foldLog(names, everyKey, { repair: false, signal })

/** Lists know what their index has, also where it was made anew and its watch has not read it yet. */
export async function listAll(names: Names, index: 'names' | 'ipns', signal: AbortSignal): Promise<void> {
  const list = index === 'names' ? names.list : names.ipns.list
  for await (const page of names.buckets[index].matching(`${names.source.space}.>`, signal)) {
    for (const { value } of page) list.hold((JSON.parse(value.toString('utf8')) as { name: string }).name)
  }
}

const paceEvery = 1_024
const everyKey: Part = { index: 0, count: 1 }

/** Of an entry of any index: a reference is in the part of its name. */
function isOf({ index, count }: Part, key: string): boolean {
  if (count === 1) return true
  let hash = 0
  for (let at = 0; at < key.length; at++) hash = (Math.imul(hash, 31) + key.charCodeAt(at)) >>> 0
  return hash % count === index
}

/** Other events say nothing to the indexes; only what claims to be one of these can be broken. */
function isIndexed(subject: string): boolean {
  const [, , , , entity, verb] = subject.split('.')
  return indexedVerbs.has(`${entity}.${verb}`)
}

async function present(names: Names, index: keyof IndexImage, part: Part, signal: AbortSignal) {
  const prefix = `${names.source.space}.`
  const found = new Map<string, Buffer>()
  for await (const page of names.buckets[index].matching(`${prefix}>`, signal)) {
    for (const { key: full, value } of page) {
      const key = full.slice(prefix.length)
      if (isOf(part, index === 'refs' ? key.slice(key.indexOf('.') + 1) : key)) found.set(key, value)
    }
  }
  return found
}

async function compare(names: Names, part: Part, options: VerifyOptions) {
  const { signal } = options
  const found: Partial<Record<keyof IndexImage, Map<string, Buffer>>> = {}
  for (const index of indexes) found[index] = await present(names, index, part, signal)
  const folded = await foldLog(names, part, options)
  const image = imageOf(folded.state)
  const differences: Difference[] = []
  for (const index of indexes) {
    const actual = found[index] ?? new Map<string, Buffer>()
    for (const [key, value] of image[index]) {
      const there = actual.get(key)
      if (there === undefined) differences.push({ index, key, kind: 'missing' })
      else if (!there.equals(value)) differences.push({ index, key, kind: 'different' })
    }
    for (const key of actual.keys()) if (!image[index].has(key)) differences.push({ index, key, kind: 'extra' })
  }
  return { differences, image, folded }
}

async function bring(names: Names, index: keyof IndexImage, key: string, image: IndexImage, last: number) {
  const value = image[index].get(key)
  const revision = value === undefined ? last : revisionIn(value)
  const bucket: KvBucket = names.buckets[index]
  await writeRevision(bucket, `${names.source.space}.${key}`, revision, value, { force: true })
}

const revisionIn = (value: Buffer): number => (JSON.parse(value.toString('utf8')) as { revision: number }).revision

async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += writesAtOnce)
    await Promise.all(items.slice(at, at + writesAtOnce).map(work))
}
