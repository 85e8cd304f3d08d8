import type { Stats } from 'node:fs'
import { lstat, stat } from 'node:fs/promises'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { AppError } from '../errors.ts'
import { fileError } from './local-tree.ts'

export type OutputKind = 'file' | 'directory' | 'symlink'

export interface Output {
  readonly kind: OutputKind
  /** What it is called on disk where nobody says otherwise. */
  readonly name: string
}

/** Where content goes. */
export interface OutputPlace {
  /** Absolute. */
  readonly file: string
  /** As the user would write it. */
  readonly shown: string
  /** There is something of the same kind, which is replaced: a folder entry by entry, anything else whole. */
  readonly replaces: boolean
  /** A device or a pipe: it is written into, and stays what it is. */
  readonly isStream: boolean
}

export interface OutputOptions {
  readonly cwd: string
  /** What `-o` said; undefined = the content's own name, in `cwd`. */
  readonly output?: string | undefined
  /** Undefined where the command never replaces anything. */
  readonly force: boolean | undefined
}

/**
 * Where `content` goes, as `cp` has it: into `output` where that is a folder, under its own name, else to that name. Only
 * what is of its kind is replaced, and only with `force`; a folder is taken for the target itself when content is a folder
 * too, unless it is written with a slash at the end (or is `.` or `..`). Nothing on disk is touched.
 * @throws AppError FILE_UNUSABLE | PATH_NOT_FOUND | REQUEST_INVALID | DAG_INVALID for a name that is no single name
 */
export async function outputPlace(content: Output, { cwd, output, force }: OutputOptions): Promise<OutputPlace> {
  checkFileName(content.name)
  if (output === '') throw new AppError('REQUEST_INVALID', 'the output has an empty name', { hint: 'name it after -o' })
  const shown = output === undefined ? content.name : await shownPlace(content, output, cwd)
  const file = resolve(cwd, shown)
  const there = await look(file, lstat)
  if (there === undefined) return { file, shown, replaces: false, isStream: false }
  if (await isStream(file, content, force)) return { file, shown, replaces: false, isStream: true }
  if (kindOf(there) !== content.kind) {
    throw new AppError(
      'FILE_UNUSABLE',
      `${shown} is a ${wordOf(there)}, which a ${words[content.kind]} does not replace`,
      {
        hint: 'choose another name, or a folder to put it into',
      },
    )
  }
  if (force !== true) throw existsAlready(content, shown, force)
  return { file, shown, replaces: true, isStream: false }
}

function existsAlready({ kind }: Output, shown: string, force: boolean | undefined): AppError {
  const inside =
    kind === 'directory' ? `, replace its files with --force, or put it inside with -o ${shown}/` : undefined
  const otherwise = force === undefined ? '' : (inside ?? ', or replace it with --force')
  return new AppError('FILE_UNUSABLE', `${shown} exists already`, { hint: `choose another name${otherwise}` })
}

async function shownPlace({ kind, name }: Output, output: string, cwd: string): Promise<string> {
  const inside = /(?:^|\/)\.{0,2}$/.test(output)
  const there = await look(resolve(cwd, output), stat)
  if (there?.isDirectory() === true) return inside || kind !== 'directory' ? join(output, name) : output
  if (!inside) return output
  if (there !== undefined) throw new AppError('FILE_UNUSABLE', `${output} is not a folder`)
  if (kind === 'directory') return output.replace(/\/+$/, '')
  throw new AppError('PATH_NOT_FOUND', `the folder ${output} does not exist`, { hint: 'make it first' })
}

/** @throws AppError FILE_UNUSABLE for a stream that this content cannot be written into */
async function isStream(file: string, { kind }: Output, force: boolean | undefined): Promise<boolean> {
  // Followed: /dev/stdout is a link to what it is now.
  const there = await look(file, stat)
  if (there === undefined || there.isFile() || there.isDirectory()) return false
  const word = wordOf(there)
  if (kind !== 'file')
    throw new AppError('FILE_UNUSABLE', `${file} is a ${word}, which takes the content of a file only`)
  if (there.isSocket()) throw new AppError('FILE_UNUSABLE', `${file} is a socket, which cannot be written like a file`)
  if (!there.isBlockDevice() || force === true) return true
  throw new AppError('FILE_UNUSABLE', `${file} is a block device`, { hint: 'overwrite what is on it with --force' })
}

async function look(file: string, by: (file: string) => Promise<Stats>): Promise<Stats | undefined> {
  return by(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw fileError(file, error)
  })
}

const words: Readonly<Record<OutputKind, string>> = { file: 'file', directory: 'folder', symlink: 'symlink' }

/** Undefined for what no content is. */
export function kindOf(stats: Stats): OutputKind | undefined {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  return stats.isSymbolicLink() ? 'symlink' : undefined
}

export function wordOf(stats: Stats): string {
  const kind = kindOf(stats)
  if (kind !== undefined) return words[kind]
  if (stats.isFIFO()) return 'pipe'
  return stats.isSocket() ? 'socket' : 'device'
}

/** @throws AppError DAG_INVALID for a name that is no single name of this disk */
export function checkFileName(name: string): void {
  const single = name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)
  if (single && basename(name) === name && !isAbsolute(name)) return
  throw new AppError('DAG_INVALID', `an entry is named ${JSON.stringify(name)}, which would leave the target`, {
    hint: 'nothing was kept; fetch single files with `stowage cat`, or the blocks with `stowage car export`',
  })
}
