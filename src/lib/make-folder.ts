import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Makes a folder and those above it that are missing; one that is there stays as it is. Not `mkdir` with `recursive`: Node 20
 * tries for ever where the parent is there and nothing can be made in it (`/proc/foo`).
 * @param mode of the folders that are made @throws the system's error, like EEXIST and ENOTDIR (a file is in the way), EACCES
 */
export async function makeFolder(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, { mode })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' && dirname(path) !== path && !(await isThere(dirname(path)))) {
      await makeFolder(dirname(path), mode)
      return makeFolder(path, mode)
    }
    // Some file systems answer with another code for what is there already, like EROFS or EPERM.
    if (!(await isFolder(path))) throw error
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
