import type { StreamConfig } from '@nats-io/jetstream'
import { DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { eventStream, eventSubjects } from './layout.ts'

const streamNotFound = 10059

/**
 * The event log: nothing in it is ever deleted, purged or expired; the server refuses it.
 * @returns the stream's name @throws AppError STORE_MISMATCH when a stream of that name lacks a guarantee
 */
export async function openEventStream(nats: Nats, layout: LayoutConfig): Promise<string> {
  const name = eventStream(layout.domain)
  const config: Partial<StreamConfig> & { name: string; allow_atomic: boolean } = {
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
  }
  const existing = await nats.jsm.streams.info(name).catch((error: unknown) => {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw new AppError('STORE_UNAVAILABLE', `cannot look up stream ${name}`, { cause: error })
  })
  const { config: actual } =
    existing ??
    (await nats.jsm.streams.add(config).catch((error: unknown) => {
      throw new AppError('STORE_UNAVAILABLE', `cannot create stream ${name}: ${String(error)}`, { cause: error })
    }))
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
  return name
}
