import { realpath } from 'node:fs/promises'
import { AppError, isAppError } from '../errors.ts'
import { removeTemporaries } from '../lib/durable-file.ts'
import { makeFolder } from '../lib/make-folder.ts'
import { type LockOptions, lockFolder } from './folder-lock.ts'

/** Longer than any write of a node takes: a file beside JetStream is small. */
const leftAfterMs = 60_000

export interface DataFolder {
  /** Absolute, without symbolic links: so it is spelled the same at every start. */
  readonly path: string
  /** Gives the lock back. */
  close(): Promise<void>
}

/**
 * Makes the folder (0700) if need be and locks it: one node a folder, since two servers on one store would destroy it.
 * @throws AppError DATA_FOLDER_UNUSABLE, DATA_FOLDER_LOCKED
 */
export async function openDataFolder(folder: string, options: LockOptions = {}): Promise<DataFolder> {
  try {
    await makeFolder(folder, 0o700)
    const path = await realpath(folder)
    const lock = await lockFolder(path, options)
    try {
      await removeTemporaries(path, leftAfterMs)
    } catch (error) {
      await lock.release()
      throw error
    }
    return { path, close: () => lock.release() }
  } catch (error) {
    throw isAppError(error) ? error : unusable(folder, error)
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'it is not a folder',
  ENOTDIR: 'it is not a folder',
  ENOENT: 'it cannot be made, or nothing can be written there',
  ELOOP: 'its symbolic links lead in a circle',
  ENAMETOOLONG: 'the name is too long for the file system',
  EIO: 'the disk fails',
  ESTALE: 'the network file system has lost it',
}

function unusable(folder: string, error: unknown): AppError {
  const { code = String(error) } = error as NodeJS.ErrnoException
  const message = `the data folder ${folder} cannot be used: ${reasons[code] ?? code}`
  const hint =
    code === 'ENOSPC' || code === 'EDQUOT' ? 'free some space' : 'set STOWAGE_DATA to a folder that can be written to'
  return new AppError('DATA_FOLDER_UNUSABLE', message, { cause: error, hint })
}
