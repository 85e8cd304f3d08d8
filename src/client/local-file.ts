import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { AppError } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import { fileError, type LocalEntry } from './local-tree.ts'

/** Bytes read at a time. */
const readBytes = 256 * KiB

/**
 * The content of a file that was `entry.size` bytes long when it was looked at: its length is already announced.
 * The last part is held back until the end has been seen, so a node never gets all bytes of a file that changed.
 * @throws AppError FILE_UNUSABLE when it has grown or shrunk since
 */
export async function* readFile(entry: LocalEntry): AsyncGenerator<Uint8Array> {
  const handle = await open(entry.file, 'r').catch((cause: unknown) => Promise.reject(fileError(entry.file, cause)))
  try {
    let held = await readChunk(handle, entry)
    let bytes = held.byteLength
    while (held.byteLength > 0) {
      const next = await readChunk(handle, entry)
      bytes += next.byteLength
      if (bytes > entry.size || (next.byteLength === 0 && bytes !== entry.size)) throw changed(entry)
      yield held
      held = next
    }
    if (bytes !== entry.size) throw changed(entry)
  } finally {
    await handle.close()
  }
}

async function readChunk(handle: FileHandle, entry: LocalEntry): Promise<Uint8Array> {
  // A new buffer each time: the socket may still hold the one before.
  const buffer = Buffer.allocUnsafeSlow(readBytes)
  const { bytesRead } = await handle
    .read(buffer, 0, buffer.byteLength)
    .catch((cause: unknown) => Promise.reject(fileError(entry.file, cause)))
  return buffer.subarray(0, bytesRead)
}

/**
 * A small file into `target` at `offset`, in one go. Four system calls instead of four trips through the thread pool:
 * 10,000 files of 1 KiB cost 0.1 s of CPU so, and above a second with promises.
 * @throws AppError as `readFile`
 */
export function readSmallFile(entry: LocalEntry, target: Buffer, offset: number): void {
  const descriptor = attempt(entry, () => openSync(entry.file, constants.O_RDONLY | constants.O_NOFOLLOW))
  try {
    let bytes = 0
    while (bytes < entry.size) {
      const read = attempt(entry, () => readSync(descriptor, target, offset + bytes, entry.size - bytes, null))
      if (read === 0) throw changed(entry)
      bytes += read
    }
    if (fstatSync(descriptor).size !== entry.size) throw changed(entry)
  } finally {
    closeSync(descriptor)
  }
}

function attempt<T>(entry: LocalEntry, act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw fileError(entry.file, cause)
  }
}

function changed(entry: LocalEntry): AppError {
  return new AppError('FILE_UNUSABLE', `${entry.file} changed its size while it was read`, {
    hint: 'nothing was added; try again when nobody writes to it',
  })
}
