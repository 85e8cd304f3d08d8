import type { CID } from 'multiformats/cid'

/** What a put answers; everything in it is durable. */
export interface PutResult {
  /** The root. */
  readonly cid: CID
  /** Content in bytes: of the file, or of all files of the directory. For a CAR: the bytes of its blocks. */
  readonly size: bigint
  /** Blocks that the upload consisted of, and how many of them the store did not hold before. */
  readonly blocks: number
  readonly newBlocks: number
  /** A CAR's roots in the order of its header; for other uploads the one root. */
  readonly roots: readonly CID[]
}
