import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { copyFile, constants as flags, link, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface DurableOptions {
  /** Permissions, exactly; without it those of any new file (0666 less the umask). */
  readonly mode?: number
  /** What becomes of a file that is there: `replace` (the default), or `keep`, and the write fails with EEXIST. */
  readonly existing?: 'replace' | 'keep'
}

type Content = string | Uint8Array | AsyncIterable<Uint8Array>

const temporaryName = /^\.stowage-[0-9a-f]{16}\.tmp$/
/** A temporary name, short whatever the name of the file: one that is as long as the disk allows would not take a suffix. */
const temporaryFor = (path: string): string => join(dirname(path), `.stowage-${randomBytes(8).toString('hex')}.tmp`)

/**
 * Writes a file so that whatever happens, a power cut too, there is what was there before or all of `content`, never a part of it
 * and never an empty file; once it resolves a power cut cannot take it back. It is written under a temporary name in the same
 * folder, synced, given its name, and the folder is synced. (A rename alone leaves files of 0 bytes.)
 *
 * A stream is written as it comes and synced once at its end, so it costs one wait for the disk, however long it is; when it
 * throws, the temporary file is removed and what was there stays. Where `path` is a symbolic link, the file behind it is
 * replaced. What is neither file nor folder (`/dev/stdout`, a FIFO) is written to as it is, and never replaced.
 * Whole folders: `renameDurably`.
 *
 * @returns how many bytes were written
 * @throws the system's error, like EEXIST, EISDIR, EACCES, ENOSPC; what the stream throws
 */
export async function writeDurably(
  path: string,
  content: Content,
  { mode, existing = 'replace' }: DurableOptions = {},
): Promise<number> {
  const target = existing === 'replace' ? await realpath(path).catch(orAbsent(path)) : path
  const found = existing === 'replace' ? await stat(target).catch(orAbsent(undefined)) : undefined
  if (found !== undefined && !found.isFile() && !found.isDirectory()) return writeTo(target, 'w', content)
  const temporary = temporaryFor(target)
  try {
    const bytes = await writeTo(temporary, 'wx', content, mode)
    await (existing === 'replace' ? rename(temporary, target) : giveName(temporary, target))
    await syncPath(dirname(target))
    return bytes
  } finally {
    await rm(temporary, { force: true })
  }
}

/** As `writeDurably`, for what has to be there before anything else in this process can happen. Replaces what is there. */
export function writeDurablySync(path: string, content: string, mode: number): void {
  const temporary = temporaryFor(path)
  try {
    writeFileSync(temporary, content, { flag: 'wx', mode, flush: true })
    renameSync(temporary, path)
    syncFolderSync(dirname(path))
  } finally {
    rmSync(temporary, { force: true })
  }
}

function syncFolderSync(folder: string): void {
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
  } catch (error) {
    if (!isUnsyncable(error)) throw error
  } finally {
    closeSync(descriptor)
  }
}

/**
 * Gives a file or folder another name, durably: for what was written elsewhere and is whole now. The files of a folder have to
 * be synced by whoever wrote them, and so has each folder in it, with `syncPath`.
 * @throws the system's error
 */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to)
  for (const folder of new Set([dirname(to), dirname(from)])) await syncPath(folder)
}

/** Waits until the bytes of a file that was written here are on the disk. @throws the system's error, like EIO */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}

/** As `syncFile`, of the names in a folder too, and where that cannot be done it is not. @throws the system's error, like EIO */
export async function syncPath(path: string): Promise<void> {
  try {
    await syncFile(path)
  } catch (error) {
    if (!isUnsyncable(error)) throw error
  }
}

/**
 * Removes what a crash in the middle of a write has left in a folder.
 * @param ageMs younger ones may be under way, in another process too
 */
export async function removeTemporaries(folder: string, ageMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!temporaryName.test(name)) continue
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > ageMs) await rm(path, { force: true })
  }
}

/** @param flag `wx`: a new file of ours, which is synced; `w`: whatever is there, which may know no sync */
async function writeTo(path: string, flag: 'wx' | 'w', content: Content, mode?: number): Promise<number> {
  const handle = await open(path, flag, mode)
  try {
    // The umask took from it what the caller asked for.
    if (mode !== undefined) await handle.chmod(mode)
    let bytes = 0
    const parts = typeof content === 'string' || content instanceof Uint8Array ? [content] : content
    for await (const part of parts) {
      await handle.writeFile(part)
      bytes += typeof part === 'string' ? Buffer.byteLength(part) : part.byteLength
    }
    if (flag === 'wx') await handle.sync()
    return bytes
  } finally {
    await handle.close()
  }
}

/** A link is refused where the name is taken, which a rename is not. Some file systems (FAT, some network ones) have none. */
async function giveName(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path)
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(codeOf(error))) throw error
    await copyFile(temporary, path, flags.COPYFILE_EXCL)
    await syncPath(path)
  }
}

/**
 * There is nothing to sync, or no way to: the folders of some file systems (FUSE, 9p) and of Windows, and one that may be
 * written to and not read. A disk that fails says EIO.
 */
const isUnsyncable = (error: unknown): boolean =>
  ['EINVAL', 'ENOTSUP', 'EPERM', 'EACCES', 'EBADF', 'EISDIR'].includes(codeOf(error))

/** A handler of failures: `value` for what is not there. */
function orAbsent<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (codeOf(error) === 'ENOENT') return value
    throw error
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? ''
