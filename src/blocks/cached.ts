import type { CID } from 'multiformats/cid'
import { ByteLru } from '../lib/lru.ts'
import { unlessAborted } from '../lib/unless-aborted.ts'
import { multihashKey } from './block.ts'
import type { Abortable, Blockstore, BlockWriter, Want } from './blockstore.ts'

export interface CacheStats {
  readonly bytes: number
  readonly bytesMax: number
  readonly hits: number
  readonly misses: number
}

/** Memory that an entry costs beyond its bytes: key, map entry, view. */
const entryOverheadBytes = 256

/**
 * Keeps what was read, bounded in bytes. Put it above `verified`, so that what it holds has been checked. Blocks never
 * change, so nothing ever has to be invalidated but by `delete`. Reads of one block at the same time share one read.
 */
export class CachedBlockstore implements Blockstore {
  readonly #blocks: Blockstore
  readonly #cache: ByteLru<Uint8Array>
  readonly #bytesMax: number
  readonly #underWay = new Map<string, { readonly read: Promise<Uint8Array>; readonly signal: AbortSignal }>()
  #hits = 0
  #misses = 0

  constructor(blocks: Blockstore, bytesMax: number) {
    this.#blocks = blocks
    this.#bytesMax = bytesMax
    this.#cache = new ByteLru(bytesMax)
  }

  get stats(): CacheStats {
    return { bytes: this.#cache.bytes, bytesMax: this.#bytesMax, hits: this.#hits, misses: this.#misses }
  }

  async has(cid: CID, options: Abortable): Promise<boolean> {
    return this.#cache.get(multihashKey(cid)) !== undefined || this.#blocks.has(cid, options)
  }

  async size(cid: CID, options: Abortable): Promise<number> {
    return this.#cache.get(multihashKey(cid))?.byteLength ?? this.#blocks.size(cid, options)
  }

  async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    options.signal.throwIfAborted()
    const key = multihashKey(cid)
    const cached = this.#cache.get(key)
    if (cached !== undefined) {
      this.#hits++
      return cached
    }
    this.#misses++
    return this.#single(key, cid, options)
  }

  async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    const keys = wants.map(({ cid }) => multihashKey(cid))
    const result = keys.map((key) => this.#cache.get(key))
    const missing = wants.filter((_, i) => result[i] === undefined)
    this.#hits += wants.length - missing.length
    this.#misses += missing.length
    const read = missing.length === 0 ? [] : await this.#blocks.getBatch(missing, options)
    let next = 0
    return result.map((cached, i) => {
      if (cached !== undefined) return cached
      const bytes = read[next++] ?? new Uint8Array()
      this.#keep(keys[i] ?? '', bytes)
      return bytes
    })
  }

  put(block: Parameters<Blockstore['put']>[0], options: Abortable): Promise<boolean> {
    return this.#blocks.put(block, options)
  }

  openWriter(options: Abortable): BlockWriter {
    return this.#blocks.openWriter(options)
  }

  async delete(cid: CID, options: Abortable): Promise<void> {
    this.#cache.delete(multihashKey(cid))
    await this.#blocks.delete(cid, options)
    // A read that was under way may have put it back.
    this.#cache.delete(multihashKey(cid))
  }

  /** The first to ask reads. Those who joined share what it comes to, but not its abort: then they ask again. */
  async #single(key: string, cid: CID, options: Abortable): Promise<Uint8Array> {
    const joined = this.#underWay.get(key)
    if (joined !== undefined) {
      try {
        return await unlessAborted(joined.read, options.signal)
      } catch (error) {
        options.signal.throwIfAborted()
        if (!joined.signal.aborted) throw error
        return this.#single(key, cid, options)
      }
    }
    const read = this.#blocks.get(cid, options)
    this.#underWay.set(key, { read, signal: options.signal })
    try {
      const bytes = await read
      this.#keep(key, bytes)
      return bytes
    } finally {
      this.#underWay.delete(key)
    }
  }

  /** A small block is often a view of a large network buffer: a copy keeps the accounting honest. */
  #keep(key: string, bytes: Uint8Array): void {
    const own = bytes.buffer.byteLength > bytes.byteLength * 2 ? bytes.slice() : bytes
    this.#cache.set(key, own, own.byteLength + entryOverheadBytes)
  }
}

export function cached(blocks: Blockstore, bytesMax: number): CachedBlockstore {
  return new CachedBlockstore(blocks, bytesMax)
}
