import { CID } from 'multiformats/cid'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import { codecs, decodeData } from './codecs.ts'
import { decodeDagPb } from './dag-pb.ts'
import { readShard } from './hamt.ts'
import { type Directory, findEntry, listDirectory } from './list-directory.ts'
import { readFile } from './read-file.ts'
import type { ContentPath, DagLimits, Target } from './target.ts'
import { decodeUnixfs, type FileNode, rawFile, type Unixfs } from './unixfs.ts'

export interface OpenOptions extends Abortable {
  readonly limits: DagLimits
}

type Source = Pick<Blockstore, 'get' | 'getBatch'>

interface Block {
  readonly cid: CID
  readonly bytes: Uint8Array
}

/** What a block is, read no further than the block itself. */
type View =
  | { readonly kind: 'file'; readonly file: FileNode; readonly unixfs?: Unixfs }
  | { readonly kind: 'directory'; readonly directory: Directory; readonly unixfs: Unixfs }
  | { readonly kind: 'symlink'; readonly unixfs: Unixfs }
  | { readonly kind: 'node'; readonly problem?: AppError }

/**
 * Follows a path from its root, one block at a time. Symlinks on the way are not followed.
 * @throws AppError PATH_NOT_FOUND (no such name), CODEC_UNSUPPORTED (the path goes into a codec without paths),
 * PATH_ENDS_IN_BLOCK (it ends at a value that is no link), DAG_INVALID (a block on the way is damaged; a damaged terminus is a target with a `problem`);
 * as `Blockstore.get` for every block on the way
 */
export async function openPath(path: ContentPath, blocks: Source, options: OpenOptions): Promise<Target> {
  const { signal, limits } = options
  const trail: Block[] = []
  const roots: CID[] = []
  const enter = async (cid: CID): Promise<Block> => {
    const block = { cid, bytes: await blocks.get(cid, { signal }) }
    trail.push(block)
    roots.push(cid)
    return block
  }
  let block = await enter(path.root)
  let depth = 0
  while (depth < path.segments.length) {
    const rest = path.segments.slice(depth)
    if (block.cid.code === codecs.dagCbor || block.cid.code === codecs.dagJson) {
      const { cid, used } = followData(block, rest)
      for (let inside = 1; inside < used; inside++) roots.push(block.cid)
      depth += used
      block = await enter(cid)
      continue
    }
    const directory = directoryOf(block, rest[0] ?? '', limits)
    const found = await findEntry(directory, rest[0] ?? '', blocks, options)
    if (found === undefined) throw notFound(rest[0] ?? '', `${block.cid} has no entry of that name`)
    for (const { cid, bytes } of found.shards) trail.push({ cid, bytes })
    depth++
    block = await enter(found.entry.cid)
  }
  return targetOf(block, roots, trail, blocks, limits)
}

/** What one block is, without a path to it: its trail is the block alone. */
export function openBlock(block: Block, blocks: Source, { limits }: Pick<OpenOptions, 'limits'>): Target {
  return targetOf(block, [block.cid], [block], blocks, limits)
}

function notFound(segment: string, why: string, hint?: string): AppError {
  const shown = segment.length > 100 ? `${segment.slice(0, 100)}…` : segment
  return new AppError('PATH_NOT_FOUND', `${JSON.stringify(shown)} was not found: ${why}`, hint ? { hint } : {})
}

/** The directory that a further segment is looked up in. */
function directoryOf(block: Block, segment: string, limits: DagLimits): Directory {
  const view = viewOf(block, limits)
  switch (view.kind) {
    case 'directory':
      return view.directory
    case 'file':
      throw notFound(segment, `${block.cid} is a file`)
    case 'symlink':
      throw notFound(segment, `${block.cid} is a symlink`, 'symlinks inside a path are not followed')
    case 'node':
      throw (
        view.problem ??
        new AppError('CODEC_UNSUPPORTED', `there are no paths in codec 0x${block.cid.code.toString(16)} (${block.cid})`)
      )
  }
}

/** Goes through map keys and list indexes up to the first link. @returns how many segments that took, and the link */
function followData(block: Block, segments: readonly string[]): { cid: CID; used: number } {
  let value = decodeData(block.cid, block.bytes)
  for (const [index, segment] of segments.entries()) {
    value = memberOf(value, segment)
    if (value === undefined) throw notFound(segment, `${block.cid} has no such field`)
    const cid = typeof value === 'object' && value !== null ? CID.asCID(value) : null
    if (cid !== null) return { cid, used: index + 1 }
  }
  throw new AppError('PATH_ENDS_IN_BLOCK', `the path ends at a value inside the block ${block.cid}`, {
    hint: 'only whole blocks are served: end the path at a link',
  })
}

function memberOf(value: unknown, segment: string): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return undefined
  if (Array.isArray(value)) return /^(0|[1-9]\d{0,9})$/.test(segment) ? value[Number(segment)] : undefined
  return Object.hasOwn(value, segment) ? Reflect.get(value, segment) : undefined
}

function viewOf(block: Block, limits: DagLimits): View {
  if (block.cid.code === codecs.raw) return { kind: 'file', file: rawFile(block.bytes) }
  if (block.cid.code !== codecs.dagPb) return { kind: 'node' }
  try {
    return unixfsView(block, limits)
  } catch (error) {
    if (isAppError(error)) return { kind: 'node', problem: error }
    throw error
  }
}

function unixfsView(block: Block, limits: DagLimits): View {
  const node = decodeDagPb(block.bytes, limits)
  if (node.data === undefined) return { kind: 'node' }
  const unixfs = decodeUnixfs(node)
  const { links } = node
  switch (unixfs.type) {
    case 'file':
    case 'raw': {
      const { data, blockSizes, size } = unixfs
      return { kind: 'file', file: { data, links, blockSizes, size }, unixfs }
    }
    case 'directory':
      return { kind: 'directory', directory: { kind: 'flat', links }, unixfs }
    case 'hamt':
      return { kind: 'directory', directory: { kind: 'sharded', root: readShard(unixfs, links) }, unixfs }
    case 'symlink':
      return { kind: 'symlink', unixfs }
    case 'metadata':
      throw new AppError('DAG_INVALID', `${block.cid} is a UnixFS node of type metadata, which nobody reads`)
  }
}

function targetOf(
  block: Block,
  roots: readonly CID[],
  trail: readonly Block[],
  blocks: Source,
  limits: DagLimits,
): Target {
  const view = viewOf(block, limits)
  const directory = (): Directory => {
    if (view.kind === 'directory') return view.directory
    throw problemOf(view) ?? new AppError('DAG_INVALID', `${block.cid} is not a directory`)
  }
  return {
    cid: block.cid,
    kind: view.kind,
    roots,
    trail,
    size: sizeOf(view, block),
    mode: unixfsOf(view)?.mode,
    mtime: unixfsOf(view)?.mtime,
    ...(view.kind === 'node' && view.problem !== undefined ? { problem: view.problem } : {}),
    read: (range, options) => readFile(contentOf(view, block), range, blocks, { ...options, limits }),
    list: (options) => listDirectory(directory(), blocks, { ...options, limits }),
    entry: async (name, { signal }) => (await findEntry(directory(), name, blocks, { signal, limits }))?.entry,
  }
}

function unixfsOf(view: View): Unixfs | undefined {
  return view.kind === 'node' ? undefined : view.unixfs
}

function problemOf(view: View): AppError | undefined {
  return view.kind === 'node' ? view.problem : undefined
}

function sizeOf(view: View, block: Block): bigint {
  switch (view.kind) {
    case 'file':
      return view.file.size
    case 'directory':
      return 0n
    case 'symlink':
      return BigInt(view.unixfs.data.byteLength)
    case 'node':
      return BigInt(block.bytes.byteLength)
  }
}

function contentOf(view: View, block: Block): FileNode {
  switch (view.kind) {
    case 'file':
      return view.file
    case 'directory':
      throw new AppError('DAG_INVALID', `${block.cid} is a directory; it has no content of its own`)
    case 'symlink':
      return rawFile(view.unixfs.data)
    case 'node':
      if (view.problem !== undefined) throw view.problem
      return rawFile(block.bytes)
  }
}
