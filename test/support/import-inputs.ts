import { createCipheriv, createHash } from 'node:crypto'
import type { Blockstore } from '../../src/blocks/blockstore.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'

/** The bytes that IPIP-499's vectors are made of: the ChaCha20 key stream of sha256(seed), nonce 0. */
export async function* keyStream(bytes: number, seed: string, partBytes = 65_536): AsyncGenerator<Uint8Array> {
  const cipher = createCipheriv('chacha20', createHash('sha256').update(seed).digest(), Buffer.alloc(16))
  for (let left = bytes; left > 0; left -= partBytes) yield cipher.update(Buffer.alloc(Math.min(left, partBytes)))
}

export async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of source) parts.push(part)
  return Buffer.concat(parts)
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz01234567890-_'

/** The file names of its directory vectors; all have `length` characters but the last. */
export async function vectorNames(count: number, length: number, lastLength: number, seed: string): Promise<string[]> {
  const stream = await bytesOf(keyStream(1_048_576, seed))
  const nameAt = (offset: number, characters: number) =>
    Array.from(stream.subarray(offset, offset + characters), (byte) => alphabet[byte % alphabet.length]).join('')
  return Array.from({ length: count }, (_, index) => nameAt(index * length, index === count - 1 ? lastLength : length))
}

export async function* streamOf(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}

export const file = (path: string, content: string | Uint8Array): ImportEntry => ({
  kind: 'file',
  path,
  content: streamOf(content),
  attributes: {},
})

export const directory = (path: string): ImportEntry => ({ kind: 'directory', path, attributes: {} })

export const symlink = (path: string, target: string): ImportEntry => ({
  kind: 'symlink',
  path,
  target,
  attributes: {},
})

export async function* entriesOf(...entries: ImportEntry[]): AsyncGenerator<ImportEntry> {
  yield* entries
}

/** Counts blocks and forgets them: for inputs larger than memory. */
export function forgetful(): Pick<Blockstore, 'openWriter'> {
  return {
    openWriter: () => {
      let blocks = 0
      return {
        put: async () => {
          blocks++
        },
        flush: async () => ({ blocks, newBlocks: blocks }),
      }
    },
  }
}
