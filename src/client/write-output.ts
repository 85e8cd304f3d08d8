import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AppError } from '../errors.ts'
import { syncPath } from '../lib/durable-file.ts'
import { fileError } from './local-tree.ts'
import type { OutputPlace } from './output-place.ts'
import { writePipe } from './pipes.ts'

export interface WriteOptions {
  readonly signal: AbortSignal
  /** Permission bits of a new file, before the umask. Default: 0666. */
  readonly mode?: number
}

/** Most bytes of the final name in the name of a part file: some file systems take no more than 143 bytes in all. */
const shownBytesMax = 100

/** A name beside `file` for what is not complete yet. It is short enough for any disk that takes the name of `file`. */
export function partFile(file: string): string {
  const name = Buffer.from(basename(file))
  let end = Math.min(name.byteLength, shownBytesMax)
  // Not in the middle of a character: bytes after the first of one are 10xxxxxx.
  while (end > 0 && ((name[end] ?? 0) & 0xc0) === 0x80) end--
  return join(dirname(file), `.${name.subarray(0, end)}.${randomBytes(6).toString('hex')}.part`)
}

/**
 * Writes `content` to a place: into a device or a pipe as it comes; else under a temporary name beside it, synced, and under
 * its own name only when it is complete, so that what was there stays until then.
 * @returns its bytes @throws AppError FILE_UNUSABLE | PATH_NOT_FOUND; what `content` throws; the signal's reason
 */
export async function writeOutput(
  place: OutputPlace,
  content: AsyncIterable<Uint8Array>,
  { signal, mode = 0o666 }: WriteOptions,
): Promise<number> {
  const { file, shown } = place
  try {
    if (place.isStream) return await writeStream(file, content, signal)
    const part = partFile(file)
    try {
      const bytes = await writeNew(part, content, { mode })
      signal.throwIfAborted()
      await putInPlace(part, place)
      return bytes
    } finally {
      await rm(part, { force: true })
    }
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError(shown, error) : error
  }
}

/**
 * Writes a file that must not be there yet, and syncs it, unless the caller does that later (`sync: false`). `wx` never opens what is
 * there, so it never follows a link.
 */
export async function writeNew(
  file: string,
  content: AsyncIterable<Uint8Array>,
  { mode = 0o666, sync = true }: { readonly mode?: number; readonly sync?: boolean } = {},
): Promise<number> {
  const handle = await open(file, 'wx', mode)
  try {
    const bytes = await writeAll(handle, content)
    if (sync) await handle.sync()
    return bytes
  } finally {
    await handle.close()
  }
}

/** Gives a complete file its name. One that it replaces leaves its permission bits behind. */
export async function putInPlace(part: string, { file, replaces }: OutputPlace): Promise<void> {
  if (replaces) {
    await chmod(part, (await lstat(file)).mode & 0o777)
    await rename(part, file)
  } else {
    await renameNew(part, file)
  }
  await syncPath(dirname(file))
}

/** As `rename`, but what came to lie there meanwhile stays. */
async function renameNew(part: string, file: string): Promise<void> {
  try {
    await link(part, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    // A file system without hard links.
    await rename(part, file)
  }
}

async function writeStream(file: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
  const piped = await writePipe(file, content, signal)
  if (piped !== undefined) return piped
  const handle = await open(file, constants.O_WRONLY)
  try {
    if ((await handle.stat()).isFile()) throw new AppError('FILE_UNUSABLE', `${file} has become a file`)
    return await writeAll(handle, content)
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, content: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const chunk of content) {
    await handle.writeFile(chunk)
    bytes += chunk.byteLength
  }
  return bytes
}
