import type { AccountLimits } from '@nats-io/jetstream'
import { expect, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { GiB, MiB } from '../../src/lib/units.ts'
import { type StreamKind, streamSizes } from '../../src/nats/stream-sizes.ts'

const limits = (of: Partial<AccountLimits>): AccountLimits => ({
  max_memory: -1,
  max_storage: -1,
  max_streams: -1,
  max_consumers: -1,
  max_ack_pending: -1,
  memory_max_stream_bytes: -1,
  storage_max_stream_bytes: -1,
  max_bytes_required: false,
  ...of,
})
const one = { replicas: 1 }

test('without a word of settings or account no stream has a bound', () => {
  for (const of of [undefined, limits({}), limits({ max_storage: GiB })]) {
    const sizes = streamSizes({}, of)
    expect([sizes.from, sizes.bytesOf('blocks', one)]).toEqual(['none', undefined])
  }
})

test('where the account wants sizes, all streams of a node fit into its limit, with any number of shards and replicas', () => {
  for (const [replicas, shards, max_storage] of [
    [1, 2, 4 * GiB],
    [3, 16, GiB],
    [1, 256, 100 * MiB],
  ] as const) {
    const sizes = streamSizes({}, limits({ max_storage, max_bytes_required: true }))
    const bytesOf = (kind: StreamKind, parts = 1) => sizes.bytesOf(kind, { parts, replicas }) ?? Number.NaN
    const single: readonly StreamKind[] = ['events', 'moves', 'reads', 'queue', 'dead']
    const all =
      shards * bytesOf('blocks', shards) + 9 * bytesOf('kv') + single.reduce((sum, kind) => sum + bytesOf(kind), 0)
    expect(all * replicas).toBeLessThanOrEqual(max_storage)
    expect(all * replicas).toBeGreaterThan(max_storage * 0.9)
  }
})

test('what the settings say counts, and no stream is larger than the account lets one be', () => {
  const account = limits({ max_storage: 10 * GiB, max_bytes_required: true, storage_max_stream_bytes: 2 * GiB })
  const sizes = streamSizes({ blocks: 6 * GiB, kv: 64 * MiB }, account)
  expect(sizes.bytesOf('blocks', { parts: 2, replicas: 3 })).toBe(2 * GiB)
  expect(sizes.bytesOf('blocks', { parts: 4, replicas: 3 })).toBe(1.5 * GiB)
  expect(sizes.bytesOf('kv', one)).toBe(64 * MiB)
  expect(sizes.bytesOf('events', one)).toBe(Math.floor(10 * GiB * 0.12))
})

test('an account that wants sizes and has no limit leaves them to the settings', () => {
  const sizes = streamSizes({ events: GiB }, limits({ max_bytes_required: true }))
  expect([sizes.bytesOf('events', one), sizes.bytesOf('kv', one)]).toEqual([GiB, undefined])
})

test('the setting is a list of kinds and sizes', () => {
  const { nats } = readConfig({ STOWAGE_STREAM_BYTES_MAX: 'blocks=64GiB, kv=1MiB' })
  expect(nats.streamBytes).toEqual({ blocks: 64 * GiB, kv: MiB })
  expect(readConfig({}).nats.streamBytes).toEqual({})
  for (const value of ['blocks', '64GiB', 'blocks=many', 'reads=1GiB', 'kv=0', 'kv=1=2', 'kv=1MiB,']) {
    expect(() => readConfig({ STOWAGE_STREAM_BYTES_MAX: value })).toThrow('STOWAGE_STREAM_BYTES_MAX')
  }
})
