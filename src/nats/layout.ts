import type { LayoutConfig } from '../config.ts'
import { MiB } from '../lib/units.ts'

/**
 * Everything that Stowage keeps in JetStream, by name. `<d>` domain, `<site>`, `<space>`, `<store>`.
 *
 * | thing        | where                                                    |
 * |--------------|----------------------------------------------------------|
 * | blocks       | Object Store buckets `<d>-<space>-<site>-<store>-<shard>`|
 * | block object | `$O.<bucket>.C.<key>`, `$O.<bucket>.M.<base64url(key)>`  |
 * | event log    | stream `<d>_events`, `<d>.evt.<site>.>`                  |
 * | its echo     | `<d>.live.<log's site>.<site>.>`: each event once stored  |
 * | read log     | stream `<d>_reads`, `<d>.reads.<site>.>`                 |
 * | commands     | stream `<d>_queue`, `<d>.queue.>` (work queue)            |
 * | dead letters | stream `<d>_dead`, `<d>.dead.>`                          |
 * | name index   | KV `<d>_names`, `<space>.<name key>` (projection)        |
 * | names of     | KV `<d>_refs`, `<space>.<root>.<name key>` (projection)  |
 * | out of view  | KV `<d>_deleted`, `<space>.<root>` (projection)          |
 * | IPNS         | KV `<d>_ipns`, `<space>.<key or domain>` (projection)    |
 * | placement    | KV `<d>_placement`: sites, stores, roots (projection)     |
 * | policy       | KV `<d>_policy`, `<space>` (projection)                  |
 * | moves        | stream `<d>_moves`, `<d>.moves.<site>.>` (work queue)     |
 * | outcomes     | KV `<d>_outcomes`, `<space>.<command id>` (projection)   |
 * | keys         | KV `<d>_keys`, `<space>.<label>` (sealed)                |
 * | tokens       | KV `<d>_tokens` (hashes only)                            |
 *
 * `key` = CIDv1 base32 with the raw codec of the block's multihash: one spelling per block.
 */
export const layoutVersion = 1

export function blockBucket(layout: LayoutConfig, shard: number): string {
  return `${layout.domain}-${layout.space}-${layout.site}-${layout.store}-${shard}`
}

/** The JetStream stream behind an Object Store bucket (ADR-20). */
export const objectStream = (bucket: string): string => `OBJ_${bucket}`

/** Where an object's bytes lie; for blocks the nuid is the block's key, so that one Direct Get reads it. */
export const chunkSubject = (bucket: string, nuid: string): string => `$O.${bucket}.C.${nuid}`

/** base64url with padding of the UTF-8 name, as the Go client writes it (the JS client's Latin-1 is wrong beyond ASCII). */
export const metaSubject = (bucket: string, name: string): string =>
  `$O.${bucket}.M.${base64UrlPadded(Buffer.from(name))}`

export function base64UrlPadded(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('base64')
    .replaceAll('+', '-')
    .replaceAll('/', '_')
}

export const eventStream = (domain: string): string => `${domain}_events`
export const eventSubjects = ({ domain, site }: Pick<LayoutConfig, 'domain' | 'site'>): string =>
  `${domain}.evt.${site}.>`

/**
 * Where the servers repeat each event once it is in their log, for whoever listens without a consumer. The subject of the
 * event itself is no place to listen: it also carries what the log then refuses.
 */
export const liveSubjects = (domain: string): string => `${domain}.live.>`
/**
 * What the log of this site repeats, events of other sites too: `<d>.live.<site of the log>.<site of the event>.…`. The echoes
 * of connected sites cross the leaf links, with the sequences of their own logs: one that counts must not hear those.
 */
export const liveSubjectsOf = ({ domain, site }: Pick<LayoutConfig, 'domain' | 'site'>): string =>
  `${domain}.live.${site}.>`

export const readStream = (domain: string): string => `${domain}_reads`
export const readSubjects = ({ domain, site }: Pick<LayoutConfig, 'domain' | 'site'>): string =>
  `${domain}.reads.${site}.>`

export const queueStream = (domain: string): string => `${domain}_queue`
export const queueSubjects = (domain: string): string => `${domain}.queue.>`
/** The consumer that all nodes of a space share. */
export const queueConsumer = (space: string): string => `workers-${space}`
export const queueFilter = (domain: string, space: string): string => `${domain}.queue.${space}.>`
export const deadStream = (domain: string): string => `${domain}_dead`
export const deadSubjects = (domain: string): string => `${domain}.dead.>`

export const nameBucket = (domain: string): string => `${domain}_names`
export const refBucket = (domain: string): string => `${domain}_refs`
export const deletedBucket = (domain: string): string => `${domain}_deleted`
export const keyBucket = (domain: string): string => `${domain}_keys`
export const ipnsBucket = (domain: string): string => `${domain}_ipns`
export const outcomeBucket = (domain: string): string => `${domain}_outcomes`
export const placementBucket = (domain: string): string => `${domain}_placement`
export const policyBucket = (domain: string): string => `${domain}_policy`
/** Copies to be made at a site, one message for each root and store. */
export const moveStream = (domain: string): string => `${domain}_moves`
export const moveSubjects = ({ domain, site }: Pick<LayoutConfig, 'domain' | 'site'>): string =>
  `${domain}.moves.${site}.>`
/** What a node says of itself every few seconds; heard by all sites that are connected. Not stored. */
export const beatSubject = (domain: string, site: string, node: string): string => `${domain}.beat.${site}.${node}`
/** What is read most at a node, every few seconds while there is something to say. Not stored. */
export const demandSubject = (domain: string, site: string, node: string): string => `${domain}.demand.${site}.${node}`
export const demandSubjects = (domain: string): string => `${domain}.demand.>`
export const beatSubjects = (domain: string): string => `${domain}.beat.>`
/** The JetStream stream behind a KV bucket (ADR-8). */
export const kvStream = (bucket: string): string => `KV_${bucket}`
/** How long the outcome of a command is known by its id. */
export const outcomeKeptSeconds = 7 * 24 * 3600
/** How long it is remembered that a key was removed, so that nothing older comes back. */
export const removalKeptSeconds = 24 * 3600

export const tokenBucket = (domain: string): string => `${domain}_tokens`

/** Parts that have streams of their own, and can be switched off. */
export type Switched = { readonly [part in 'reads' | 'placement']: { readonly on: boolean } }

/** Beside those of blocks, the streams without which a node cannot do its work. */
export const neededStreams = (domain: string, { reads, placement }: Switched): string[] => [
  eventStream(domain),
  queueStream(domain),
  deadStream(domain),
  ...(reads.on ? [readStream(domain)] : []),
  ...(placement.on ? [moveStream(domain)] : []),
  ...[
    ...[nameBucket, refBucket, deletedBucket, keyBucket, ipnsBucket, outcomeBucket, tokenBucket],
    ...(placement.on ? [placementBucket, policyBucket] : []),
  ].map((bucket) => kvStream(bucket(domain))),
]

/** What a bucket's metadata records; a store opened with other parameters would not find its blocks. */
export function bucketMetadata(layout: LayoutConfig, shard: number): Record<string, string> {
  return {
    'stowage.layout': String(layoutVersion),
    'stowage.shard': String(shard),
    'stowage.shards': String(layout.shards),
    'stowage.domain': layout.domain,
    'stowage.space': layout.space,
    'stowage.site': layout.site,
    'stowage.store': layout.store,
  }
}

/** The shard is chosen by the first bits of the digest: the text of a CID begins the same for all. */
export function shardOf(digest: Uint8Array, shards: number): number {
  return (((digest[0] ?? 0) << 8) | (digest[1] ?? 0)) >> (16 - Math.log2(shards))
}

/** Blocks from this size on go as publishes of their own; smaller ones share atomic batches. */
export const largeBlockBytes = 64 * 1024
/** Of a message that holds a chunk: subject, reply and headers, generously. */
export const messageOverheadBytes = 1024
/** JetStream's own bounds on an atomic batch are 1,000 messages; two a block. */
export const batchBlocksMax = 450
export const batchBytesMax = 4 * MiB
/** Events that share one atomic batch at the most. */
export const eventsPerBatchMax = 512
/** Subjects in one multi_last request (the server's bound is 1,024). */
export const multiGetSubjectsMax = 512
