import { canonicalJson, type Json } from '../../src/events/canonical.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { placementBucket } from '../../src/nats/layout.ts'

/** By the order of one site's log: an event has another sequence at each, and of two sites' events another one may be last. */
const localFields = ['revision', 'copyRevision', 'lastEventId']

/** What a site knows of all roots, by root key, as bytes that are equal where two sites know the same. */
export async function factsBytes(
  nats: Nats,
  { domain = 'stowage', space = 'main' } = {},
): Promise<Map<string, string>> {
  const bucket = await KvBucket.open(nats, placementBucket(domain), { replicas: 1, waitMs: 5_000, description: 'test' })
  const records = await bucket.getMatching(`${space}.root.>`)
  return new Map(
    records.map(({ key, value }) => {
      const fields = Object.entries(JSON.parse(value.toString('utf8')) as Record<string, Json>)
      const common = Object.fromEntries(fields.filter(([name]) => !localFields.includes(name)))
      return [key, Buffer.from(canonicalJson(common)).toString('utf8')] as const
    }),
  )
}

/** Each root that two sites do not know alike, as both have it. Empty = they agree byte for byte. */
export async function differingFacts(
  a: Nats,
  b: Nats,
): Promise<readonly (readonly [string, string | undefined, string | undefined])[]> {
  const [one, other] = await Promise.all([factsBytes(a), factsBytes(b)])
  const keys = [...new Set([...one.keys(), ...other.keys()])].sort()
  return keys.flatMap((key) => (one.get(key) === other.get(key) ? [] : [[key, one.get(key), other.get(key)] as const]))
}
