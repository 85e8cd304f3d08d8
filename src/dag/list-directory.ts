import type { Abortable, Blockstore, Want } from '../blocks/blockstore.ts'
import type { Fetched } from '../blocks/get-many.ts'
import { AppError } from '../errors.ts'
import type { PbLinks } from './dag-pb.ts'
import { decodeSubShard, entryName, hashName, isSubShard, linkFor, type Shard } from './hamt.ts'
import { ShardsAhead } from './shards-ahead.ts'
import type { DagLimits, DirectoryEntry, ListOptions, Position } from './target.ts'

export type Directory =
  | { readonly kind: 'flat'; readonly links: PbLinks }
  | { readonly kind: 'sharded'; readonly root: Shard }

export interface DirectoryOptions extends Abortable {
  readonly limits: Pick<DagLimits, 'dagBlocksMax' | 'nodeLinksMax'>
}

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

async function* listShards(
  root: Shard,
  blocks: Pick<Blockstore, 'getBatch'>,
  { signal, limits, after = [] }: DirectoryOptions & ListOptions,
): AsyncGenerator<DirectoryEntry, void, undefined> {
  const shards = new ShardsAhead(blocks, { signal, limits, firstOf: (shard, path) => firstOf(shard, path, after) })
  const frames = [shards.open(root, [])]
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
      if (++visited > limits.dagBlocksMax) {
        throw new AppError('LIMIT_EXCEEDED', `the directory has more than ${limits.dagBlocksMax} shards`, {
          hint: 'the setting DAG_BLOCKS_MAX bounds it',
          limit: 'dag_blocks',
        })
      }
      frames.push(await shards.take(frames))
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

export interface EntryLookup {
  /** Undefined: the directory has no such name, as the root and `shards` show. */
  readonly entry: DirectoryEntry | undefined
  /** The shards below the root that were read for it, down to the one that has the name or the place where it would be. */
  readonly shards: readonly Fetched<Want>[]
}

/**
 * Looks an entry up by its exact bytes; the first, where a directory has the name twice. Only the shards on the way are read.
 * @throws AppError DAG_INVALID; as `Blockstore.get`
 */
export async function findEntry(
  directory: Directory,
  name: string,
  blocks: Pick<Blockstore, 'get'>,
  options: DirectoryOptions,
): Promise<EntryLookup> {
  const wanted = Buffer.from(name, 'utf8')
  if (directory.kind === 'sharded') return findInShards(directory.root, name, wanted, blocks, options)
  const { links } = directory
  for (let index = 0; index < links.count; index++) {
    if (wanted.equals(links.nameBytes(index))) return { entry: entryAt(links, [index], name), shards: [] }
  }
  return { entry: undefined, shards: [] }
}

async function findInShards(
  root: Shard,
  name: string,
  wanted: Buffer,
  blocks: Pick<Blockstore, 'get'>,
  { signal, limits }: DirectoryOptions,
): Promise<EntryLookup> {
  const hash = await hashName(wanted)
  const shards: Fetched<Want>[] = []
  const path: number[] = []
  let shard = root
  for (let depth = 0; ; depth++) {
    const index = linkFor(shard, hash, depth)
    if (index === undefined) return { entry: undefined, shards }
    path.push(index)
    if (!isSubShard(shard, index)) {
      const isWanted = wanted.equals(entryName(shard, index))
      return { entry: isWanted ? entryAt(shard.links, path, name) : undefined, shards }
    }
    const cid = shard.links.cid(index)
    const bytes = await blocks.get(cid, { signal })
    shards.push({ want: { cid }, cid, bytes })
    shard = decodeSubShard(cid, bytes, shard, limits)
  }
}
