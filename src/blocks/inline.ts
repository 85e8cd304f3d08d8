import type { CID } from 'multiformats/cid'
import { checkCid, type HashedBlock, isIdentity } from './block.ts'
import type { Abortable, Blockstore, BlockWriter, Want } from './blockstore.ts'

/** Answers identity CIDs from the CID itself; everything else goes to `store`, which never sees one. */
export function inline(store: Blockstore): Blockstore {
  return {
    has: async (cid, options) => (isIdentity(cid) ? inlineBytes(cid, options) !== undefined : store.has(cid, options)),
    size: async (cid, options) => (isIdentity(cid) ? inlineBytes(cid, options).byteLength : store.size(cid, options)),
    get: async (cid, options) => (isIdentity(cid) ? inlineBytes(cid, options) : store.get(cid, options)),
    getBatch: (wants, options) => getBatch(store, wants, options),
    put: async (block, options) => (isIdentity(block.cid) ? neverNew(block, options) : store.put(block, options)),
    openWriter: (options) => inlineWriter(store.openWriter(options), options),
    delete: async (cid, options) => {
      if (!isIdentity(cid)) await store.delete(cid, options)
    },
  }
}

/** @throws AppError CID_INVALID above the limit of inline bytes */
function inlineBytes(cid: CID, { signal }: Abortable): Uint8Array {
  signal.throwIfAborted()
  checkCid(cid)
  return cid.multihash.digest
}

function neverNew(block: HashedBlock, options: Abortable): false {
  inlineBytes(block.cid, options)
  return false
}

async function getBatch(store: Blockstore, wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
  if (!wants.some(({ cid }) => isIdentity(cid))) return store.getBatch(wants, options)
  const stored = wants.filter(({ cid }) => !isIdentity(cid))
  const fetched = stored.length === 0 ? [] : await store.getBatch(stored, options)
  const next = fetched.values()
  return wants.flatMap(({ cid }) => (isIdentity(cid) ? inlineBytes(cid, options) : (next.next().value ?? [])))
}

function inlineWriter(writer: BlockWriter, options: Abortable): BlockWriter {
  let inlined = 0
  return {
    put: async (block) => {
      if (!isIdentity(block.cid)) return writer.put(block)
      inlineBytes(block.cid, options)
      inlined++
    },
    flush: async () => {
      const stats = await writer.flush()
      return { ...stats, blocks: stats.blocks + inlined }
    },
  }
}
