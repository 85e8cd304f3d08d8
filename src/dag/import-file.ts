import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import type { Attributes, ImportOptions, ImportResult } from './import-options.ts'
import { type Layout, layoutOf } from './profile.ts'
import { type BlockSink, rootLast } from './root-last.ts'
import { unixfsAttributes, type Written, writeRaw, writeSmallFile } from './write-node.ts'

/** Chunks that are read before the first of them is hashed and handed over: the importer works in batches of this many. */
const chunksAhead = 2

/**
 * Writes `content` as a UnixFS file, leaves first and root last, so a crash leaves no root without its blocks.
 * Memory: `chunksAhead` + 1 chunks and the window of the writer.
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
  options: Abortable,
): Promise<Written & { readonly size: bigint }> {
  const { signal } = options
  const iterator = content[Symbol.asyncIterator]()
  try {
    const head = await readHead(iterator, layout.chunkBytes, signal)
    if (head.ended && !layout.trickle) {
      // What the importer makes of a file of one chunk, without its generators: 10,000 small files are an eighth of the
      // work. It also wraps a leaf that is no raw block twice when there are attributes (17.1.1).
      const bytes = joined(head.parts, head.bytes)
      const raw = layout.rawLeaves && attributes.mode === undefined && attributes.mtime === undefined
      const file = raw ? await writeRaw(bytes, sink) : await writeSmallFile(bytes, attributes, layout, sink)
      return { ...file, size: BigInt(head.bytes) }
    }
    const counted = { bytes: 0 }
    const source = rest(head, iterator, counted, signal)
    const file = await writeChunks(source, attributes, layout, sink)
    return { ...file, size: BigInt(counted.bytes) }
  } finally {
    await iterator.return?.()
  }
}

interface Head {
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
  readonly ended: boolean
}

/** Reads until the source ends or has given more than one chunk. */
async function readHead(iterator: AsyncIterator<Uint8Array>, chunkBytes: number, signal: AbortSignal): Promise<Head> {
  const parts: Uint8Array[] = []
  let bytes = 0
  while (bytes <= chunkBytes) {
    signal.throwIfAborted()
    const next = await iterator.next()
    if (next.done) return { parts, bytes, ended: true }
    parts.push(next.value)
    bytes += next.value.byteLength
  }
  return { parts, bytes, ended: false }
}

/** The importer ignores signals, so its source heeds ours. */
async function* rest(
  head: Head,
  iterator: AsyncIterator<Uint8Array>,
  counted: { bytes: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  counted.bytes = head.bytes
  yield* head.parts
  if (head.ended) return
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    signal.throwIfAborted()
    counted.bytes += next.value.byteLength
    yield next.value
  }
}

async function writeChunks(
  content: AsyncIterable<Uint8Array>,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  const source = [{ content, ...unixfsAttributes(attributes) }]
  const storage = {
    put: async (cid: Written['cid'], bytes: Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
      if (!(bytes instanceof Uint8Array)) throw new AppError('INTERNAL', 'the importer put a block in pieces')
      await sink.put(cid, bytes)
      return cid
    },
  }
  const { linksMax: maxChildrenPerNode } = layout
  const results = importer(source, storage, {
    profile: layout.profile,
    rawLeaves: layout.rawLeaves,
    chunker: fixedSize({ chunkSize: layout.chunkBytes }),
    layout: layout.trickle ? trickle({ maxChildrenPerNode }) : balanced({ maxChildrenPerNode }),
    // As in Kubo: a trickle file has a root above its leaves even when there is one, and leaves of type raw.
    reduceSingleLeafToSelf: !layout.trickle,
    leafType: layout.trickle ? 'raw' : 'file',
    fileImportConcurrency: 1,
    blockWriteConcurrency: chunksAhead,
  })
  for await (const { cid, size } of results) return { cid, dagBytes: Number(size) }
  throw new AppError('INTERNAL', 'the importer made no file')
}

/** One buffer of its own: a view would keep the whole of the network buffer it lies in alive. */
function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = Buffer.allocUnsafeSlow(bytes)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole
}
