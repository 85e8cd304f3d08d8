import type { CID } from 'multiformats/cid'
import { type HashedBlock, multihashKey } from './block.ts'
import { type Abortable, type Blockstore, type BlockWriter, blockNotFound, type Want } from './blockstore.ts'

/** Blocks in a map: what the contract suite is first run on, and what tests of pure parts read from. */
export class MemoryBlockstore implements Blockstore {
  readonly #blocks = new Map<string, Uint8Array>()

  get count(): number {
    return this.#blocks.size
  }

  async has(cid: CID, { signal }: Abortable): Promise<boolean> {
    signal.throwIfAborted()
    return this.#blocks.has(multihashKey(cid))
  }

  async size(cid: CID, options: Abortable): Promise<number> {
    return (await this.get(cid, options)).byteLength
  }

  async get(cid: CID, { signal }: Abortable): Promise<Uint8Array> {
    signal.throwIfAborted()
    return this.#find(cid)
  }

  async getBatch(wants: readonly Want[], { signal }: Abortable): Promise<Uint8Array[]> {
    signal.throwIfAborted()
    return wants.map(({ cid }) => this.#find(cid))
  }

  async put(block: HashedBlock, { signal }: Abortable): Promise<boolean> {
    signal.throwIfAborted()
    return this.#keep(block)
  }

  openWriter({ signal }: Abortable): BlockWriter {
    let blocks = 0
    let newBlocks = 0
    return {
      put: async (block) => {
        signal.throwIfAborted()
        blocks++
        if (this.#keep(block)) newBlocks++
      },
      flush: async () => {
        signal.throwIfAborted()
        return { blocks, newBlocks }
      },
    }
  }

  async delete(cid: CID, { signal }: Abortable): Promise<void> {
    signal.throwIfAborted()
    this.#blocks.delete(multihashKey(cid))
  }

  #find(cid: CID): Uint8Array {
    const bytes = this.#blocks.get(multihashKey(cid))
    if (bytes === undefined) throw blockNotFound(cid)
    return bytes
  }

  /** A copy: an importer's chunks are views of larger buffers, which it uses again. `slice` of a Buffer would be a view. */
  #keep({ cid, bytes }: HashedBlock): boolean {
    const key = multihashKey(cid)
    if (this.#blocks.has(key)) return false
    this.#blocks.set(key, new Uint8Array(bytes))
    return true
  }
}
