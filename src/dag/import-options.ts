import type { Abortable } from '../blocks/blockstore.ts'

/** CID profiles of IPIP-499. */
export const profiles = ['unixfs-v1-2025', 'unixfs-v0-2015'] as const
export type Profile = (typeof profiles)[number]

export interface ImportOptions extends Abortable {
  readonly profile: Profile
  /** Bytes of a chunk; undefined = the profile's (1 MiB, 256 KiB). 1 KiB to 2 MiB - 128 bytes. */
  readonly chunkBytes?: number
  /** Leaves as raw blocks; undefined = the profile's. */
  readonly rawLeaves?: boolean
  /** Trickle layout instead of balanced. */
  readonly trickle?: boolean
}

/** One thing in a directory tree, in any order; parents need not come first. */
export type ImportEntry =
  | {
      readonly kind: 'file'
      readonly path: string
      readonly content: AsyncIterable<Uint8Array>
      readonly attributes: Attributes
    }
  | { readonly kind: 'directory'; readonly path: string; readonly attributes: Attributes }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string; readonly attributes: Attributes }

/** Kept in the DAG only where the caller asked for them: they change the CID. */
export interface Attributes {
  readonly mode?: number
  readonly mtime?: Date
}
