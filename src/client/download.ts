import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { chmod, lstat, lutimes, mkdir, open, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AppError } from '../errors.ts'
import { renameDurably, syncPath } from '../lib/durable-file.ts'
import { mapAhead } from '../lib/streams.ts'
import type { Client } from './client.ts'
import type { ClientPath } from './content-path.ts'
import type { OnProgress } from './http.ts'
import { fileError } from './local-tree.ts'
import type { EntryReply, StatReply } from './replies.ts'

export interface DownloadOptions {
  /** Replace what lies at the target. */
  readonly force: boolean
  readonly signal: AbortSignal
  readonly onProgress?: OnProgress | undefined
}

export interface Downloaded {
  readonly files: number
  readonly bytes: number
}

/** What both a stat and an entry say of a node. */
type Source = Pick<EntryReply, 'cid' | 'kind' | 'size' | 'mode' | 'mtime' | 'target'>

interface WantedFile {
  readonly source: Source
  readonly path: ClientPath
  readonly file: string
}

/** Files fetched at a time. */
const filesAhead = 16
/** As deep as a path of a node may be; a DAG can be built to be deeper than any disk. */
const depthMax = 256

/**
 * Fetches `path` to `target`. Everything is written under a temporary name beside the target, which gets its name when it
 * is complete: a cut connection leaves nothing there. Symlinks are made after everything else and every file and folder
 * is created anew (never opened), so no entry can be written through a link, not even one of the same directory.
 * @throws AppError FILE_UNUSABLE when the target exists and `force` is off | DAG_INVALID for a name that would leave the
 * target | CONNECTION_LOST | as the node answers
 */
export async function download(
  client: Client,
  path: ClientPath,
  stat: StatReply,
  target: string,
  options: DownloadOptions,
): Promise<Downloaded> {
  if (!options.force && (await exists(target))) {
    throw new AppError('FILE_UNUSABLE', `${target} exists already`, {
      hint: 'choose another name with -o, or replace it with --force',
    })
  }
  const temporary = join(dirname(target), `.${basename(target).slice(0, 100)}.${randomBytes(6).toString('hex')}.part`)
  const run = new Run(client, options)
  try {
    await run.fetch(stat, path, temporary)
    await replace(temporary, target)
    return { files: run.files, bytes: run.bytes }
  } catch (error) {
    await makeRemovable(temporary)
    throw error instanceof Error && 'syscall' in error ? fileError(inTarget(error, temporary, target), error) : error
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

/** The file that failed, under the name that the user knows. */
function inTarget(error: Error & { path?: unknown; dest?: unknown }, temporary: string, target: string): string {
  // Of a symlink, `path` is what it points to and `dest` the link.
  const file = error.dest ?? error.path
  return typeof file === 'string' ? file.replace(temporary, target) : target
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
    else if (source.kind === 'directory') await this.#drain(this.#directory(source, path, file, 0))
    else await this.#file(source, path, file)
    for (const link of this.#links) await this.#symlink(link.source, link.file)
    // A folder's time changes with its entries, and its mode may forbid them: last, from the deepest up.
    for (const directory of this.#directories.reverse()) {
      await syncPath(directory.file)
      await restore(directory.file, directory.source)
    }
  }

  async #drain(files: AsyncIterable<WantedFile>): Promise<void> {
    const fetched = mapAhead(files, filesAhead, ({ source, path, file }) => {
      const fetching = this.#file(source, path, file)
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
  async *#directory(source: Source, path: ClientPath, file: string, depth: number): AsyncGenerator<WantedFile> {
    if (depth > depthMax) throw new AppError('DAG_INVALID', `the directories are more than ${depthMax} deep`)
    await mkdir(file)
    this.#directories.push({ file, source })
    for await (const entry of this.#client.list(path, this.#call)) {
      checkName(entry.name)
      const child = join(file, entry.name)
      if (entry.kind === 'symlink') this.#links.push({ file: child, source: entry })
      else if (entry.kind === 'directory') yield* this.#directory(entry, below(path, entry), child, depth + 1)
      else yield { source: entry, path: below(path, entry), file: child }
    }
  }

  async #file(source: Source, path: ClientPath, file: string): Promise<void> {
    const { bytes: announced, content } = await this.#client.read(path, {
      ...this.#call,
      raw: source.kind === 'node',
    })
    // wx: never opens what is there, so never follows a link.
    const handle = await open(file, 'wx')
    let bytes = 0
    try {
      for await (const chunk of content) {
        bytes += chunk.byteLength
        await handle.writeFile(chunk)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    if (bytes !== source.size || (announced !== undefined && announced !== bytes)) {
      throw new AppError('CONNECTION_LOST', `${source.cid}: ${bytes} bytes arrived of ${source.size}`)
    }
    await restore(file, source)
    this.files++
    this.bytes += bytes
  }

  async #symlink(source: Source, file: string): Promise<void> {
    const target = source.target ?? (await this.#client.stat(rootPath(source), this.#call)).target
    if (target === undefined || target === '' || target.includes('\0')) {
      throw new AppError('DAG_INVALID', `the symlink ${source.cid} has no target`)
    }
    await symlink(target, file)
    this.files++
    if (source.mtime !== undefined) await lutimes(file, source.mtime, source.mtime)
  }
}

/** By its CID, which is the shortest way; below a name by the name, which is what is read. */
function below(path: ClientPath, entry: EntryReply): ClientPath {
  return path.name === undefined ? rootPath(entry) : { ...path, segments: [...path.segments, entry.name] }
}

function rootPath(source: Source): ClientPath {
  return { cid: source.cid, segments: [] }
}

/** @throws AppError DAG_INVALID for a name that is no single name of this disk */
function checkName(name: string): void {
  if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name) && basename(name) === name) return
  throw new AppError(
    'DAG_INVALID',
    `the directory has an entry named ${JSON.stringify(name)}, which would leave the target`,
    {
      hint: 'nothing was kept; fetch single files with `stowage cat`, or the blocks with `stowage car export`',
    },
  )
}

async function restore(file: string, source: Source): Promise<void> {
  if (source.mode !== undefined) await chmod(file, source.mode & 0o777)
  if (source.mtime !== undefined) await lutimes(file, source.mtime, source.mtime)
}

/** What lay at the target is moved aside first, so that there is never half of each. */
async function replace(temporary: string, target: string): Promise<void> {
  if (!(await exists(target))) return renameDurably(temporary, target)
  const aside = `${temporary}.old`
  await rename(target, aside)
  try {
    await rename(temporary, target)
  } catch (error) {
    await rename(aside, target)
    throw error
  }
  await syncPath(dirname(target))
  await rm(aside, { recursive: true, force: true })
}

async function exists(file: string): Promise<boolean> {
  return lstat(file).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw fileError(file, error)
    },
  )
}

/** A restored mode may forbid removing what is below. */
async function makeRemovable(directory: string): Promise<void> {
  await chmod(directory, 0o700).catch(() => undefined)
}
