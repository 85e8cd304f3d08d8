import type { CID } from 'multiformats/cid'
import type { Reach } from '../lib/crash-point.ts'
import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'
import { nameKey, nameOfKey } from './name.ts'
import type { NameEntry } from './name-entry.ts'
import { entryBytes, type NameEffect, refBytes, refKey, rootKey } from './name-fold.ts'
import { revisionOf, writeRevision } from './revisioned.ts'
import { alwaysWhole, type Wholeness } from './wholeness.ts'

export interface IndexBuckets {
  readonly names: KvBucket
  readonly refs: KvBucket
}

const refsAtOnce = 8
/** Some 5 ms of work: others have their turn between two of them. */
const entriesAtOnce = 250

/** Told of each change of the index that was made here. */
export type OnIndexed = (name: string, present: boolean, seq: number) => void

/**
 * What names stand for, and which names a root has: a projection of the event log.
 * A ref is written before its entry and removed after it, so there may be a ref too many (it is filtered out on reading)
 * but never one too few.
 */
export class NameIndex {
  readonly #buckets: IndexBuckets
  readonly #space: string
  readonly #onIndexed: OnIndexed
  readonly #reach: Reach
  readonly #whole: Pick<Wholeness, 'require' | 'during' | 'looking'>

  /** @param whole refuses while the index may not be asked */
  constructor(
    buckets: IndexBuckets,
    space: string,
    onIndexed: OnIndexed,
    reach: Reach,
    whole: Pick<Wholeness, 'require' | 'during' | 'looking'> = alwaysWhole,
  ) {
    this.#reach = reach
    this.#whole = whole
    this.#buckets = buckets
    this.#space = space
    this.#onIndexed = onIndexed
  }

  /** Undefined also while the index is dropped and made anew: the log tells then. */
  async get(name: string, signal: AbortSignal): Promise<NameEntry | undefined> {
    this.#whole.require('names')
    const record = await this.#buckets.names.get(this.#key(nameKey(name)), signal)
    return record === undefined ? undefined : entryOf(record)
  }

  /** Those that exist, in the order of `names`; for showing them (see `KvBucket.getMany`). */
  async getMany(names: readonly string[], signal: AbortSignal): Promise<NameEntry[]> {
    return this.#entries(names, (keys) => this.#buckets.names.getMany(keys, signal))
  }

  async #entries(
    names: readonly string[],
    read: (keys: readonly string[]) => Promise<Map<string, KvRecord>>,
  ): Promise<NameEntry[]> {
    const keys = names.map((name) => this.#key(nameKey(name)))
    const records = await this.#whole.during('names', () => read(keys))
    return keys.flatMap((key) => {
      const record = records.get(key)
      return (record === undefined ? undefined : entryOf(record)) ?? []
    })
  }

  /** The revisions that the index has for these keys, of removed names too; 0 where it knows nothing. */
  async revisions(keys: readonly string[]): Promise<number[]> {
    const records = await this.#buckets.names.getMany(keys.map((key) => this.#key(key)))
    return keys.map((key) => {
      const record = records.get(this.#key(key))
      return record === undefined ? 0 : revisionOf(record)
    })
  }

  /** In the order of their bytes. */
  namesOf(cid: CID, signal: AbortSignal): Promise<NameEntry[]> {
    return this.#whole.looking('refs', () => this.#namesOf(cid, signal))
  }

  async #namesOf(cid: CID, signal: AbortSignal): Promise<NameEntry[]> {
    const root = rootKey(cid)
    const prefix = this.#key(`${root}.`)
    const records = await this.#buckets.refs.getMatching(`${prefix}>`, signal)
    const names = records.flatMap(({ key }) => nameOfKey(key.slice(prefix.length)) ?? [])
    const entries = await this.#now(names.sort(byBytes), signal)
    return entries.filter((entry) => refKey(entry).startsWith(`${root}.`))
  }

  /** Whether any name stands for it; asks for no more of them than it takes to know. */
  isNamed(cid: CID, signal: AbortSignal): Promise<boolean> {
    return this.#whole.during('refs', () => this.#isNamed(cid, signal))
  }

  async #isNamed(cid: CID, signal: AbortSignal): Promise<boolean> {
    const root = rootKey(cid)
    const prefix = this.#key(`${root}.`)
    for await (const page of this.#buckets.refs.matching(`${prefix}>`, signal, refsAtOnce)) {
      const names = page.flatMap(({ key }) => nameOfKey(key.slice(prefix.length)) ?? [])
      const entries = await this.#now(names, signal)
      if (entries.some((entry) => refKey(entry).startsWith(`${root}.`))) return true
    }
    return false
  }

  /** Deletions go by them: not as a follower remembers them. */
  async #now(names: readonly string[], signal: AbortSignal): Promise<NameEntry[]> {
    const entries: NameEntry[] = []
    for (let at = 0; at < names.length; at += entriesAtOnce) {
      const slice = names.slice(at, at + entriesAtOnce)
      entries.push(...(await this.#entries(slice, (keys) => this.#buckets.names.getEach(keys, signal))))
    }
    return entries
  }

  /** @param wasAbsent the name is believed to be new: saves a look */
  async apply({ name, key, revision, entry }: NameEffect, wasAbsent = false): Promise<void> {
    const { names, refs } = this.#buckets
    const full = this.#key(key)
    if (entry !== null) {
      const value = refBytes(name, revision)
      await writeRevision(refs, this.#key(refKey(entry)), revision, value, { assumeAbsent: wasAbsent })
      this.#reach('ref-written')
    }
    const value = entry === null ? undefined : entryBytes(entry)
    const { seq, present } = await writeRevision(names, full, revision, value, { assumeAbsent: wasAbsent })
    if (seq !== undefined) this.#onIndexed(name, entry !== null, seq)
    this.#reach('entry-written')
    // Of two entries the older one's ref goes: what was replaced, or ours, when something newer is there.
    const other = present === undefined ? undefined : entryOf(present)
    const stale = seq === undefined ? entry : other
    const kept = seq === undefined ? other : entry
    if (stale === null || stale === undefined) return
    const staleKey = refKey(stale)
    if (kept !== null && kept !== undefined && refKey(kept) === staleKey) return
    const newest = seq === undefined && present !== undefined ? revisionOf(present) : revision
    await writeRevision(refs, this.#key(staleKey), newest, undefined)
  }

  #key(key: string): string {
    return `${this.#space}.${key}`
  }
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Undefined for what was removed, and for what is no entry of ours. */
export function entryOf({ value, removed }: KvRecord): NameEntry | undefined {
  if (removed) return undefined
  try {
    const entry = JSON.parse(value.toString('utf8')) as Partial<NameEntry> | null
    const whole = typeof entry?.name === 'string' && typeof entry.cid === 'string' && typeof entry.revision === 'number'
    return whole ? (entry as NameEntry) : undefined
  } catch {
    return undefined
  }
}
