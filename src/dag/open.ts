import { CID } from 'multiformats/cid'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import { codecs, decodeData } from './codecs.ts'
import { decodeDagPb, type PbLinks } from './dag-pb.ts'
import { readShard } from './hamt.ts'
import { type Directory, findEntry, listDirectory } from './list-directory.ts'
import { readFile } from './read-file.ts'
import type { ContentPath, DagLimits, DeadEnd, Target } from './target.ts'
import { decodeUnixfs, type FileNode, isUnixfs, rawFile, type Unixfs } from './unixfs.ts'

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
  | {
      readonly kind: 'node'
      readonly problem?: AppError
      /** Of dag-pb without UnixFS data: its links have names all the same. */
      readonly links?: PbLinks
    }

/**
 * Follows a path from its root, one block at a time. Symlinks on the way are not followed.
 * @throws AppError PATH_NOT_FOUND (no such name), CODEC_UNSUPPORTED (the path goes into a codec without paths),
 * PATH_ENDS_IN_BLOCK (it ends at a value that is no link), DAG_INVALID (a block on the way is damaged; a damaged terminus is a target with a `problem`);
 * as `Blockstore.get` for every block on the way
 */
export async function openPath(path: ContentPath, blocks: Source, options: OpenOptions): Promise<Target> {
  const end = await followPath(path, blocks, options)
  if ('reason' in end) throw end.reason
  return end
}

/**
 * As `openPath`, but a path that leads to no block is no failure: its end is told with the blocks that show it.
 * @throws AppError CODEC_UNSUPPORTED | DAG_INVALID; as `Blockstore.get` for every block on the way
 */
export async function followPath(path: ContentPath, blocks: Source, options: OpenOptions): Promise<Target | DeadEnd> {
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
  for (let depth = 0; depth < path.segments.length; ) {
    const rest = path.segments.slice(depth)
    const step = hasFields(block) ? followData(block, rest) : await followName(block, rest[0] ?? '', blocks, options)
    trail.push(...step.shards)
    if (step.cid === undefined) return { kind: step.kind, roots, trail, reason: step.reason }
    for (let inside = 1; inside < step.used; inside++) roots.push(block.cid)
    depth += step.used
    block = await enter(step.cid)
  }
  return targetOf(block, roots, trail, blocks, limits)
}

/** What the next segments of a path lead to: a link and how many of them that took, or why there is none. */
type PathStep = { readonly shards: readonly Block[] } & (
  | { readonly cid: CID; readonly used: number }
  | ({ readonly cid: undefined } & Pick<DeadEnd, 'kind' | 'reason'>)
)

const absent = (reason: AppError, shards: readonly Block[] = []): PathStep => {
  return { kind: 'absent', cid: undefined, reason, shards }
}

/** What one block is, without a path to it: its trail is the block alone. */
export function openBlock(block: Block, blocks: Source, { limits }: Pick<OpenOptions, 'limits'>): Target {
  return targetOf(block, [block.cid], [block], blocks, limits)
}

function notFound(segment: string, why: string, hint?: string): AppError {
  const shown = segment.length > 100 ? `${segment.slice(0, 100)}…` : segment
  return new AppError('PATH_NOT_FOUND', `${JSON.stringify(shown)} was not found: ${why}`, hint ? { hint } : {})
}

/** Looks the segment up among the names of a directory, or of a dag-pb node that has names and no UnixFS data. */
async function followName(block: Block, segment: string, blocks: Source, options: OpenOptions): Promise<PathStep> {
  const view = viewOf(block, options.limits)
  switch (view.kind) {
    case 'directory':
      return await findName(block, view.directory, segment, blocks, options)
    case 'file':
      return absent(notFound(segment, `${block.cid} is a file`))
    case 'symlink':
      return absent(notFound(segment, `${block.cid} is a symlink`, 'symlinks inside a path are not followed'))
    case 'node':
      if (view.links === undefined) throw view.problem ?? withoutPaths(block.cid)
      return await findName(block, { kind: 'flat', links: view.links }, segment, blocks, options)
  }
}

async function findName(
  block: Block,
  directory: Directory,
  segment: string,
  blocks: Source,
  options: OpenOptions,
): Promise<PathStep> {
  const { entry, shards } = await findEntry(directory, segment, blocks, options)
  const read = shards.map(({ cid, bytes }) => ({ cid, bytes }))
  if (entry === undefined) return absent(notFound(segment, `${block.cid} has no entry of that name`), read)
  return { cid: entry.cid, used: 1, shards: read }
}

function withoutPaths(cid: CID): AppError {
  return new AppError('CODEC_UNSUPPORTED', `there are no paths in codec 0x${cid.code.toString(16)} (${cid})`)
}

const hasFields = ({ cid }: Block): boolean => cid.code === codecs.dagCbor || cid.code === codecs.dagJson

/** Goes through map keys and list indexes up to the first link. */
function followData(block: Block, segments: readonly string[]): PathStep {
  let value = decodeData(block.cid, block.bytes)
  for (const [index, segment] of segments.entries()) {
    value = memberOf(value, segment)
    if (value === undefined) return absent(notFound(segment, `${block.cid} has no such field`))
    const cid = typeof value === 'object' && value !== null ? CID.asCID(value) : null
    if (cid !== null) return { cid, used: index + 1, shards: [] }
  }
  const reason = new AppError('PATH_ENDS_IN_BLOCK', `the path ends at a value inside the block ${block.cid}`, {
    hint: 'only whole blocks are served: end the path at a link',
  })
  return { kind: 'inside', cid: undefined, reason, shards: [] }
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

function notUnixfs(cid: CID): AppError {
  return new AppError('DAG_INVALID', `${cid} is dag-pb, and its data is not valid UnixFS: it has no Type`)
}

function unixfsView(block: Block, limits: DagLimits): View {
  const node = decodeDagPb(block.bytes, limits)
  const { links } = node
  if (node.data === undefined) return { kind: 'node', links }
  if (!isUnixfs(node.data)) return { kind: 'node', links, problem: notUnixfs(block.cid) }
  const unixfs = decodeUnixfs(node)
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
    entry: async (name, { signal }) => (await findEntry(directory(), name, blocks, { signal, limits })).entry,
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
