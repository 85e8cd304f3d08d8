import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Files in which nats-server keeps the messages of a store's buckets, by name. */
export async function storeFiles(dataDir: string, bucketPrefix: string): Promise<string[]> {
  const entries = await readdir(dataDir, { recursive: true, withFileTypes: true })
  return entries
    .filter(({ name, parentPath }) => name.endsWith('.blk') && parentPath.includes(`OBJ_${bucketPrefix}`))
    .map(({ name, parentPath }) => join(parentPath, name))
    .sort()
}

/** Flips one bit at each of `count` places, spread evenly over the file. The server must be down. */
export async function flipBits(file: string, count: number): Promise<void> {
  const bytes = await readFile(file)
  for (let i = 0; i < count; i++) {
    const at = Math.floor(((i + 0.5) / count) * bytes.byteLength)
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (i % 8)), at)
  }
  await writeFile(file, bytes)
}

/** The file of messages is gone. The server must be down. */
export const deleteFile = (file: string): Promise<void> => rm(file)
