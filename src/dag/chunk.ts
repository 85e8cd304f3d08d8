import type { BufferPool } from '../lib/buffer-pool.ts'

export interface Chunk {
  readonly bytes: Uint8Array
  /** Gives the memory back; for whoever is the last to read it. Undefined: it is the reader's own. */
  readonly release: (() => void) | undefined
}

/**
 * Cuts a stream into chunks of exactly `chunkBytes`, the last one shorter; none for an empty stream. Each chunk is a buffer
 * of its own, so that it holds no network buffer alive; full ones come from `pool` where it has that size.
 */
export async function* chunksOf(
  content: AsyncIterable<Uint8Array>,
  chunkBytes: number,
  signal: AbortSignal,
  pool?: BufferPool,
): AsyncGenerator<Chunk, void, undefined> {
  const pooled = pool?.bytesEach === chunkBytes ? pool : undefined
  let chunk: Buffer | undefined
  let filled = 0
  for await (const part of content) {
    signal.throwIfAborted()
    for (let at = 0; at < part.byteLength; ) {
      chunk ??= pooled?.take() ?? Buffer.allocUnsafeSlow(chunkBytes)
      const taken = Math.min(chunkBytes - filled, part.byteLength - at)
      chunk.set(part.subarray(at, at + taken), filled)
      filled += taken
      at += taken
      if (filled < chunkBytes) continue
      const full = chunk
      yield { bytes: full, release: pooled === undefined ? undefined : () => pooled.give(full) }
      chunk = undefined
      filled = 0
    }
  }
  if (chunk === undefined || filled === 0) return
  const last = Buffer.from(chunk.subarray(0, filled))
  pooled?.give(chunk)
  yield { bytes: last, release: undefined }
}
