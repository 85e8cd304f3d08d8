import { setTimeout as delay } from 'node:timers/promises'
import type { StreamConfig, StreamSource } from '@nats-io/jetstream'
import { DiscardPolicy, JetStreamApiError, PersistMode, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import type { LayoutConfig, ReadLogConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { uuidv7 } from '../lib/uuid.ts'
import type { Nats } from './connection.ts'
import { eventStream, eventSubjects, liveSubjectsOf, readStream, readSubjects } from './layout.ts'
import { derivedEpoch, firstIdentity, identityIn, identityKey, identityText, writeIdentity } from './log-identity.ts'
import { TransientError } from './requests.ts'
import { makeStream, type StreamKind, unmade } from './stream-sizes.ts'

const streamNotFound = 10059
const nameInUse = 10058
const noMessageFound = 10037
const leaderTimeoutMs = 5_000

/**
 * The event log: nothing in it is ever deleted, purged or expired; the server refuses it.
 * @returns the stream's name @throws AppError STORE_MISMATCH when a stream of that name lacks a guarantee
 */
export async function openEventStream(nats: Nats, layout: LayoutConfig): Promise<string> {
  const name = eventStream(layout.domain)
  const config: StreamSettings = {
    name,
    description: 'Stowage event log: the truth',
    subjects: [eventSubjects(layout)],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_age: 0,
    max_bytes: -1,
    num_replicas: layout.replicas,
    allow_direct: true,
    allow_atomic: true,
    deny_delete: true,
    deny_purge: true,
    republish: { src: `${layout.domain}.evt.>`, dest: liveSubjectsOf(layout) },
  }
  const metadata = { [identityKey]: identityText(firstIdentity(uuidv7())) }
  const actual = await createOrFind(nats, 'events', { ...config, metadata })
  for (const key of ['deny_delete', 'deny_purge', 'allow_direct', 'allow_atomic', 'max_age'] as const) {
    if (actual[key] === config[key]) continue
    throw new AppError(
      'STORE_MISMATCH',
      `stream ${name} has ${key} = ${String(actual[key])}, expected ${String(config[key])}`,
      {
        hint: 'it is not an event log of Stowage: choose another STOWAGE_DOMAIN',
      },
    )
  }
  if (!actual.subjects.includes(eventSubjects(layout))) {
    throw new AppError('STORE_MISMATCH', `stream ${name} does not hold ${eventSubjects(layout)}`, {
      hint: 'it belongs to another site: set STOWAGE_SITE to that one, or choose another STOWAGE_DOMAIN',
    })
  }
  if (actual.republish?.dest !== config.republish?.dest)
    await update(nats, { ...actual, ...config, max_bytes: actual.max_bytes })
  if (identityIn(actual.metadata) === undefined) await identify(nats, name)
  return name
}

/** Gives an identity to a log of before there was one. */
async function identify(nats: Nats, name: string): Promise<void> {
  const info = await nats.jsm.streams.info(name).catch((error: unknown) => {
    throw new AppError('STORE_UNAVAILABLE', `stream ${name} does not answer`, { cause: error })
  })
  if (identityIn(info.config.metadata) !== undefined) return
  await writeIdentity(nats, name, firstIdentity(derivedEpoch(info))).catch((error: unknown) => {
    throw new AppError('STORE_UNAVAILABLE', `cannot update stream ${name}: ${String(error)}`, { cause: error })
  })
}

/** Another site, and where its JetStream answers. */
export interface Peer {
  readonly site: string
  readonly jetstreamDomain: string
}

const settleMs = 500
const updatesMax = 20

/**
 * Has our log take up the events of another site, from its first one on, in their order there; the server goes on by itself
 * after whatever comes between. Events keep their ids and subjects; their sequences are those of our log. A site that cannot be
 * reached holds up nothing but its own events.
 * The server has no compare-and-set for a stream's configuration: it is looked at again after a while, so that of two nodes
 * which add a site at once none is lost.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function sourcePeer(nats: Nats, layout: LayoutConfig, peer: Peer): Promise<void> {
  const wanted = sourceOf(layout, peer)
  await settle(nats, layout, (sources) => {
    if (sources.some((source) => isSame(source, wanted))) return undefined
    // One that has moved to another JetStream domain is read from there; what is there already comes again, and is refused
    // by the ids only within the duplicate window: a site keeps its domain.
    return [...sources.filter(({ filter_subject }) => filter_subject !== wanted.filter_subject), wanted]
  })
}

/** What came of it stays in our log. @throws AppError STORE_UNAVAILABLE */
export async function unsourcePeer(nats: Nats, layout: LayoutConfig, site: string): Promise<void> {
  const gone = eventSubjects({ domain: layout.domain, site })
  await settle(nats, layout, (sources) => {
    const kept = sources.filter(({ filter_subject }) => filter_subject !== gone)
    return kept.length === sources.length ? undefined : kept
  })
}

/** The sites that our log takes events of. @throws AppError STORE_UNAVAILABLE */
export async function sourcedSites(nats: Nats, layout: LayoutConfig): Promise<string[]> {
  const { sources = [] } = await configOf(nats, eventStream(layout.domain))
  return sources.flatMap(({ filter_subject }) => filter_subject?.split('.')[2] ?? [])
}

/** @param change the sources as they are to be; undefined = they are */
async function settle(
  nats: Nats,
  layout: LayoutConfig,
  change: (sources: readonly StreamSource[]) => StreamSource[] | undefined,
): Promise<void> {
  const name = eventStream(layout.domain)
  let changed = false
  for (let updates = 0; updates < updatesMax; ) {
    const actual = await configOf(nats, name)
    const sources = change(actual.sources ?? [])
    if (sources === undefined && !changed) return
    changed = sources !== undefined
    if (sources !== undefined) {
      updates++
      await update(nats, { ...actual, allow_atomic: true, sources })
    }
    // Not all at the same moment.
    await delay(settleMs * (0.5 + Math.random()))
  }
  throw new AppError('STORE_UNAVAILABLE', `the sources of stream ${name} are changed by others all the time`)
}

function sourceOf({ domain }: LayoutConfig, { site, jetstreamDomain }: Peer): StreamSource {
  return {
    name: eventStream(domain),
    filter_subject: eventSubjects({ domain, site }),
    external: { api: `$JS.${jetstreamDomain}.API`, deliver: '' },
  }
}

const isSame = (a: StreamSource, b: StreamSource): boolean =>
  a.name === b.name && a.filter_subject === b.filter_subject && a.external?.api === b.external?.api

async function configOf(nats: Nats, name: string): Promise<StreamConfig> {
  const { config } = await nats.jsm.streams.info(name).catch((error: unknown) => {
    throw new AppError('STORE_UNAVAILABLE', `stream ${name} does not answer`, { cause: error })
  })
  return config
}

type StreamSettings = Partial<StreamConfig> & { readonly name: string; readonly allow_atomic: boolean }

/** @returns the configuration that it has now, whoever made it */
async function createOrFind(nats: Nats, kind: StreamKind, config: StreamSettings): Promise<StreamConfig> {
  const found = await nats.jsm.streams.info(config.name).catch((error: unknown) => {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw new AppError('STORE_UNAVAILABLE', `cannot look up stream ${config.name}`, { cause: error })
  })
  if (found !== undefined) return found.config
  try {
    return (await makeStream(nats, kind, config)).config
  } catch (error) {
    // Made by another node at the same moment, with an identity of its own: that one counts.
    if (error instanceof AppError && error.cause instanceof JetStreamApiError && error.cause.code === nameInUse) {
      return await configOf(nats, config.name)
    }
    throw error
  }
}

async function update(nats: Nats, config: StreamSettings): Promise<void> {
  await nats.jsm.streams.update(config.name, config).catch((error: unknown) => {
    const full = unmade(config.name, error)
    if (full !== undefined) throw full
    throw new AppError('STORE_UNAVAILABLE', `cannot update stream ${config.name}: ${String(error)}`, { cause: error })
  })
}

const nanosecondsPerDay = 86_400e9

/**
 * The read log: bounded, oldest out first. Its bounds are the settings of whichever node started last.
 * @returns the stream's name
 */
export async function openReadStream(nats: Nats, layout: LayoutConfig, bounds: ReadLogConfig): Promise<string> {
  const size = nats.sizes.bytesOf('reads', { replicas: layout.replicas }) ?? bounds.bytesMax
  const config = {
    name: readStream(layout.domain),
    description: 'Stowage read log',
    subjects: [readSubjects(layout)],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: Math.round(bounds.daysMax * nanosecondsPerDay),
    max_bytes: Math.min(bounds.bytesMax, size),
    num_replicas: layout.replicas,
    // Reads have no idempotency key: the server need not remember ids.
    duplicate_window: 1e9,
    allow_direct: true,
    // Flushed behind the acks, whatever the server's sync interval: a power cut may take the last reads, and a gateway's pace
    // does not hang on the disk's. Only single replicas have it, and not with atomic batches.
    allow_atomic: false,
    ...(layout.replicas === 1 ? { persist_mode: PersistMode.Async } : {}),
  }
  const actual = await createOrFind(nats, 'reads', config)
  if (!actual.subjects.includes(readSubjects(layout))) {
    throw new AppError('STORE_MISMATCH', `stream ${config.name} does not hold ${readSubjects(layout)}`, {
      hint: 'it belongs to another site: set STOWAGE_SITE to that one, or choose another STOWAGE_DOMAIN',
    })
  }
  if (actual.max_age !== config.max_age || actual.max_bytes !== config.max_bytes) {
    await update(nats, { ...actual, ...config })
  }
  return config.name
}

/** Sequence of the last event. @throws TransientError */
export async function lastSequence(nats: Nats, stream: string): Promise<number> {
  try {
    return (await nats.jsm.streams.info(stream)).state.last_seq
  } catch (error) {
    throw new TransientError(`stream ${stream} does not answer`, { cause: error })
  }
}

/**
 * Whether the stream's leader has a message on `filter` from `fromSeq` on, and which. A Direct Get may be answered by a
 * follower that has not caught up.
 * @returns its sequence, or undefined @throws TransientError
 */
export async function nextAtLeader(
  nats: Nats,
  stream: string,
  filter: string,
  fromSeq: number,
): Promise<number | undefined> {
  const ask = Buffer.from(JSON.stringify({ seq: fromSeq, next_by_subj: filter }))
  const subject = `$JS.API.STREAM.MSG.GET.${stream}`
  const { data } = await nats.log.requests.one(subject, ask, undefined, leaderTimeoutMs)
  const reply = JSON.parse(data.toString('utf8')) as {
    readonly message?: { readonly seq: number }
    readonly error?: { readonly err_code: number }
  }
  if (reply.message !== undefined) return reply.message.seq
  if (reply.error?.err_code === noMessageFound) return undefined
  throw new TransientError(`the leader of ${stream} answers error ${reply.error?.err_code}`)
}

/**
 * Calls for each event that the log of this site takes up, its own and those of other sites, in its order; at most once
 * each, so some may be missed.
 * `subject` is that of the event in the log. @returns what ends it
 */
export function onEventStored(
  nats: Nats,
  place: Pick<LayoutConfig, 'domain' | 'site'>,
  listener: (sequence: number, subject: string, payload: Uint8Array) => void,
): () => void {
  const subscription = nats.control.subscribe(liveSubjectsOf(place), {
    callback: (error, message) => {
      if (error !== null) return
      listener(Number(message.headers?.get('Nats-Sequence')), message.headers?.get('Nats-Subject') ?? '', message.data)
    },
  })
  return () => subscription.unsubscribe()
}
