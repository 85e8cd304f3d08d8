import type { LayoutConfig } from '../config.ts'
import type { EventSource } from '../events/envelope.ts'
import { passBy, type Reach } from '../lib/crash-point.ts'
import type { Nats } from '../nats/connection.ts'
import { KvBucket } from '../nats/kv-bucket.ts'
import {
  deletedBucket,
  ipnsBucket,
  keyBucket,
  nameBucket,
  outcomeBucket,
  outcomeKeptSeconds,
  refBucket,
} from '../nats/layout.ts'
import { LogReader } from '../nats/log-reader.ts'
import { DeletedSet } from './deleted-set.ts'
import { IpnsBindings } from './ipns-bindings.ts'
import { IpnsIndex } from './ipns-index.ts'
import { KeyStore } from './key-store.ts'
import type { Effect } from './name-fold.ts'
import { NameIndex } from './name-index.ts'
import { NameList } from './name-list.ts'
import { NameLog } from './name-log.ts'
import { ObjectLog } from './object-log.ts'
import { Outcomes } from './outcomes.ts'
import { Wholeness } from './wholeness.ts'

export interface NameBuckets {
  readonly names: KvBucket
  readonly refs: KvBucket
  readonly deleted: KvBucket
  readonly ipns: KvBucket
  readonly outcomes: KvBucket
}

/** All that is derived from the event log, and the log's view of names. */
export interface Names {
  readonly index: NameIndex
  readonly list: NameList
  readonly log: NameLog
  readonly objects: ObjectLog
  readonly deleted: DeletedSet
  readonly ipns: IpnsIndex
  /** Not made from the log: no log may hold them. */
  readonly keys: KeyStore
  readonly outcomes: Outcomes
  readonly reader: LogReader
  readonly buckets: NameBuckets
  readonly source: EventSource
  readonly whole: Wholeness
  apply(effect: Effect, wasAbsent?: boolean): Promise<void>
  /** The entries below `/ipns/` that follow a name. The caller closes it. */
  watchBindings(): IpnsBindings
  close(): Promise<void>
}

export interface NamesOptions {
  readonly stream: string
  readonly layout: LayoutConfig
  readonly source: EventSource
  readonly waitMs: number
  readonly reach?: Reach
}

/** @throws AppError STORE_UNAVAILABLE */
export async function openNames(nats: Nats, options: NamesOptions): Promise<Names> {
  const { stream, layout, source, waitMs, reach = passBy } = options
  const { domain, space, replicas } = layout
  const open = (bucket: string, description: string, keptSeconds?: number) =>
    KvBucket.open(nats, bucket, {
      replicas,
      waitMs,
      description,
      ...(keptSeconds === undefined ? {} : { keptSeconds }),
    })
  const keys = new KeyStore(await open(keyBucket(domain), 'Stowage: sealed keys that sign IPNS records'), space)
  const buckets: NameBuckets = {
    names: await open(nameBucket(domain), 'Stowage: what names stand for'),
    refs: await open(refBucket(domain), 'Stowage: names by content'),
    deleted: await open(deletedBucket(domain), 'Stowage: content out of view'),
    ipns: await open(ipnsBucket(domain), 'Stowage: IPNS records and DNSLinks'),
    outcomes: await open(outcomeBucket(domain), 'Stowage: commands by id', outcomeKeptSeconds),
  }
  const reader = new LogReader(nats, stream, { replicas, waitMs })
  const whole = new Wholeness()
  const list = new NameList(nats, buckets.names, space, waitMs, (work) => whole.looking('names', work))
  const objects = new ObjectLog(reader, source)
  const deleted = new DeletedSet(nats, buckets.deleted, space, objects)
  const ipnsList = new NameList(nats, buckets.ipns, space, waitMs, (work) => whole.looking('ipns', work))
  const ipns = new IpnsIndex(buckets.ipns, ipnsList, reader, source, whole.during)
  const onIndexed = (name: string, present: boolean, seq: number) => list.wrote(name, present, seq)
  const index = new NameIndex(buckets, space, onIndexed, reach, whole)
  const close = async () => void (await Promise.all([list.close(), ipns.list.close(), deleted.close()]))
  try {
    await deleted.caughtUp(Math.max(waitMs, 5_000), new AbortController().signal)
  } catch (error) {
    await close()
    throw error
  }
  return {
    index,
    list,
    log: new NameLog(reader, source, async (name, signal) =>
      whole.asksLog('names') ? undefined : index.get(name, signal),
    ),
    objects,
    deleted,
    ipns,
    keys,
    outcomes: new Outcomes(buckets.outcomes, reader, source),
    reader,
    buckets,
    source,
    whole,
    apply: (effect, wasAbsent) => {
      if (effect.kind === 'name') return index.apply(effect, wasAbsent)
      return effect.kind === 'ipns' ? ipns.apply(effect) : deleted.apply([effect])
    },
    watchBindings: () => new IpnsBindings(nats, buckets.ipns, space, ipns),
    close,
  }
}
