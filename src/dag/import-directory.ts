import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { turnOver } from '../lib/turn-over.ts'
import { writeFile } from './import-file.ts'
import type { DirectoryImportOptions, ImportEntry, ImportResult } from './import-options.ts'
import { type Directory, entrySegments, ImportTree, isHidden } from './import-tree.ts'
import { layoutOf } from './profile.ts'
import { rootLast } from './root-last.ts'
import { type DirectoryWriting, writeDirectory } from './write-directory.ts'
import { type Written, writeSymlink } from './write-node.ts'

/**
 * Writes a directory tree: files as they come, then the directories from the leaves up, the root last.
 *
 * The root is the one entry at the top when there is but one (so a tree sent as `site/…` has the CID of `site`), else the
 * directory that holds them; an entry for `.` or `wrap` always makes it the latter. A path that comes twice is refused,
 * except a directory, whose later attributes count. Memory: that of one file, and some 100 bytes for every entry.
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
  const { tree, size, rootGiven } = await writeLeaves(entries, writing, options)
  const { cid } =
    rootGiven || options.wrap === true ? await writeTree(tree, tree.root, writing) : await writeTop(tree, writing)
  return { cid, size, ...(await sink.finish(cid)) }
}

interface WrittenLeaves {
  readonly tree: ImportTree
  /** There was an entry for the root itself. */
  readonly rootGiven: boolean
  readonly size: bigint
}

async function writeLeaves(
  entries: AsyncIterable<ImportEntry>,
  writing: DirectoryWriting,
  options: DirectoryImportOptions,
): Promise<WrittenLeaves> {
  const { pause } = writing
  const tree = new ImportTree(options.entriesMax)
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
    size += await writeEntry(entry, segments, tree, writing, options)
  }
  if (childrenOf(tree.root) === 0 && !rootGiven) {
    throw new AppError(
      'REQUEST_INVALID',
      hidden === 0 ? 'there is nothing to import' : `all ${hidden} entries are hidden`,
      {
        ...(hidden === 0 ? {} : { hint: 'ask for hidden entries (hidden=true)' }),
      },
    )
  }
  return { tree, rootGiven, size }
}

const childrenOf = ({ count, directories }: Directory): number => count + directories.size

/** @returns the bytes of content */
async function writeEntry(
  entry: ImportEntry,
  segments: readonly string[],
  tree: ImportTree,
  { layout, sink }: DirectoryWriting,
  options: Abortable & Pick<DirectoryImportOptions, 'hidden'>,
): Promise<bigint> {
  switch (entry.kind) {
    case 'directory': {
      tree.directoryAt(segments).attributes = entry.attributes
      return 0n
    }
    case 'symlink': {
      const place = tree.placeFor(segments)
      place.put(await writeSymlink(entry.target, entry.attributes, layout, sink), 0)
      return 0n
    }
    case 'copy': {
      const source = entrySegments(entry.source)
      if (options.hidden !== true && isHidden(source)) throw linkToHidden(entry)
      const { written, size } = tree.leafAt(source, entry.path)
      tree.placeFor(segments).put(written, size)
      return BigInt(size)
    }
    case 'file': {
      const place = tree.placeFor(segments)
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

/** The one entry at the top when there is but one, else the directory that holds them. */
async function writeTop(tree: ImportTree, writing: DirectoryWriting): Promise<Written> {
  const { root, table } = tree
  if (childrenOf(root) !== 1) return writeTree(tree, root, writing)
  const [only] = root.directories.values()
  if (only !== undefined) return writeTree(tree, only, writing)
  return (await table.entriesOf(root, writing.pause)).written(0)
}

async function writeTree(tree: ImportTree, directory: Directory, writing: DirectoryWriting): Promise<Written> {
  const { directories, attributes } = directory
  const { pause } = writing
  for (const [name, below] of directories) {
    const written = await writeTree(tree, below, writing)
    directories.delete(name)
    tree.table.add(directory, name, written, 0)
    if (pause.isDue) await pause()
  }
  return writeDirectory(await tree.table.entriesOf(directory, pause), attributes, writing)
}
