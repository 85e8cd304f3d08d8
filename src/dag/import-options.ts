import type { CID } from 'multiformats/cid'
import type { Abortable, WriteStats } from '../blocks/blockstore.ts'
import type { BufferPool } from '../lib/buffer-pool.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { UnixTime } from '../lib/unix-time.ts'

/** CID profiles of IPIP-499. */
export const profiles = ['unixfs-v1-2025', 'unixfs-v0-2015'] as const
export type Profile = (typeof profiles)[number]

/** The upper bound leaves room for the UnixFS wrapping of a leaf in a block of 2 MiB. */
export const chunkBytesMin = KiB
export const chunkBytesMax = 2 * MiB - 128

export interface ImportOptions extends Abortable {
  readonly profile: Profile
  /** Bytes of a chunk; undefined = the profile's (1 MiB, 256 KiB). 1 KiB to 2 MiB - 128 bytes. */
  readonly chunkBytes?: number
  /** Leaves as raw blocks; undefined = the profile's. */
  readonly rawLeaves?: boolean
  /** Where chunks of its size come from, for uploads that should leave no garbage. */
  readonly pool?: BufferPool | undefined
  /** Trickle layout instead of balanced. */
  readonly trickle?: boolean
}

export interface DirectoryImportOptions extends ImportOptions {
  /** Most files and directories, those that only paths name included. Default: no bound. */
  readonly entriesMax?: number
  /** The root is always the directory that holds the entries, also when there is but one at the top. */
  readonly wrap?: boolean
  /** Entries with a path segment that starts with a dot are imported too; otherwise they are left out. */
  readonly hidden?: boolean
}

/**
 * One thing in a directory tree, in any order; parents need not come first. `content` is read before the next entry is
 * asked for; what is left of it then is skipped by the source.
 */
export type ImportEntry =
  | {
      readonly kind: 'file'
      readonly path: string
      readonly content: AsyncIterable<Uint8Array>
      readonly attributes: Attributes
    }
  | { readonly kind: 'directory'; readonly path: string; readonly attributes: Attributes }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string; readonly attributes: Attributes }
  /** The same file again; `source` is the path of one that came before. */
  | { readonly kind: 'copy'; readonly path: string; readonly source: string }

/** Kept in the DAG only where the caller asked for them: they change the CID. A symlink keeps no mode, as Kubo has it. */
export interface Attributes {
  readonly mode?: number
  readonly mtime?: UnixTime
}

export interface ImportResult extends WriteStats {
  readonly cid: CID
  /** Bytes of content: of the file, or of all files of the directory. */
  readonly size: bigint
}
