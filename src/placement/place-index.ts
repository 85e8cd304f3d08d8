import { canonicalJson, type Json } from '../events/canonical.ts'
import type { LogMessage } from '../names/name-fold.ts'
import { writeRevision } from '../names/revisioned.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { type PlaceEntry, placeEntry } from './place-events.ts'
import { outranks, rankIn } from './policy-log.ts'

export interface PlaceBuckets {
  readonly placement: KvBucket
  readonly policy: KvBucket
}

/** Brings what events say of sites, stores, the policy and projections into their indexes. May be done again, in order. */
export async function indexPlaces(messages: readonly LogMessage[], buckets: PlaceBuckets): Promise<void> {
  for (const entry of messages.flatMap((message) => placeEntry(message) ?? [])) {
    const bucket = buckets[entry.bucket]
    if (entry.bucket === 'policy' && (await isOutranked(entry, bucket))) continue
    const value = entry.key.startsWith('site.') ? await keptRemoved(entry, bucket) : entry.value
    await writeRevision(bucket, entry.key, entry.revision, value)
  }
}

/**
 * A site that was removed stays so, whatever it says of itself before it has heard of that: logs have the two in either order.
 */
async function keptRemoved({ key, value }: PlaceEntry, bucket: KvBucket): Promise<Buffer | undefined> {
  const present = await bucket.get(key)
  const was = present === undefined || present.removed ? undefined : stateIn(present.value)
  if (value === undefined || was !== 'removed') return value
  const record = JSON.parse(value.toString('utf8')) as { readonly [name: string]: Json }
  return Buffer.from(canonicalJson({ ...record, state: 'removed' }))
}

function stateIn(value: Buffer): unknown {
  try {
    return (JSON.parse(value.toString('utf8')) as { readonly state?: unknown } | null)?.state
  } catch {
    // None of ours: the log writes it again.
    return undefined
  }
}

/** Sites that did not hear each other have both set a policy, and the one that is here counts. */
async function isOutranked({ key, value }: PlaceEntry, bucket: KvBucket): Promise<boolean> {
  const present = await bucket.get(key)
  if (present === undefined || present.removed || value === undefined) return false
  return outranks(rankIn(present.value), rankIn(value))
}
