import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import { type EntryChain, EntryTable, type Row } from './entry-table.ts'
import type { Attributes } from './import-options.ts'
import type { Written } from './write-node.ts'

const pathBytesMax = 8 * KiB
const segmentsMax = 256

/** A directory that is not written yet. Its files and symlinks, and the directories that are, lie in the table of its tree. */
export interface Directory extends EntryChain {
  /** By name. */
  readonly directories: Map<string, Directory>
  attributes: Attributes
}

/** What an import knows of its entries until all of them have come. */
export class ImportTree {
  readonly table = new EntryTable()
  readonly root: Directory
  readonly #entriesMax: number
  #entries = 0
  #directories = 0

  /** @param entriesMax most files and directories, the root not counted: the tree lies in memory until it is written */
  constructor(entriesMax = Number.POSITIVE_INFINITY) {
    this.#entriesMax = entriesMax
    this.root = this.#emptyDirectory()
  }

  /**
   * Refuses a leaf where something is already, before its content is read.
   * @throws AppError REQUEST_INVALID | LIMIT_EXCEEDED
   */
  placeFor(segments: readonly string[]): { put(written: Written, size: number): void } {
    const name = segments.at(-1)
    if (name === undefined) throw new AppError('REQUEST_INVALID', 'the root of the upload is a file and has no name')
    const parent = this.directoryAt(segments.slice(0, -1))
    if (parent.directories.has(name) || this.table.find(parent, name) !== undefined) {
      throw new AppError('REQUEST_INVALID', `entry ${JSON.stringify(segments.join('/'))} is given twice`)
    }
    this.#takeRoom()
    return { put: (written, size) => this.table.add(parent, name, written, size) }
  }

  /** The file that is already at `segments`, for a link to it at `path`. @throws AppError REQUEST_INVALID */
  leafAt(segments: readonly string[], path: string): { readonly written: Written; readonly size: number } {
    const row = this.#rowAt(segments)
    if (row !== undefined) return { written: this.table.written(row), size: this.table.size(row) }
    const [shown, first] = [path, segments.join('/')].map((text) => JSON.stringify(text.slice(0, 200)))
    throw new AppError('REQUEST_INVALID', `${shown} is a link to ${first}, which is no earlier file of the upload`, {
      hint: 'the file itself has to come before links to it',
    })
  }

  /**
   * The directory at `segments`, made with its parents where it is not there yet.
   * @throws AppError REQUEST_INVALID | LIMIT_EXCEEDED
   */
  directoryAt(segments: readonly string[]): Directory {
    let directory = this.root
    for (const [depth, segment] of segments.entries()) {
      let next = directory.directories.get(segment)
      if (next === undefined) {
        if (this.table.find(directory, segment) !== undefined) {
          const path = segments.slice(0, depth + 1).join('/')
          throw new AppError('REQUEST_INVALID', `entry ${JSON.stringify(path)} is both a file and a directory`)
        }
        this.#takeRoom()
        next = this.#emptyDirectory()
        directory.directories.set(segment, next)
      }
      directory = next
    }
    return directory
  }

  #rowAt(segments: readonly string[]): Row | undefined {
    let directory: Directory | undefined = this.root
    for (const segment of segments.slice(0, -1)) directory = directory?.directories.get(segment)
    const name = segments.at(-1)
    return directory === undefined || name === undefined ? undefined : this.table.find(directory, name)
  }

  #takeRoom(): void {
    if (this.#entries++ < this.#entriesMax) return
    throw new AppError('LIMIT_EXCEEDED', `the upload has more than ${this.#entriesMax} files and directories`, {
      limit: 'upload_entries',
      hint: 'the setting is STOWAGE_UPLOAD_ENTRIES_MAX; or send it as a CAR, whose blocks need no memory',
    })
  }

  #emptyDirectory(): Directory {
    return { id: this.#directories++, last: 0, count: 0, directories: new Map(), attributes: {} }
  }
}

/**
 * The segments of an entry's path. `.` segments and a trailing slash are left out, so `./` is the root: no segments.
 * @throws AppError REQUEST_INVALID for what could lead out of the tree or cannot be a name
 */
export function entrySegments(path: string): string[] {
  const refuse = (why: string) => new AppError('REQUEST_INVALID', `entry ${JSON.stringify(path.slice(0, 200))}: ${why}`)
  if (path === '') throw refuse('the path is empty')
  if (Buffer.byteLength(path) > pathBytesMax) throw refuse(`the path is longer than ${pathBytesMax} bytes`)
  if (path.startsWith('/')) throw refuse('the path is absolute')
  if (path.includes('\0')) throw refuse('the path has a NUL')
  if (/\p{Surrogate}/u.test(path)) throw refuse('the path is not valid UTF-8')
  const segments = (path.endsWith('/') ? path.slice(0, -1) : path).split('/')
  if (segments.length > segmentsMax) throw refuse(`the path has more than ${segmentsMax} segments`)
  if (segments.includes('..')) throw refuse('the path has a ".." segment')
  if (segments.includes('')) throw refuse('the path has an empty segment')
  return segments.filter((segment) => segment !== '.')
}

export const isHidden = (segments: readonly string[]): boolean => segments.some((segment) => segment.startsWith('.'))
