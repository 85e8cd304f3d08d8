import type { CID } from 'multiformats/cid'
import type { Abortable, Blockstore, Want } from '../blocks/blockstore.ts'
import { isMissing } from '../blocks/routed.ts'
import { codecs, linksOf } from '../dag/codecs.ts'
import { decodeDagPb } from '../dag/dag-pb.ts'
import type { DirectoryEntry, Target, TargetKind } from '../dag/target.ts'
import { decodeUnixfs } from '../dag/unixfs.ts'
import { AppError, isAppError } from '../errors.ts'
import { mapAhead } from '../lib/streams.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { UnixTime } from '../lib/unix-time.ts'
import type { JudgeFailure } from './judged-get.ts'

/** Of one node, read from its own block. */
export interface Description {
  readonly kind: TargetKind
  /** As `Target.size`, in bytes. */
  readonly size: bigint
  readonly mode?: number
  readonly mtime?: UnixTime
  /** Of a symlink. */
  readonly target?: string
}

export interface Stat extends Description {
  readonly cid: CID
  /** The multicodec's name; of one that we do not know its number. */
  readonly codec: string
  readonly blockBytes: number
  readonly links: number
  /** Bytes of all blocks of the DAG as its links claim, where they claim it. */
  readonly dagBytes?: bigint
}

export interface ListedEntry extends DirectoryEntry {
  readonly description?: Description
  /** With `detail`: its block was never put, so that nothing can be said of it. */
  readonly missing?: true
}

export interface Page {
  readonly entries: readonly ListedEntry[]
  /** The name to go on after; undefined on the last page. */
  readonly next?: string
}

export interface ListOptions extends Abortable {
  /** Entries on the page, at least 1. */
  readonly limit: number
  /** The last name of the page before. */
  readonly after?: string
  /** Read the block of each entry too. */
  readonly detail: boolean
}

interface NodeLimits {
  readonly nodeLinksMax: number
}

export interface Inspect {
  stat(target: Target): Stat
  /** What the target's own block links to, in its order, duplicates included. @throws AppError DAG_INVALID | LIMIT_EXCEEDED */
  links(target: Target): readonly CID[]
  /**
   * One page of a directory, in stored order.
   * @throws AppError DAG_INVALID when it is none; REQUEST_INVALID for an `after` that is not in it; with `detail` also
   * BLOCK_LOST, for an entry that was put
   */
  list(target: Target, options: ListOptions): Promise<Page>
}

export interface InspectParts {
  readonly blocks: Blockstore
  readonly limits: NodeLimits
  /** Says what a failure means for what was announced; asked only after one. */
  readonly judge?: JudgeFailure
}

export function createInspect(parts: InspectParts): Inspect {
  const { limits } = parts
  return {
    stat: (target) => statOf(target, limits),
    links: (target) => linksOf(target.cid, ownBlock(target), limits).map(({ cid }) => cid),
    list: (target, options) => listPage(target, parts, options),
  }
}

function statOf(target: Target, limits: NodeLimits): Stat {
  const { cid } = target
  const bytes = ownBlock(target)
  const dagBytes = dagBytesOf(cid, bytes, limits)
  return {
    cid,
    ...describe(cid, bytes, limits),
    codec: codecNames.get(cid.code) ?? `0x${cid.code.toString(16)}`,
    blockBytes: bytes.byteLength,
    links: linksOf(cid, bytes, limits).length,
    ...(dagBytes === undefined ? {} : { dagBytes }),
  }
}

function ownBlock({ cid, trail }: Target): Uint8Array {
  const bytes = trail.at(-1)?.bytes
  if (bytes === undefined) throw new AppError('INTERNAL', `no block was read on the way to ${cid}`)
  return bytes
}

const codecNames: ReadonlyMap<number, string> = new Map([
  [codecs.raw, 'raw'],
  [codecs.dagPb, 'dag-pb'],
  [codecs.dagCbor, 'dag-cbor'],
  [codecs.dagJson, 'dag-json'],
  [codecs.cbor, 'cbor'],
  [codecs.json, 'json'],
  [codecs.libp2pKey, 'libp2p-key'],
])

function dagBytesOf(cid: CID, bytes: Uint8Array, limits: NodeLimits): bigint | undefined {
  if (cid.code === codecs.raw) return BigInt(bytes.byteLength)
  if (cid.code !== codecs.dagPb) return undefined
  const { links } = decodeDagPb(bytes, limits)
  let sum = BigInt(bytes.byteLength)
  for (let index = 0; index < links.count; index++) {
    const claimed = links.dagBytes(index)
    if (claimed === undefined) return undefined
    sum += claimed
  }
  return sum
}

function describe(cid: CID, bytes: Uint8Array, limits: NodeLimits): Description {
  if (cid.code === codecs.raw) return { kind: 'file', size: BigInt(bytes.byteLength) }
  const node: Description = { kind: 'node', size: BigInt(bytes.byteLength) }
  if (cid.code !== codecs.dagPb) return node
  try {
    const { type, size, data, mode, mtime } = decodeUnixfs(decodeDagPb(bytes, limits))
    const attributes = {
      ...(mode === undefined ? {} : { mode }),
      ...(mtime === undefined ? {} : { mtime }),
    }
    if (type === 'symlink') {
      return { kind: 'symlink', size, target: Buffer.from(data).toString('utf8'), ...attributes }
    }
    if (type === 'directory' || type === 'hamt') return { kind: 'directory', size: 0n, ...attributes }
    return type === 'metadata' ? node : { kind: 'file', size, ...attributes }
  } catch (error) {
    // Plain dag-pb, or UnixFS that nobody can read: bytes only.
    if (isAppError(error, 'DAG_INVALID')) return node
    throw error
  }
}

async function listPage(target: Target, parts: InspectParts, options: ListOptions): Promise<Page> {
  const { limit, after, detail, signal } = options
  const last = after === undefined ? undefined : await entryOf(target, after, { signal })
  const entries: DirectoryEntry[] = []
  for await (const entry of target.list({ signal, ...(last === undefined ? {} : { after: last.position }) })) {
    // A name that a damaged directory has twice.
    if (entries.length === 0 && entry.name === after) continue
    if (entries.push(entry) > limit) break
  }
  const page = entries.slice(0, limit)
  const next = entries.length > limit ? page.at(-1)?.name : undefined
  const listed = detail ? await withDescriptions(page, target.roots[0] ?? target.cid, parts, { signal }) : page
  return next === undefined ? { entries: listed } : { entries: listed, next }
}

/** By its hash: of a sharded directory no page before is read. @throws AppError REQUEST_INVALID */
async function entryOf(target: Target, name: string, options: Abortable): Promise<DirectoryEntry> {
  const found = await target.entry(name, options)
  if (found !== undefined) return found
  // A name that is no UTF-8 was shown with U+FFFD, so its bytes cannot be looked up.
  if (name.includes('\ufffd')) {
    for await (const entry of target.list(options)) if (entry.name === name) return entry
  }
  throw new AppError('REQUEST_INVALID', 'after: the directory has no entry of this name')
}

const sizesAhead = 32
const batchBytesMax = 4 * MiB
const nodeBytesGuess = 256 * KiB

/** Of raw blocks only the length is asked for; nodes are read in batches. */
async function withDescriptions(
  page: readonly DirectoryEntry[],
  root: CID,
  { blocks, limits, judge }: InspectParts,
  options: Abortable,
): Promise<ListedEntry[]> {
  const found = new Map<DirectoryEntry, Description>()
  /** Undefined for what was never put. */
  const orMissing = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work
    } catch (error) {
      const meaning = isMissing(error) && judge !== undefined ? await judge(root, error, options.signal) : error
      if (isAppError(meaning, 'BLOCK_NOT_FOUND')) return undefined
      throw meaning
    }
  }
  const raw = page.filter(({ cid }) => cid.code === codecs.raw)
  const sized = mapAhead(raw, sizesAhead, async (entry) => ({
    entry,
    bytes: await orMissing(blocks.size(entry.cid, options)),
  }))
  for await (const { entry, bytes } of sized) {
    if (bytes !== undefined) found.set(entry, { kind: 'file', size: BigInt(bytes) })
  }
  for (const batch of batches(page.filter(({ cid }) => cid.code !== codecs.raw))) {
    const read = await blocks.getBatch(batch.map(wantOf), options).catch((error: unknown) => {
      if (!isMissing(error)) throw error
      // One of them is not there: which one, they tell one by one.
      return Promise.all(batch.map(({ cid }) => orMissing(blocks.get(cid, options))))
    })
    for (const [index, entry] of batch.entries()) {
      const bytes = read[index]
      if (bytes !== undefined) found.set(entry, describe(entry.cid, bytes, limits))
    }
  }
  return page.map((entry) => ({ ...entry, ...described(found.get(entry)) }))
}

const described = (description: Description | undefined) =>
  description === undefined ? { missing: true as const } : { description }

/** Tsize counts what is below the block too, so it only says how small the block is. */
function wantOf({ cid, dagBytes }: DirectoryEntry): Want & { readonly bytes: number } {
  return { cid, bytes: dagBytes < BigInt(nodeBytesGuess) ? Number(dagBytes) : nodeBytesGuess }
}

function* batches(entries: readonly DirectoryEntry[]): Generator<DirectoryEntry[]> {
  let batch: DirectoryEntry[] = []
  let bytes = 0
  for (const entry of entries) {
    const guess = wantOf(entry).bytes
    if (batch.length > 0 && bytes + guess > batchBytesMax) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(entry)
    bytes += guess
  }
  if (batch.length > 0) yield batch
}
