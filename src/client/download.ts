import { setMaxListeners } from 'node:events'
import { chmod, lutimes, mkdir, rm, symlink } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { AppError, isAppError, statusOf } from '../errors.ts'
import { renameDurably, syncPath } from '../lib/durable-file.ts'
import { mapAhead } from '../lib/streams.ts'
import type { Client } from './client.ts'
import type { ClientPath } from './content-path.ts'
import type { OnProgress } from './http.ts'
import { fileError } from './local-tree.ts'
import { mergeTree } from './merge-tree.ts'
import { checkFileName, type OutputPlace } from './output-place.ts'
import type { EntryReply, StatReply } from './replies.ts'
import { SyncBatches } from './sync-batches.ts'
import { partFile, putInPlace, writeNew, writeOutput } from './write-output.ts'

export interface DownloadOptions {
  readonly signal: AbortSignal
  readonly onProgress?: OnProgress | undefined
}

export interface Downloaded {
  readonly files: number
  readonly bytes: number
}

/** What both a stat and an entry say of a node. */
type Source = Pick<EntryReply, 'cid' | 'kind' | 'size' | 'mode' | 'mtime' | 'target'>

/** How something is read: by its CID, which is the shortest way, or by the way from the root of the download, where the two differ. */
interface Way {
  readonly path: ClientPath
  readonly fromRoot: ClientPath
}

interface WantedFile {
  readonly source: Source
  readonly way: Way
  readonly file: string
}

/** Files fetched at a time. */
const filesAhead = 16
/** As deep as a path of a node may be; a DAG can be built to be deeper than any disk. */
const depthMax = 256

/**
 * Fetches `path` to `place`. Everything is written under a temporary name beside the target, and put in its place when it
 * is complete: a cut connection leaves nothing there, and what was there as it was. Symlinks are made after everything else
 * and every file and folder is created anew (never opened), so no entry can be written through a link, not even one of the
 * same directory.
 * @throws AppError FILE_UNUSABLE | DAG_INVALID for a name that would leave the target | CONNECTION_LOST | as the node answers
 */
export async function download(
  client: Client,
  path: ClientPath,
  stat: StatReply,
  place: OutputPlace,
  options: DownloadOptions,
): Promise<Downloaded> {
  if (place.isStream) return await intoStream(client, path, stat, place, options)
  const part = partFile(place.file)
  const run = new Run(client, options)
  try {
    await run.fetch(stat, path, part)
    options.signal.throwIfAborted()
    await putTreeInPlace(part, place, stat.kind)
    await run.restoreFolders(part, place.file)
    return { files: run.files, bytes: run.bytes }
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError(inTarget(error, part, place), error) : error
  } finally {
    await rm(part, { recursive: true, force: true })
  }
}

async function intoStream(
  client: Client,
  path: ClientPath,
  stat: StatReply,
  place: OutputPlace,
  options: DownloadOptions,
): Promise<Downloaded> {
  const { content } = await client.read(path, { ...options, raw: stat.kind === 'node' })
  const bytes = await writeOutput(place, content, options)
  checkWhole(stat, bytes)
  return { files: 1, bytes }
}

async function putTreeInPlace(part: string, place: OutputPlace, kind: StatReply['kind']): Promise<void> {
  if (kind === 'directory' && place.replaces) return await mergeTree(part, place.file)
  if (kind !== 'directory' && kind !== 'symlink') return await putInPlace(part, place)
  await renameDurably(part, place.file)
}

/** The file that failed, under the name that the user knows. */
function inTarget(
  error: Error & { path?: unknown; dest?: unknown },
  part: string,
  { file, shown }: OutputPlace,
): string {
  // Of a symlink, `path` is what it points to and `dest` the link.
  const failed = error.dest ?? error.path
  return typeof failed === 'string' ? failed.replace(part, shown).replace(file, shown) : shown
}

function checkWhole(source: Pick<Source, 'cid' | 'size'>, bytes: number, announced?: number): void {
  if (bytes === source.size && (announced === undefined || announced === bytes)) return
  throw new AppError('CONNECTION_LOST', `${source.cid}: ${bytes} bytes arrived of ${source.size}`)
}

/** One download: what has been written, and what is left for the end. */
class Run {
  files = 0
  bytes = 0
  readonly #client: Client
  readonly #stop = new AbortController()
  readonly #call: DownloadOptions
  readonly #underWay = new Set<Promise<void>>()
  readonly #links: { readonly file: string; readonly source: Source }[] = []
  /** A mode may take away what a sync needs: last of all. */
  readonly #written = new SyncBatches<Source>(({ file, about }) => restore(file, about))
  /** Deepest last. */
  readonly #directories: { readonly file: string; readonly source: Source }[] = []

  constructor(client: Client, options: DownloadOptions) {
    this.#client = client
    this.#call = { ...options, signal: AbortSignal.any([options.signal, this.#stop.signal]) }
    // One listener for each request under way: more than the ten that Node takes for a leak.
    setMaxListeners(2 * filesAhead, this.#call.signal)
  }

  async fetch(source: Source, path: ClientPath, file: string): Promise<void> {
    if (source.kind === 'symlink') this.#links.push({ file, source })
    else if (source.kind === 'directory') await this.#drain(this.#directory(source, { path, fromRoot: path }, file, 0))
    else await this.#file(source, { path, fromRoot: path }, file)
    // Nothing gets its name before all of it is on the disk.
    await this.#written.flush()
    for (const link of this.#links) await this.#symlink(link.source, link.file)
    // What is renamed next must not come before what is in it, should the machine stop.
    for (const directory of this.#directories) await syncPath(directory.file)
  }

  /** A folder's time changes with its entries, and its mode may forbid them: last, from the deepest up. */
  async restoreFolders(part: string, target: string): Promise<void> {
    for (const { file, source } of this.#directories.reverse())
      await restore(join(target, relative(part, file)), source)
  }

  async #drain(files: AsyncIterable<WantedFile>): Promise<void> {
    const fetched = mapAhead(files, filesAhead, ({ source, way, file }) => {
      const fetching = this.#file(source, way, file)
      this.#underWay.add(fetching)
      return fetching.finally(() => this.#underWay.delete(fetching))
    })
    try {
      for await (const _ of fetched) this.#call.signal.throwIfAborted()
    } catch (error) {
      // The others must have let go of the folder before it is removed.
      this.#stop.abort(error)
      await Promise.allSettled(this.#underWay)
      throw error
    }
  }

  /** Makes the folders and gives out the files, so that they are fetched side by side across folders. */
  async *#directory(source: Source, way: Way, file: string, depth: number): AsyncGenerator<WantedFile> {
    if (depth > depthMax) throw new AppError('DAG_INVALID', `the directories are more than ${depthMax} deep`)
    await mkdir(file)
    this.#directories.push({ file, source })
    for await (const entry of this.#entries(way)) {
      checkFileName(entry.name)
      const child = join(file, entry.name)
      if (entry.kind === 'symlink') this.#links.push({ file: child, source: entry })
      else if (entry.kind === 'directory') yield* this.#directory(entry, below(way, entry), child, depth + 1)
      else yield { source: entry, way: below(way, entry), file: child }
    }
  }

  /** What is not there is asked for from the root: only that tells a part which was never put, or a copy that is away, from what nobody knows. */
  async *#entries({ path, fromRoot }: Way): AsyncGenerator<EntryReply> {
    try {
      yield* this.#client.list(path, this.#call)
    } catch (error) {
      if (path === fromRoot || !isAbsent(error)) throw error
      await this.#client.stat(fromRoot, this.#call)
      throw error
    }
  }

  async #read(source: Source, { path, fromRoot }: Way) {
    const options = { ...this.#call, raw: source.kind === 'node' }
    try {
      return await this.#client.read(path, options)
    } catch (error) {
      if (path === fromRoot || !isAbsent(error)) throw error
      return await this.#client.read(fromRoot, options)
    }
  }

  async #file(source: Source, way: Way, file: string): Promise<void> {
    const { bytes: announced, content } = await this.#read(source, way)
    const bytes = await writeNew(file, content, { sync: false })
    checkWhole(source, bytes, announced)
    this.files++
    this.bytes += bytes
    await this.#written.add({ file, bytes, about: source })
  }

  async #symlink(source: Source, file: string): Promise<void> {
    const target = source.target ?? (await this.#client.stat(rootPath(source), this.#call)).target
    if (target === undefined || target === '' || target.includes('\0')) {
      throw new AppError('DAG_INVALID', `the symlink ${source.cid} has no target`)
    }
    await symlink(target, file)
    this.files++
    await setTime(file, source)
  }
}

/** By its CID; below a name by the name, which is what is read. */
function below({ fromRoot: above }: Way, entry: EntryReply): Way {
  const fromRoot = { ...above, segments: [...above.segments, entry.name] }
  return { fromRoot, path: above.name === undefined ? rootPath(entry) : fromRoot }
}

/** Of plain text only the status tells which failure it is. */
const isAbsent = (error: unknown): boolean => isAppError(error) && statusOf[error.code] === 404

function rootPath(source: Source): ClientPath {
  return { cid: source.cid, segments: [] }
}

async function restore(file: string, source: Source): Promise<void> {
  if (source.mode !== undefined) await chmod(file, source.mode & 0o777)
  await setTime(file, source)
}

/** To the microsecond, which is what Node sets; before 1970 to the millisecond, since it takes a negative number for now. */
async function setTime(file: string, { mtime }: Source): Promise<void> {
  if (mtime === undefined) return
  const { secs, nsecs } = mtime
  const seconds = Number(secs)
  const time = secs < 0n ? new Date(seconds * 1000 + Math.trunc(nsecs / 1e6)) : seconds + Math.trunc(nsecs / 1e3) / 1e6
  await lutimes(file, time, time)
}
