import { randomBytes } from 'node:crypto'
import { MiB } from '../../src/lib/units.ts'

const stampBytes = 64
const template = randomBytes(MiB)

/**
 * Content that nobody has seen: one random MiB, and at the head of each MiB a stamp of its own. Costs next to nothing, so
 * that the client does not eat the core that the server needs. Aligned: with chunks of 1 MiB no two blocks are alike.
 */
export function* freshParts(bytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes; at += MiB) {
    const wanted = Math.min(MiB, bytes - at)
    yield randomBytes(Math.min(stampBytes, wanted))
    if (wanted > stampBytes) yield template.subarray(stampBytes, wanted)
  }
}

/** The same as whole chunks, for clients that want them in one piece. */
export function* freshChunks(bytes: number, chunkBytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes; at += chunkBytes) {
    const chunk = Buffer.from(template.subarray(0, Math.min(chunkBytes, bytes - at)))
    randomBytes(Math.min(stampBytes, chunk.byteLength)).copy(chunk)
    yield chunk
  }
}
