/**
 * Cuts a stream into chunks of exactly `chunkBytes`, the last one shorter; none for an empty stream. Each chunk is a buffer
 * of its own, so that it holds no network buffer alive.
 */
export async function* chunksOf(
  content: AsyncIterable<Uint8Array>,
  chunkBytes: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let chunk: Buffer | undefined
  let filled = 0
  for await (const part of content) {
    signal.throwIfAborted()
    for (let at = 0; at < part.byteLength; ) {
      chunk ??= Buffer.allocUnsafeSlow(chunkBytes)
      const taken = Math.min(chunkBytes - filled, part.byteLength - at)
      chunk.set(part.subarray(at, at + taken), filled)
      filled += taken
      at += taken
      if (filled < chunkBytes) continue
      yield chunk
      chunk = undefined
      filled = 0
    }
  }
  if (chunk !== undefined && filled > 0) yield Buffer.from(chunk.subarray(0, filled))
}
