import type { KvBucket } from '../nats/kv-bucket.ts'
import { outcomeKeptSeconds } from '../nats/layout.ts'
import { nameKey } from './name.ts'
import {
  type CommandTrace,
  emptyState,
  foldMessage,
  type IndexImage,
  type IndexState,
  imageOf,
  indexedVerbs,
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
}

const indexes = ['names', 'refs', 'deleted', 'ipns'] as const
const writesAtOnce = 64
const batchMax = 256

interface Folded {
  readonly state: IndexState
  readonly traces: readonly CommandTrace[]
  readonly last: number
}

/**
 * Compares the indexes with the fold of the whole log. What changes meanwhile is looked at again before it is called a
 * difference, so it may run beside writers.
 * @param repair brings each different key to what the log says
 */
export async function verifyIndex(names: Names, { repair, signal }: { repair: boolean; signal: AbortSignal }) {
  let { differences, image, folded } = await compare(names, signal)
  if (differences.length > 0) {
    // A second look, at those only: a writer is between its event and its index for a moment.
    const known = new Set(differences.map(({ index, key }) => `${index} ${key}`))
    const again = await compare(names, signal)
    ;({ image, folded } = again)
    differences = again.differences.filter(({ index, key }) => known.has(`${index} ${key}`))
  }
  if (repair) {
    await eachOf(differences, ({ index, key }) => bring(names, index, key, image, folded.last))
  }
  const keys = indexes.reduce((sum, index) => sum + image[index].size, 0)
  const { skipped } = folded.state
  return { events: folded.last, skipped, keys, differences, repaired: repair } satisfies Verification
}

/**
 * Drops the indexes and makes them anew from the log. A name set meanwhile is kept: a newer revision stays.
 * @returns what it wrote
 */
export async function rebuildIndex(names: Names, signal: AbortSignal): Promise<{ events: number; keys: number }> {
  const { space } = names.source
  for (const bucket of Object.values<KvBucket>({ ...names.buckets })) await bucket.purge(`${space}.>`)
  // Read after the purge, so that nothing which was set before it is missed.
  const { state, traces, last } = await foldLog(names, signal)
  const image = imageOf(state)
  let keys = 0
  for (const index of indexes) {
    const entries = [...image[index]]
    keys += entries.length
    await eachOf(entries, ([key, value]) =>
      writeRevision(names.buckets[index], `${space}.${key}`, revisionIn(value), value, { assumeAbsent: true }),
    )
  }
  for (let at = 0; at < traces.length; at += batchMax) await names.outcomes.record(traces.slice(at, at + batchMax))
  return { events: last, keys }
}

/** All keys and values of the indexes, sorted, as text: equal when the indexes are, byte for byte. */
export async function dumpIndex(names: Names, signal: AbortSignal): Promise<string> {
  const lines: string[] = []
  for (const index of indexes) {
    for (const [key, value] of await present(names, index, signal))
      lines.push(`${index} ${key} ${value.toString('utf8')}`)
  }
  return lines.sort().join('\n')
}

async function foldLog(names: Names, signal: AbortSignal): Promise<Folded> {
  const { domain, space } = names.source
  const state = emptyState()
  const traces: CommandTrace[] = []
  const oldest = Date.now() - outcomeKeptSeconds * 1000
  let last = 0
  for await (const message of names.reader.from(`${domain}.evt.*.${space}.>`, 1, signal)) {
    last = message.sequence
    if (!isIndexed(message.subject)) continue
    foldMessage(state, message)
    const reading = readMessage(message)
    if (reading?.command !== undefined && Date.parse(reading.event.time) > oldest) traces.push(reading.command)
  }
  await eachOf([...state.tangled], async (name) => {
    const history = await names.log.history(name, signal)
    const version = standingOf(history.filter(({ revision }) => revision <= last))
    if (version !== undefined) state.names.set(nameKey(name), effectOfVersion(name, version))
  })
  return { state, traces, last }
}

/** Other events say nothing to the indexes; only what claims to be one of these can be broken. */
function isIndexed(subject: string): boolean {
  const [, , , , entity, verb] = subject.split('.')
  return indexedVerbs.has(`${entity}.${verb}`)
}

async function present(names: Names, index: keyof IndexImage, signal: AbortSignal): Promise<Map<string, Buffer>> {
  const prefix = `${names.source.space}.`
  const records = await names.buckets[index].getMatching(`${prefix}>`, signal)
  return new Map(records.map(({ key, value }) => [key.slice(prefix.length), value]))
}

async function compare(names: Names, signal: AbortSignal) {
  const found: Partial<Record<keyof IndexImage, Map<string, Buffer>>> = {}
  for (const index of indexes) found[index] = await present(names, index, signal)
  const folded = await foldLog(names, signal)
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
