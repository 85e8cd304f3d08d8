import type { Abortable, Blockstore, Want } from '../blocks/blockstore.ts'
import { type Fetched, getMany } from '../blocks/get-many.ts'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import type { PbLinks } from './dag-pb.ts'
import { checkDepth, decodeSubShard, entryName, hashName, isSubShard, linkFor, type Shard } from './hamt.ts'
import type { DagLimits, DirectoryEntry, ListOptions, Position } from './target.ts'

export type Directory =
  | { readonly kind: 'flat'; readonly links: PbLinks }
  | { readonly kind: 'sharded'; readonly root: Shard }

export interface DirectoryOptions extends Abortable {
  readonly limits: Pick<DagLimits, 'dagBlocksMax' | 'nodeLinksMax'>
}

/** A shard of 256 slots is seldom larger. */
const shardBytes = 16 * KiB
/** Shards fetched ahead below the root; half as much at each level further down. */
const readAheadBytes = 256 * KiB

/**
 * The entries in stored order, as the consumer pulls; of a sharded directory depth first, and no shard is read before the
 * entries ahead of it were taken, but for a bounded read-ahead. Names are as stored: they may be `..`, hold `/` or markup;
 * bytes that are no UTF-8 show as U+FFFD.
 * @throws AppError DAG_INVALID | LIMIT_EXCEEDED (more than `dagBlocksMax` shards); as `Blockstore.get`
 */
export function listDirectory(
  directory: Directory,
  blocks: Pick<Blockstore, 'getBatch'>,
  options: DirectoryOptions & ListOptions,
): AsyncGenerator<DirectoryEntry, void, undefined> {
  return directory.kind === 'flat' ? listFlat(directory.links, options) : listShards(directory.root, blocks, options)
}

async function* listFlat(
  links: PbLinks,
  { signal, after }: ListOptions,
): AsyncGenerator<DirectoryEntry, void, undefined> {
  const [last = -1, deeper] = after ?? []
  if (after !== undefined && (deeper !== undefined || !isLink(links, last))) throw noSuchPosition()
  for (let index = last + 1; index < links.count; index++) {
    signal.throwIfAborted()
    yield entryAt(links, [index], links.name(index))
  }
}

function entryAt(links: PbLinks, position: Position, name: string): DirectoryEntry {
  const index = position.at(-1) ?? 0
  return { name, cid: links.cid(index), dagBytes: links.dagBytes(index) ?? 0n, position }
}

const isLink = (links: PbLinks, index: number): boolean => Number.isInteger(index) && index >= 0 && index < links.count

function noSuchPosition(): AppError {
  return new AppError('REQUEST_INVALID', 'no entry of this directory is at the place to go on after', {
    hint: 'start with the first page',
  })
}

interface Frame {
  readonly shard: Shard
  /** Where the shard is: the position of its entries but for their last number. */
  readonly path: Position
  readonly subShards: AsyncGenerator<Fetched<Want>, void, undefined>
  next: number
}

async function* listShards(
  root: Shard,
  blocks: Pick<Blockstore, 'getBatch'>,
  { signal, limits, after = [] }: DirectoryOptions & ListOptions,
): AsyncGenerator<DirectoryEntry, void, undefined> {
  const open = (shard: Shard, path: Position): Frame => {
    const depth = path.length
    checkDepth(shard, depth)
    const next = firstOf(shard, path, after)
    const ahead = readAheadBytes >> depth
    const wants = subShardWants(shard, next)
    const subShards = getMany(blocks, wants, { signal, readAheadBytes: ahead < shardBytes ? 0 : ahead })
    return { shard, path, subShards, next }
  }
  const frames = [open(root, [])]
  let visited = 1
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    signal.throwIfAborted()
    const index = frame.next++
    const { shard, path } = frame
    if (index >= shard.links.count) {
      frames.pop()
    } else if (!isSubShard(shard, index)) {
      yield entryAt(shard.links, [...path, index], Buffer.from(entryName(shard, index)).toString('utf8'))
    } else {
      const fetched = (await frame.subShards.next()).value
      if (fetched === undefined) throw new Error('fewer shards than links to them')
      if (++visited > limits.dagBlocksMax) {
        throw new AppError('LIMIT_EXCEEDED', `the directory has more than ${limits.dagBlocksMax} shards`, {
          hint: 'the setting DAG_BLOCKS_MAX bounds it',
          limit: 'dag_blocks',
        })
      }
      frames.push(open(decodeSubShard(fetched.cid, fetched.bytes, shard, limits), [...path, index]))
    }
  }
}

/** The first link of a shard that is listed: on the way to `after` the one that leads there, at its end the one behind it. */
function firstOf(shard: Shard, path: Position, after: Position): number {
  const index = after[path.length]
  if (index === undefined || path.some((step, depth) => step !== after[depth])) return 0
  const isLast = path.length === after.length - 1
  if (!isLink(shard.links, index) || isSubShard(shard, index) === isLast) throw noSuchPosition()
  return isLast ? index + 1 : index
}

function* subShardWants(shard: Shard, first: number): Generator<Want, void, undefined> {
  for (let index = first; index < shard.links.count; index++) {
    if (isSubShard(shard, index)) yield { cid: shard.links.cid(index), bytes: shardBytes }
  }
}

export interface FoundEntry {
  readonly entry: DirectoryEntry
  /** The shards below the root that were read to find it. */
  readonly shards: readonly Fetched<Want>[]
}

/**
 * One entry by its exact bytes; the first, where a directory has the name twice. Only the shards on the way are read.
 * @throws AppError DAG_INVALID; as `Blockstore.get`
 */
export async function findEntry(
  directory: Directory,
  name: string,
  blocks: Pick<Blockstore, 'get'>,
  options: DirectoryOptions,
): Promise<FoundEntry | undefined> {
  const wanted = Buffer.from(name, 'utf8')
  if (directory.kind === 'sharded') return findInShards(directory.root, name, wanted, blocks, options)
  const { links } = directory
  for (let index = 0; index < links.count; index++) {
    if (wanted.equals(links.nameBytes(index))) return { entry: entryAt(links, [index], name), shards: [] }
  }
  return undefined
}

async function findInShards(
  root: Shard,
  name: string,
  wanted: Buffer,
  blocks: Pick<Blockstore, 'get'>,
  { signal, limits }: DirectoryOptions,
): Promise<FoundEntry | undefined> {
  const hash = await hashName(wanted)
  const shards: Fetched<Want>[] = []
  const path: number[] = []
  let shard = root
  for (let depth = 0; ; depth++) {
    const index = linkFor(shard, hash, depth)
    if (index === undefined) return undefined
    path.push(index)
    if (!isSubShard(shard, index)) {
      if (!wanted.equals(entryName(shard, index))) return undefined
      return { entry: entryAt(shard.links, path, name), shards }
    }
    const cid = shard.links.cid(index)
    const bytes = await blocks.get(cid, { signal })
    shards.push({ want: { cid }, cid, bytes })
    shard = decodeSubShard(cid, bytes, shard, limits)
  }
}
