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
    await writeRevision(bucket, entry.key, entry.revision, entry.value)
  }
}

/** Sites that did not hear each other have both set a policy, and the one that is here counts. */
async function isOutranked({ key, value }: PlaceEntry, bucket: KvBucket): Promise<boolean> {
  const present = await bucket.get(key)
  if (present === undefined || present.removed || value === undefined) return false
  return outranks(rankIn(present.value), rankIn(value))
}
