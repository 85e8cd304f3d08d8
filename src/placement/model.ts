import type { StoreRef } from '../blocks/store-ref.ts'
import type { Words } from '../names/object-life.ts'

/**
 * What placement speaks of. A copy is a whole DAG, every block of it verified, in one store; location is kept for each
 * root, not for each block.
 */

/** A place with its own JetStream, which works alone. */
export interface SiteRecord {
  readonly site: string
  /** Its JetStream is reached as `$JS.<jetstreamDomain>.API` from elsewhere. */
  readonly jetstreamDomain: string
  /** `region`, `zone`, `role` and whatever else the domain's policy speaks of. */
  readonly labels: Readonly<Record<string, string>>
  /** removed: it left for good, and what it held counts no more. */
  readonly state: 'active' | 'removed'
}

export interface StoreRecord extends StoreRef {
  readonly shards: number
  /** Really set on its streams. */
  readonly replicas: number
  /** Failure domains that its replicas lie in: one for a single replica or an unknown spread. */
  readonly zones: readonly string[]
  /** draining: it is read, takes nothing new, and is emptied. removed: it is gone. */
  readonly state: 'active' | 'draining' | 'removed'
  /** When its buckets were made, RFC 3339: a copy that was verified before lay in another one of that name. */
  readonly createdAt: string
  /** Whether it takes puts; the others hold copies only. */
  readonly primary: boolean
  /** Undefined = not known, taken for enough. In bytes. */
  readonly freeBytes: number | undefined
  readonly usedBytes: number
}

/** Sites and stores as the log and their heartbeats have them. Sorted by name, so that equal inventories are equal bytes. */
export interface Inventory {
  readonly sites: readonly (SiteRecord & {
    /** Heard within the time that the settings give it. */
    readonly up: boolean
  })[]
  readonly stores: readonly StoreRecord[]
}

export interface Copy extends StoreRef {
  /**
   * requested: on its way. verified: it was there, whole, at `verifiedAt`. removing: asked to be dropped; it counts no more.
   * failed: the last try did not succeed, or verification found it damaged.
   */
  readonly state: 'requested' | 'verified' | 'removing' | 'failed'
  /** RFC 3339; of the last time that every block was hashed. Undefined = never. */
  readonly verifiedAt: string | undefined
  /** Of the last event about it. */
  readonly eventId: string
  /** What was hashed last, or put, was not all of the DAG: see `RootFacts.missing`. */
  readonly partial?: true | undefined
}

/** What is known of one root, folded from the log. */
export interface RootFacts {
  /** CIDv1 base32 as it was put. */
  readonly root: string
  /** Of all its blocks together; undefined where nobody counted. In bytes. */
  readonly bytes: number | undefined
  readonly blocks: number | undefined
  /** Where it was put first: that site decides which surplus copies go. */
  readonly originSite: string
  readonly owner: string
  readonly mediaType: string | null
  readonly addedAt: string
  /** By `said`. It is out of view where no name holds it either, and no copy of it is wanted any more. */
  readonly deleted: boolean
  /** Puts and deletions: of each site the last. */
  readonly said: Words
  /** Sorted by site and store. */
  readonly copies: readonly Copy[]
  /** What the log last said of the policy for it; undefined = nothing yet. */
  readonly told: 'satisfied' | 'degraded' | undefined
  /** Its bytes are gone everywhere, as far as anyone knows. */
  readonly lost: boolean
  /**
   * Taken in as partial: keys of what was never put (see `rootKey`), sorted; null where that is not known. It says something only
   * until the root is known to be `whole`: see `partOf` of partial.ts.
   */
  readonly missing?: readonly string[] | null | undefined
  /** Somebody has put all of it, or hashed all of it, at some time: whatever is missing since then is lost. */
  readonly whole?: true | undefined
  /** Sequence of the last event folded in. */
  readonly revision: number
  /** That of the last `copy` event: what a decision about copies goes by, as a compare-and-set. 0 = none. */
  readonly copyRevision: number
  /** Of the put that brought it: all that is done for it belongs to that undertaking. */
  readonly correlation: string
  /** Id of the last event folded in: what the next one is caused by. */
  readonly lastEventId: string
}

/** Someone at a place shows this content: a website, a service. Pulls it there, unasked. */
export interface ProjectionRecord {
  readonly id: string
  readonly site: string
  /** A name (or name prefix ending in `/`), or a CID. */
  readonly subject: { readonly name: string } | { readonly cid: string }
}

/** Reads a minute, decayed, by the site that they came to. */
export type Demand = Readonly<Record<string, number>>

/** What a policy's rules may ask about, beside the facts themselves. */
export interface RootContext {
  readonly names: readonly string[]
  readonly demand: Demand
  /** Sites that project it. */
  readonly projectedAt: readonly string[]
}
