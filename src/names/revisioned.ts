import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'

const revisionHeader = 'Stowage-Revision'

export interface Written {
  /** In the bucket's stream; undefined when something as new or newer was there. */
  readonly seq: number | undefined
  /** What was there before, or is there still. */
  readonly present: KvRecord | undefined
}

/** The revision in a record's JSON, or in the header of a removal; 0 for what somebody else wrote. */
export function revisionOf(record: KvRecord): number {
  if (record.removed) return Number(record.header(revisionHeader)) || 0
  try {
    const value: unknown = JSON.parse(record.value.toString('utf8'))
    const revision = (value as { revision?: unknown } | null)?.revision
    return typeof revision === 'number' ? revision : 0
  } catch {
    return 0
  }
}

/**
 * Writes, or removes (`value` undefined), unless what is there has this revision or a newer one: so the indexes may be
 * written by every node and the projector at the same time, in any order, any number of times.
 * @param assumeAbsent tries without looking first
 * @param force whatever is there is wrong
 * @param evenSame also where what is there has this revision, and is wrong
 */
export async function writeRevision(
  bucket: KvBucket,
  key: string,
  revision: number,
  value: Buffer | undefined,
  { assumeAbsent = false, force = false, evenSame = false } = {},
): Promise<Written> {
  for (let look = !assumeAbsent; ; look = true) {
    const present = look ? await bucket.get(key) : undefined
    const known = present === undefined || force ? -1 : revisionOf(present)
    if (evenSame ? known > revision : known >= revision) return { seq: undefined, present }
    const headers = value === undefined ? { [revisionHeader]: String(revision) } : {}
    const seq = await bucket.write(key, value, present?.seq ?? 0, headers)
    if (seq !== undefined) return { seq, present }
  }
}
