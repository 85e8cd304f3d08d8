import { setImmediate } from 'node:timers/promises'
import type { Blockstore, Want } from '../blocks/blockstore.ts'
import { type Fetched, getMany } from '../blocks/get-many.ts'
import { AppError } from '../errors.ts'
import { collect } from '../lib/streams.ts'
import { type TarEntry, tarEndBytes, tarHeaders, tarPadding } from '../lib/tar-headers.ts'
import { KiB, MiB } from '../lib/units.ts'
import type { LimitName } from '../observability/limits.ts'
import { codecs } from './codecs.ts'
import { openBlock } from './open.ts'
import { TarPaths } from './tar-path.ts'
import type { DagLimits, ReadOptions, Target } from './target.ts'

export interface TarExportOptions extends ReadOptions {
  readonly limits: DagLimits
}

type Source = Pick<Blockstore, 'get' | 'getBatch'>

/** Headers and small files gather in chunks of this size; what is larger than a quarter of it goes out as it is. */
const chunkBytes = 64 * KiB
/** Below that share of the window a directory's children are fetched one at a time. */
const childWindowMin = 64 * KiB
const symlinkBytesMax = 64 * KiB
/** Beyond it a time is a joke, and no reader takes it. */
const secondsMax = 2n ** 40n

/**
 * What a path leads to, as a tar (IPIP-288): the top entry is named by the CID of the terminus, entries in stored order.
 * Times that the DAG does not hold are 1970, so that the same DAG is the same bytes; of modes the permission bits alone.
 * The first chunk comes when there are 64 KiB of it, so what fails earlier fails before a reply has begun.
 * Memory: the read-ahead, one chunk, and the paths of the symlinks.
 * @throws AppError FORMAT_UNSUPPORTED for what is no UnixFS; DAG_INVALID, also for a name that would leave the directory;
 *   LIMIT_EXCEEDED; as `Target.read`. A tar that ends without an error is complete.
 */
export async function* exportTar(
  target: Target,
  blocks: Source,
  options: TarExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, limits } = options
  const chunk = new Chunk()
  const budget = new Budget(limits)
  for await (const entry of entriesOf(target, blocks, options)) {
    signal.throwIfAborted()
    const size = entry.target.kind === 'file' ? entry.target.size : 0n
    const headers = tarHeaders(await headerOf(entry, options))
    budget.take(BigInt(headers.byteLength + tarPadding(size)) + size)
    yield* chunk.add(headers)
    if (entry.target.kind !== 'file') continue
    let sent = 0n
    for await (const part of contentOf(entry.target, options)) {
      sent += BigInt(part.byteLength)
      yield* chunk.add(part)
    }
    if (sent !== size) throw new AppError('DAG_INVALID', `a file has ${sent} bytes where its root says ${size}`)
    yield* chunk.add(Buffer.alloc(tarPadding(size)))
  }
  yield* chunk.add(Buffer.alloc(tarEndBytes))
  yield* chunk.end()
}

/** What changes when the tar does; as the specification writes it, without quotes and its weakness. */
export function tarTag(target: Pick<Target, 'cid'>): string {
  return `${target.cid}.x-tar`
}

interface Entry {
  readonly path: string
  readonly target: Target
}

interface Child extends Want {
  readonly name: string
}

interface Frame {
  readonly path: string
  readonly children: AsyncGenerator<Fetched<Child>, void, undefined>
}

/** The terminus and, of a directory, all below it, depth first. */
async function* entriesOf(
  root: Target,
  blocks: Source,
  options: TarExportOptions,
): AsyncGenerator<Entry, void, undefined> {
  const { signal, limits, readAheadBytes } = options
  const paths = new TarPaths()
  const frames: Frame[] = []
  const open = ({ path, target }: Entry): void => {
    if (frames.length >= limits.dagDepthMax) {
      throw exceeded(`directories more than ${limits.dagDepthMax} deep`, 'DAG_DEPTH_MAX', 'dag_depth')
    }
    const share = Math.floor(readAheadBytes / 2 ** (frames.length + 2))
    const children = getMany(blocks, childrenOf(target, options), {
      signal,
      readAheadBytes: share < childWindowMin ? 0 : share,
      firstBatchWants: 16,
    })
    frames.push({ path, children })
  }
  const top = { path: root.cid.toString(), target: checked(root) }
  yield top
  if (root.kind === 'directory') open(top)
  try {
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      const next = await frame.children.next()
      if (next.done) {
        frames.pop()
        continue
      }
      const { want, cid, bytes } = next.value
      const target = checked(openBlock({ cid, bytes }, blocks, { limits }))
      const entry = { path: paths.below(frame.path, want.name, target.kind === 'symlink'), target }
      yield entry
      if (target.kind === 'directory') open(entry)
    }
  } finally {
    for (const frame of frames) await frame.children.return()
  }
}

function checked(target: Target): Target {
  if (target.problem !== undefined) throw target.problem
  if (target.kind !== 'node') return target
  throw new AppError('FORMAT_UNSUPPORTED', `${target.cid} is no file and no directory, so it cannot be in a tar`, {
    hint: 'ask for ?format=car',
  })
}

async function* childrenOf(target: Target, { signal }: TarExportOptions): AsyncGenerator<Child, void, undefined> {
  let listed = 0
  for await (const { name, cid, dagBytes } of target.list({ signal })) {
    const bytesMax = BigInt(cid.code === codecs.raw ? 2 * MiB : 256 * KiB)
    yield { name, cid, bytes: Number(dagBytes < bytesMax ? dagBytes : bytesMax) }
    // Blocks out of a cache arrive without I/O: let other requests, and the abort of this one, have their turn.
    if (++listed % 64 === 0) await setImmediate()
  }
}

async function headerOf({ path, target }: Entry, options: TarExportOptions): Promise<TarEntry> {
  const { mtime } = target
  const known = mtime !== undefined && mtime.secs > -secondsMax && mtime.secs < secondsMax
  const common = { path, size: 0n, mtimeSeconds: known ? mtime : { secs: 0n, nsecs: 0 } }
  const mode = (otherwise: number): number => (target.mode ?? otherwise) & 0o777
  switch (target.kind) {
    case 'directory':
      return { ...common, kind: 'directory', mode: mode(0o755) }
    case 'symlink':
      return { ...common, kind: 'symlink', mode: 0o777, target: await symlinkText(target, options) }
    default:
      return { ...common, kind: 'file', mode: mode(0o644), size: target.size }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Kept as it is, wherever it leads: a link is content. What is never done is to put an entry below one. */
async function symlinkText(target: Target, options: TarExportOptions): Promise<string> {
  if (target.size > BigInt(symlinkBytesMax)) throw notATarget()
  const bytes = await collect(target.read(undefined, options), symlinkBytesMax)
  if (bytes.byteLength === 0 || bytes.includes(0)) throw notATarget()
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw notATarget(cause)
  }
}

function notATarget(cause?: unknown): AppError {
  return new AppError('DAG_INVALID', 'a symlink leads to what is no path', { cause })
}

/** A raw block is here already: no reader has to be started for it. */
function contentOf(target: Target, options: TarExportOptions): AsyncIterable<Uint8Array> | readonly Uint8Array[] {
  const block = target.cid.code === codecs.raw ? target.trail.at(-1)?.bytes : undefined
  if (block !== undefined) return [block]
  return target.read(undefined, { signal: options.signal, readAheadBytes: Math.floor(options.readAheadBytes / 2) })
}

/** What the whole tar may come to: few blocks can make many bytes. Of a file all of its size counts before its first byte. */
class Budget {
  readonly #limits: DagLimits
  #entries = 0
  #bytes = 0n

  constructor(limits: DagLimits) {
    this.#limits = limits
  }

  take(bytes: bigint): void {
    const { dagBlocksMax, dagExpandedBytesMax } = this.#limits
    this.#bytes += bytes
    if (++this.#entries > dagBlocksMax)
      throw exceeded(`more than ${dagBlocksMax} entries`, 'DAG_BLOCKS_MAX', 'dag_blocks')
    if (this.#bytes > BigInt(dagExpandedBytesMax)) {
      throw exceeded(`more than ${dagExpandedBytesMax} bytes`, 'DAG_EXPANDED_BYTES_MAX', 'dag_expanded_bytes')
    }
  }
}

function exceeded(what: string, setting: string, limit: LimitName): AppError {
  return new AppError('LIMIT_EXCEEDED', `the tar would have ${what}`, {
    hint: `the setting ${setting} bounds it`,
    limit,
  })
}

/** Gathers small pieces, so that a consumer does not pay for each. */
class Chunk {
  #buffer = Buffer.allocUnsafe(chunkBytes)
  #filled = 0;

  *add(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
    if (this.#filled + piece.byteLength > chunkBytes) yield* this.end()
    if (piece.byteLength > chunkBytes / 4) {
      yield* this.end()
      yield piece
      return
    }
    this.#buffer.set(piece, this.#filled)
    this.#filled += piece.byteLength
  }

  *end(): Generator<Uint8Array, void, undefined> {
    if (this.#filled === 0) return
    const chunk = this.#buffer.subarray(0, this.#filled)
    const left = this.#buffer.subarray(this.#filled)
    this.#buffer = left.byteLength >= chunkBytes ? left : Buffer.allocUnsafe(chunkBytes)
    this.#filled = 0
    yield chunk
  }
}
