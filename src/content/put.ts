import type { CID } from 'multiformats/cid'
import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { unwritten } from '../blocks/unwritten.ts'
import type { LimitConfig } from '../config.ts'
import { importCar, partialHint } from '../dag/car-import.ts'
import { importDirectory } from '../dag/import-directory.ts'
import { importFile } from '../dag/import-file.ts'
import type {
  Attributes,
  DirectoryImportOptions,
  ImportEntry,
  ImportOptions,
  ImportResult,
} from '../dag/import-options.ts'
import type { DagLimits } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import type { BufferPool } from '../lib/buffer-pool.ts'
import { formatBytes } from '../lib/units.ts'
import type { PutResult } from './put-result.ts'

// What an entrance needs to hand content over.
export type { Abortable } from '../blocks/blockstore.ts'
export type { Attributes, DirectoryImportOptions, ImportEntry, Profile } from '../dag/import-options.ts'
export { chunkBytesMax, chunkBytesMin, profiles } from '../dag/import-options.ts'
export { type PutResult, partialFields } from './put-result.ts'

export interface PutFileOptions extends ImportOptions {
  readonly attributes?: Attributes
  /** Puts the file under this name into a directory, which becomes the root. */
  readonly wrapAs?: string
}

export interface PutCarOptions extends Abortable {
  readonly partial?: boolean
}

export type PutLimits = DagLimits &
  Pick<LimitConfig, 'uploadBytesMax' | 'uploadEntriesMax' | 'carHeaderBytesMax' | 'carRootsMax' | 'carBlocksMax'>

/**
 * Content into the store. What is answered is durable; what fails leaves no root behind.
 * @throws AppError UPLOAD_TOO_LARGE | STORE_FULL | STORE_UNAVAILABLE; what the source throws; the signal's reason
 */
export interface Put extends PutWays {
  /** What it would come to: nothing is stored, and what is linked to is looked for in the store. */
  readonly dry: PutWays
}

export interface PutWays {
  file(source: AsyncIterable<Uint8Array>, options: PutFileOptions): Promise<PutResult>
  /** @throws also AppError REQUEST_INVALID | LIMIT_EXCEEDED for entries that cannot be stored: see `importDirectory` */
  directory(entries: AsyncIterable<ImportEntry>, options: DirectoryImportOptions): Promise<PutResult>
  /**
   * `partial`: its blocks alone, without a promise that what its roots stand for is all here, or even that they are, or that
   * it names any.
   * @throws also AppError CAR_INVALID | BLOCK_TOO_LARGE | LIMIT_EXCEEDED; a CAR that names no root is CAR_INVALID
   */
  car(source: AsyncIterable<Uint8Array>, options: PutCarOptions): Promise<PutResult<CID | undefined>>
}

interface PutParts {
  readonly blocks: Blockstore
  readonly limits: PutLimits
  readonly pool?: BufferPool
}

/** @param parts.pool where chunks come from; only over a store that has no use for a block's bytes once it is written */
export function createPut(parts: PutParts): Put {
  const { blocks, limits } = parts
  return { ...putWays(parts), dry: putWays({ blocks: unwritten(blocks), limits }) }
}

function putWays({ blocks, limits, pool }: PutParts): PutWays {
  return {
    async file(source, options) {
      const attributes = options.attributes ?? {}
      const content = atMost(source, uploadAllowance(limits))
      if (options.wrapAs === undefined)
        return rooted(await importFile(content, attributes, blocks, { ...options, pool }))
      const entries = [{ kind: 'file', path: options.wrapAs, content, attributes } as const]
      return rooted(await importDirectory(each(entries), blocks, { ...options, pool, wrap: true, hidden: true }))
    },
    async directory(entries, options) {
      return rooted(
        await importDirectory(limitedEntries(entries, uploadAllowance(limits)), blocks, {
          ...options,
          pool,
          entriesMax: limits.uploadEntriesMax,
        }),
      )
    },
    async car(source, { signal, partial = false }) {
      const car = await importCar(source, blocks, { signal, partial, limits })
      const { roots, missing, bytes: size, blocks: count, newBlocks } = car
      if (roots.length === 0 && !partial)
        throw new AppError('CAR_INVALID', 'the CAR names no root', { hint: partialHint })
      const isWhole = missing?.length === 0
      return {
        cid: roots[0],
        size,
        blocks: count,
        newBlocks,
        roots,
        ...(isWhole || !partial ? {} : { partial: { missing } }),
      }
    },
  }
}

const rooted = (result: ImportResult): PutResult => ({ ...result, roots: [result.cid] })

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

/** What is left of an upload's limit; all its files share one. */
interface Allowance {
  readonly bytesMax: number
  left: number
}

function uploadAllowance({ uploadBytesMax }: PutLimits): Allowance {
  return { bytesMax: uploadBytesMax, left: uploadBytesMax }
}

async function* limitedEntries(entries: AsyncIterable<ImportEntry>, allowance: Allowance): AsyncGenerator<ImportEntry> {
  for await (const entry of entries) {
    yield entry.kind === 'file' ? { ...entry, content: atMost(entry.content, allowance) } : entry
  }
}

async function* atMost(source: AsyncIterable<Uint8Array>, allowance: Allowance): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    allowance.left -= chunk.byteLength
    if (allowance.left < 0) {
      throw new AppError('UPLOAD_TOO_LARGE', `the upload is larger than ${formatBytes(allowance.bytesMax)}`, {
        limit: 'upload_bytes',
        hint: 'the setting is STOWAGE_UPLOAD_BYTES_MAX',
      })
    }
    yield chunk
  }
}
