import type { Fault } from '../blocks/scan-shard.ts'
import type { StoreRef } from '../blocks/store-ref.ts'
import type { BucketPlace } from '../blocks/stores.ts'
import type { CopySize } from './copy-events.ts'

/** A rate that work of one kind shares: what is asked with another rate changes it. */
export interface Pace {
  readonly lane: 'copies' | 'scrub'
  /** Of what is read. */
  readonly bytesPerSecond: number
}

export interface DagJob {
  readonly root: string
  readonly at: BucketPlace
  readonly pace: Pace
  /** Of content that was taken in as partial: as `RootFacts.missing`. Undefined = nothing may be absent. */
  readonly missing?: readonly string[] | null | undefined
}

export interface CopyJob extends DagJob {
  /** Where what `at` lacks is read, the best first. */
  readonly from: readonly BucketPlace[]
  /**
   * `at` is expected to have little of it: it is asked what it has before it is read, and what nobody gives while a place of
   * `from` cannot be asked is STORE_UNAVAILABLE.
   */
  readonly isNew: boolean
}

export interface ScanJob {
  readonly at: BucketPlace
  readonly shard: number
  readonly fromSeq: number
  readonly pace: Pace
  /** Bytes without a meta that are younger may be a put under way. */
  readonly graceMs: number | undefined
}

/** As `ScanPage` of blocks/scan-shard.ts, with CIDs as text. */
export interface ScannedPage {
  readonly blocks: number
  readonly bytes: number
  readonly findings: readonly { readonly cid: string; readonly fault: Fault }[]
  readonly nextSeq: number
}

/** Blocks that were copied to where they were missing or damaged. */
export interface Mended {
  readonly count: number
  readonly first: { readonly cid: string; readonly from: StoreRef }
}

export interface BulkOptions {
  readonly signal: AbortSignal
  /** Now and then, and at the end, also of work that fails: sums so far. */
  readonly onProgress?: (size: CopySize) => void
}

export interface CopyOptions extends BulkOptions {
  /** At most once, also when the copy then fails. */
  readonly onMended?: (mended: Mended) => void
}

export interface ScanOptions {
  readonly signal: AbortSignal
  /** The next page comes once it resolves. */
  readonly onPage: (page: ScannedPage) => Promise<void>
}

/** What reads and hashes whole stores and DAGs in the background: in this thread, or in one of its own. */
export interface Bulk {
  /** As `copyDag`. */
  copy(job: CopyJob, options: CopyOptions): Promise<CopySize & { readonly newBlocks: number }>
  /** As `verifyDag`. */
  verify(job: DagJob, options: BulkOptions): Promise<CopySize>
  /** As `scanShard`. */
  scan(job: ScanJob, options: ScanOptions): Promise<void>
}
