import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { turnOver } from '../lib/turn-over.ts'
import { writeFile } from './import-file.ts'
import type { DirectoryImportOptions, ImportEntry, ImportResult } from './import-options.ts'
import {
  type Directory,
  directoryAt,
  emptyDirectory,
  entrySegments,
  isHidden,
  type Leaf,
  leafAt,
  leafOf,
  placeFor,
  type Room,
  roomFor,
} from './import-tree.ts'
import { layoutOf } from './profile.ts'
import { rootLast } from './root-last.ts'
import { type DirectoryWriting, unpacked, writeDirectory } from './write-directory.ts'
import { type Written, writeSymlink } from './write-node.ts'

/**
 * Writes a directory tree: files as they come, then the directories from the leaves up, the root last.
 *
 * The root is the one entry at the top when there is but one (so a tree sent as `site/…` has the CID of `site`), else the
 * directory that holds them; an entry for `.` or `wrap` always makes it the latter. A path that comes twice is refused,
 * except a directory, whose later attributes count. Memory: that of one file, and name and CID of every entry.
 * @returns the root; every block under it is durable
 * @throws AppError REQUEST_INVALID (unsafe, colliding or no entries); LIMIT_EXCEEDED; else as `importFile`
 */
export async function importDirectory(
  entries: AsyncIterable<ImportEntry>,
  blocks: Pick<Blockstore, 'openWriter'>,
  options: DirectoryImportOptions,
): Promise<ImportResult> {
  const layout = layoutOf(options)
  const sink = rootLast(blocks, options)
  const writing = { layout, sink, pause: turnOver() }
  const tree = await writeLeaves(entries, writing, options)
  const [only] = tree.root.children
  const single = only !== undefined && tree.root.children.size === 1 && !tree.rootGiven && options.wrap !== true
  if (!single) {
    const { cid } = await writeTree(tree.root, writing)
    return { cid, size: tree.size, ...(await sink.finish(cid)) }
  }
  const [, node] = only
  const { cid } = node.kind === 'leaf' ? unpacked(node) : await writeTree(node, writing)
  return { cid, size: tree.size, ...(await sink.finish(cid)) }
}

interface WrittenTree {
  readonly root: Directory
  /** There was an entry for the root itself. */
  readonly rootGiven: boolean
  readonly size: bigint
}

async function writeLeaves(
  entries: AsyncIterable<ImportEntry>,
  writing: DirectoryWriting,
  options: DirectoryImportOptions,
): Promise<WrittenTree> {
  const { pause } = writing
  const root = emptyDirectory()
  const room = roomFor(options.entriesMax)
  let rootGiven = false
  let size = 0n
  let hidden = 0
  for await (const entry of entries) {
    options.signal.throwIfAborted()
    if (pause.isDue) await pause()
    const segments = entrySegments(entry.path)
    if (options.hidden !== true && isHidden(segments)) {
      hidden++
      continue
    }
    if (segments.length === 0) rootGiven = true
    size += await writeEntry(entry, segments, { root, room }, writing, options)
  }
  if (root.children.size === 0 && !rootGiven) {
    throw new AppError(
      'REQUEST_INVALID',
      hidden === 0 ? 'there is nothing to import' : `all ${hidden} entries are hidden`,
      {
        ...(hidden === 0 ? {} : { hint: 'ask for hidden entries (hidden=true)' }),
      },
    )
  }
  return { root, rootGiven, size }
}

/** @returns the bytes of content */
async function writeEntry(
  entry: ImportEntry,
  segments: readonly string[],
  { root, room }: { readonly root: Directory; readonly room: Room },
  { layout, sink }: DirectoryWriting,
  options: Abortable & Pick<DirectoryImportOptions, 'hidden'>,
): Promise<bigint> {
  switch (entry.kind) {
    case 'directory': {
      directoryAt(root, segments, room).attributes = entry.attributes
      return 0n
    }
    case 'symlink': {
      const place = placeFor(root, segments, room)
      place.put(await writeSymlink(entry.target, entry.attributes, layout, sink), 0)
      return 0n
    }
    case 'copy': {
      const source = entrySegments(entry.source)
      if (options.hidden !== true && isHidden(source)) throw linkToHidden(entry)
      const leaf = leafAt(root, source, entry.path)
      placeFor(root, segments, room).link(leaf)
      return BigInt(leaf.size)
    }
    case 'file': {
      const place = placeFor(root, segments, room)
      const file = await writeFile(entry.content, entry.attributes, layout, sink, options)
      place.put(file, Number(file.size))
      return file.size
    }
  }
}

/** Its content came with the first name, and was left out with it. */
function linkToHidden({ path, source }: { readonly path: string; readonly source: string }): AppError {
  const [shown, first] = [path, source].map((text) => JSON.stringify(text.slice(0, 200)))
  return new AppError('REQUEST_INVALID', `${shown} is a link to ${first}, which is hidden and was left out`, {
    hint: 'ask for hidden entries too (hidden=true)',
  })
}

async function writeTree(directory: Directory, writing: DirectoryWriting): Promise<Written> {
  const { children } = directory
  const { pause } = writing
  const entries: Leaf[] = []
  for (const [name, node] of children) {
    const leaf = node.kind === 'leaf' ? node : leafOf(name, await writeTree(node, writing), 0)
    // What was below a directory that is written needs no memory any more.
    if (leaf !== node) children.set(name, leaf)
    entries.push(leaf)
    if (pause.isDue) await pause()
  }
  return writeDirectory(entries, directory.attributes, writing)
}
