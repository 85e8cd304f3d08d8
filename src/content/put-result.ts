import type { CID } from 'multiformats/cid'

/** What a put answers; everything in it is durable. */
export interface PutResult<Root extends CID | undefined = CID> {
  /** The root; undefined of a partial CAR that names none. */
  readonly cid: Root
  /** Content in bytes: of the file, or of all files of the directory. For a CAR: the bytes of its blocks. */
  readonly size: bigint
  /** Blocks that the upload consisted of, and how many of them the store did not hold before. */
  readonly blocks: number
  readonly newBlocks: number
  /** A CAR's roots in the order of its header; for other uploads the one root. */
  readonly roots: readonly CID[]
  /** Of a partial CAR that is not known to be whole. */
  readonly partial?: PartialPut
}

/** What a partial CAR lacks, of its roots and of what its blocks link to. */
export interface PartialPut {
  /** All of it; undefined where that is not known. */
  readonly missing: readonly CID[] | undefined
}

/** Of a put that is partial, for its reply: `missing` is null where that is not known. */
export function partialFields({ partial }: Pick<PutResult, 'partial'>) {
  return partial === undefined ? {} : { partial: true, missing: partial.missing?.map(String) ?? null }
}
