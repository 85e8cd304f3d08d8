import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** Left of the free space for the server's indexes and for others. */
const usableShare = 0.9

/**
 * What the store may hold in all when nobody said: what it holds, and most of what is free. The server refuses a write
 * beyond it in order; a write that the disk refuses freezes the stream. (The server's own default, three quarters of
 * what is free, shrinks at every start before 2.15.)
 */
export async function storeBytesMaxOf(dataDir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dataDir)
  return Math.floor((await bytesOf(join(dataDir, 'jetstream'))) + bavail * bsize * usableShare)
}

/** Of all files below the folder; 0 when there is none. One folder at a time: a store has few folders, with many files. */
async function bytesOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  let bytes = 0
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) bytes += await bytesOf(path)
    // A file may go while we look: the server removes its own temporary ones.
    else bytes += (await stat(path).catch(() => undefined))?.size ?? 0
  }
  return bytes
}
