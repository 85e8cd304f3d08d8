import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import type { Attributes } from './import-options.ts'
import { type PackedEntry, packed } from './write-directory.ts'
import type { Written } from './write-node.ts'

const pathBytesMax = 8 * KiB
const segmentsMax = 256

export type TreeNode = Leaf | Directory

/** A file, a symlink or a directory whose blocks are written. A million of them lie in memory. */
export interface Leaf extends PackedEntry {
  readonly kind: 'leaf'
  /** Bytes of content; of a symlink 0. */
  readonly size: number
}

export const leafOf = (name: string, written: Written, size: number): Leaf => ({
  kind: 'leaf',
  ...packed(name, written),
  size,
})

export interface Directory {
  readonly kind: 'directory'
  readonly children: Map<string, TreeNode>
  attributes: Attributes
}

/** How many more files and directories the tree may have: it lies in memory until it is written. */
export interface Room {
  readonly entriesMax: number
  left: number
}

export const roomFor = (entriesMax = Number.POSITIVE_INFINITY): Room => ({ entriesMax, left: entriesMax })

function takeRoom(room: Room): void {
  if (room.left-- > 0) return
  throw new AppError('LIMIT_EXCEEDED', `the upload has more than ${room.entriesMax} files and directories`, {
    limit: 'upload_entries',
    hint: 'the setting is STOWAGE_UPLOAD_ENTRIES_MAX; or send it as a CAR, whose blocks need no memory',
  })
}

export const emptyDirectory = (): Directory => ({ kind: 'directory', children: new Map(), attributes: {} })

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

/**
 * Refuses a leaf where something is already, before its content is read.
 * @throws AppError REQUEST_INVALID | LIMIT_EXCEEDED
 */
export function placeFor(
  root: Directory,
  segments: readonly string[],
  room: Room,
): { put(written: Written, size: number): void; link(leaf: Leaf): void } {
  const name = segments.at(-1)
  if (name === undefined) throw new AppError('REQUEST_INVALID', 'the root of the upload is a file and has no name')
  const parent = directoryAt(root, segments.slice(0, -1), room)
  if (parent.children.has(name)) {
    throw new AppError('REQUEST_INVALID', `entry ${JSON.stringify(segments.join('/'))} is given twice`)
  }
  takeRoom(room)
  return {
    put: (written, size) => void parent.children.set(name, leafOf(name, written, size)),
    link: (leaf) => void parent.children.set(name, { ...leaf, name }),
  }
}

/** The file that is already at `segments`, for a link to it at `path`. @throws AppError REQUEST_INVALID */
export function leafAt(root: Directory, segments: readonly string[], path: string): Leaf {
  let node: TreeNode | undefined = root
  for (const segment of segments) node = node?.kind === 'directory' ? node.children.get(segment) : undefined
  if (node?.kind === 'leaf') return node
  const [shown, first] = [path, segments.join('/')].map((text) => JSON.stringify(text.slice(0, 200)))
  throw new AppError('REQUEST_INVALID', `${shown} is a link to ${first}, which is no earlier file of the upload`, {
    hint: 'the file itself has to come before links to it',
  })
}

/**
 * The directory at `segments`, made with its parents where it is not there yet.
 * @throws AppError REQUEST_INVALID | LIMIT_EXCEEDED
 */
export function directoryAt(root: Directory, segments: readonly string[], room: Room): Directory {
  let directory = root
  for (const [depth, segment] of segments.entries()) {
    const child = directory.children.get(segment)
    if (child?.kind === 'leaf') {
      const path = segments.slice(0, depth + 1).join('/')
      throw new AppError('REQUEST_INVALID', `entry ${JSON.stringify(path)} is both a file and a directory`)
    }
    const next = child ?? emptyDirectory()
    if (child === undefined) {
      takeRoom(room)
      directory.children.set(segment, next)
    }
    directory = next
  }
  return directory
}
