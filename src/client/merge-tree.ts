import type { Stats } from 'node:fs'
import { chmod, lstat, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../errors.ts'
import { syncPath } from '../lib/durable-file.ts'
import { kindOf, wordOf } from './output-place.ts'

/** What is moved where, in the order in which it is. */
interface Move {
  readonly from: string
  readonly to: string
  /** Permission bits of the file that it replaces. */
  readonly mode: number | undefined
}

/**
 * Moves what is in the folder `from` into the folder `to`: what is there under another name stays, a file replaces a file, a
 * symlink a symlink, and folders are merged in turn. A symlink is never followed. All of it is looked at before anything is
 * moved, so a refusal leaves both as they were.
 * @throws AppError FILE_UNUSABLE where one would replace what is of another kind
 */
export async function mergeTree(from: string, to: string): Promise<void> {
  const folders = new Set<string>()
  const moves: Move[] = []
  for await (const move of movesOf(from, to, folders)) moves.push(move)
  for (const { from: source, to: target, mode } of moves) {
    if (mode !== undefined) await chmod(source, mode)
    await rename(source, target)
  }
  for (const folder of folders) await syncPath(folder)
}

async function* movesOf(from: string, to: string, folders: Set<string>): AsyncGenerator<Move> {
  folders.add(to)
  for (const name of await readdir(from)) {
    const [source, target] = [join(from, name), join(to, name)]
    const [ours, there] = [await lstat(source), await lookAt(target)]
    if (there === undefined) {
      yield { from: source, to: target, mode: undefined }
    } else if (kindOf(ours) !== kindOf(there)) {
      throw new AppError('FILE_UNUSABLE', `${target} is a ${wordOf(there)}, which a ${wordOf(ours)} does not replace`, {
        hint: 'nothing was changed; move it away, or choose another place with -o',
      })
    } else if (ours.isDirectory()) {
      yield* movesOf(source, target, folders)
    } else {
      yield { from: source, to: target, mode: ours.isFile() ? there.mode & 0o777 : undefined }
    }
  }
}

async function lookAt(file: string): Promise<Stats | undefined> {
  return lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}
