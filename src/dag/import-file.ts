import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { type Chunk, chunksOf } from './chunk.ts'
import { writeChunks } from './file-layout.ts'
import type { Attributes, ImportOptions, ImportResult } from './import-options.ts'
import { type Layout, layoutOf } from './profile.ts'
import { type BlockSink, rootLast } from './root-last.ts'
import { type Written, writeRaw, writeSmallFile } from './write-node.ts'

/**
 * Writes `content` as a UnixFS file, leaves first and root last, so a crash leaves no root without its blocks.
 * Memory: two chunks and the window of the writer.
 * @returns the root; every block under it is durable
 * @throws AppError STORE_FULL | STORE_UNAVAILABLE; whatever `content` throws; the signal's reason when aborted
 */
export async function importFile(
  content: AsyncIterable<Uint8Array>,
  attributes: Attributes,
  blocks: Pick<Blockstore, 'openWriter'>,
  options: ImportOptions,
): Promise<ImportResult> {
  const sink = rootLast(blocks, options)
  const file = await writeFile(content, attributes, layoutOf(options), sink, options)
  return { cid: file.cid, size: file.size, ...(await sink.finish(file.cid)) }
}

/** Puts the blocks of one file into `sink`, its root last. Nothing is durable yet. */
export async function writeFile(
  content: AsyncIterable<Uint8Array>,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
  { signal, pool }: Abortable & Pick<ImportOptions, 'pool'>,
): Promise<Written & { readonly size: bigint }> {
  const chunks = chunksOf(content, layout.chunkBytes, signal, pool)
  try {
    const first = await chunks.next()
    const head: Chunk = first.done ? { bytes: new Uint8Array(), release: undefined } : first.value
    const headBytes = head.bytes.byteLength
    const second = first.done ? first : await chunks.next()
    if (second.done && !layout.trickle) {
      const isRaw = layout.rawLeaves && attributes.mode === undefined && attributes.mtime === undefined
      const file = isRaw ? await writeRaw(head, sink) : await writeSmallFile(head.bytes, attributes, layout, sink)
      return { ...file, size: BigInt(headBytes) }
    }
    const all = (async function* () {
      if (first.done) return
      yield head
      if (second.done) return
      yield second.value
      yield* chunks
    })()
    const file = await writeChunks(all, attributes, layout, sink)
    return { cid: file.cid, dagBytes: file.dagBytes, size: BigInt(file.bytes) }
  } finally {
    await chunks.return()
  }
}
