import type { CID } from 'multiformats/cid'
import type { Abortable } from '../blocks/blockstore.ts'
import type { AppError } from '../errors.ts'
import type { UnixTime } from '../lib/unix-time.ts'

/** `/ipfs/<root>/<segments…>`, decoded, without `.`, `..`, empty segments or NUL. */
export interface ContentPath {
  readonly root: CID
  readonly segments: readonly string[]
}

/** Offsets in bytes, both inclusive, as in HTTP. `end` may lie beyond the last byte. */
export interface ByteRange {
  readonly start: bigint
  readonly end: bigint
}

/**
 * file: UnixFS file or raw block. node: dag-cbor, dag-json, cbor, json, dag-pb without UnixFS, or a codec that we do not
 * know: bytes only.
 */
export type TargetKind = 'file' | 'directory' | 'symlink' | 'node'

export interface ReadOptions extends Abortable {
  /** Blocks fetched ahead of the consumer, in bytes. */
  readonly readAheadBytes: number
}

/**
 * A place in a directory's stored order: the index of a link in the root, then in the shard that it leads to, and so on.
 * Means something in one directory alone.
 */
export type Position = readonly number[]

export interface ListOptions extends Abortable {
  /** List what comes after this place; only the shards on the way to it are read for that. Default: from the beginning. */
  readonly after?: Position
}

export interface DirectoryEntry {
  readonly name: string
  readonly cid: CID
  /** The link's Tsize: the size of the DAG below it in bytes, as its writer claimed. */
  readonly dagBytes: bigint
  readonly position: Position
}

/** What a path leads to. Made by `openPath`; nothing but the blocks on the way and the terminus itself has been read. */
export interface Target {
  readonly cid: CID
  readonly kind: TargetKind
  /** One CID for the root and one for each path segment (X-Ipfs-Roots). */
  readonly roots: readonly CID[]
  /** File: its length. Symlink: that of its target text. Node: the block's length. Directory: 0. In bytes. */
  readonly size: bigint
  /** POSIX permission bits and time of change, where the UnixFS node has them. */
  readonly mode: number | undefined
  readonly mtime: UnixTime | undefined
  /**
   * Every block that was read to get here, root first, HAMT shards included, the terminus last: what a CAR of this path
   * has to hold so that its reader can verify the way.
   */
  readonly trail: readonly { readonly cid: CID; readonly bytes: Uint8Array }[]
  /**
   * Why the block cannot be read as what its codec says (damaged UnixFS, too many links): `kind` is node, `read` throws
   * this, and only the raw block, the last of `trail`, can be served.
   */
  readonly problem?: AppError
  /** The content of a file, symlink or node. It pulls: see read-file.ts. @throws AppError DAG_INVALID for a directory */
  read(range: ByteRange | undefined, options: ReadOptions): AsyncIterable<Uint8Array>
  /**
   * The entries of a directory in stored order (a HAMT: in shard order), pulled.
   * @throws AppError DAG_INVALID for others; REQUEST_INVALID for an `after` that no entry of this directory has
   */
  list(options: ListOptions): AsyncIterable<DirectoryEntry>
  /** One entry by its name, reading only the shards on the way; undefined when there is none. */
  entry(name: string, options: Abortable): Promise<DirectoryEntry | undefined>
}

/**
 * Where a path ends that leads to no block of its own. absent: the last block of the trail has nothing of the next name.
 * inside: the path ends at a value within that block.
 */
export interface DeadEnd {
  readonly kind: 'absent' | 'inside'
  /** As of `Target`, up to the last block of the trail. */
  readonly roots: readonly CID[]
  /** As of `Target`: the blocks by which a reader can see for itself that the path ends here. */
  readonly trail: Target['trail']
  /** PATH_NOT_FOUND | PATH_ENDS_IN_BLOCK: what whoever wants a target is told. */
  readonly reason: AppError
}

/** Bounds on following links; see the settings of the same names. */
export interface DagLimits {
  readonly dagDepthMax: number
  readonly dagBlocksMax: number
  readonly dagBytesMax: number
  /** Of a tar or a CAR with `dups`, which hold the same block as often as it is linked. */
  readonly dagExpandedBytesMax: number
  readonly nodeLinksMax: number
}
