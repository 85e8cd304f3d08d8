import { tarEndBytes, tarHeaders, tarRecordBytes } from '../lib/tar-headers.ts'
import { KiB } from '../lib/units.ts'
import { readFile, readSmallFile } from './local-file.ts'
import type { LocalEntry } from './local-tree.ts'

/** Small files gather in a buffer of this size before they are handed on. */
const gatherBytes = 256 * KiB
const smallFileBytesMax = 64 * KiB

export interface TarOptions {
  /** Keep times, to the nanosecond. It costs 1 KiB an entry, and without it the same tree is the same bytes. */
  readonly mtime: boolean
}

/**
 * The entries as a tar: POSIX ustar, with a pax header where a path, a link, a size or a time does not fit it (IEEE Std
 * 1003.1, "pax"). No owner, no group, nothing of this machine.
 * Memory: one gathering buffer and one read buffer. @throws AppError FILE_UNUSABLE when a file changes under it
 */
export async function* tarStream(entries: Iterable<LocalEntry>, options: TarOptions): AsyncGenerator<Uint8Array> {
  let gathered = Buffer.allocUnsafeSlow(gatherBytes)
  let filled = 0
  const take = (): Uint8Array => {
    const part = gathered.subarray(0, filled)
    gathered = Buffer.allocUnsafeSlow(gatherBytes)
    filled = 0
    return part
  }
  for (const entry of entries) {
    const headers = headersOf(entry, options)
    const small = entry.size <= smallFileBytesMax
    const inline = headers.byteLength + (small ? padded(entry.size) : 0)
    if (filled + inline > gathered.byteLength && filled > 0) yield take()
    if (inline > gathered.byteLength) {
      // A path of many kilobytes: rare, and correct.
      yield headers
    } else {
      filled += headers.copy(gathered, filled)
    }
    if (entry.kind !== 'file') continue
    if (small) {
      readSmallFile(entry, gathered, filled)
      gathered.fill(0, filled + entry.size, filled + padded(entry.size))
      filled += padded(entry.size)
    } else {
      if (filled > 0) yield take()
      yield* readFile(entry)
      yield Buffer.alloc(padded(entry.size) - entry.size)
    }
  }
  if (filled > 0) yield take()
  yield Buffer.alloc(tarEndBytes)
}

/** Bytes that the tar of these entries has, so that its length can be announced. */
export function tarBytes(entries: Iterable<LocalEntry>, options: TarOptions): number {
  let bytes = tarEndBytes
  for (const entry of entries) bytes += headersOf(entry, options).byteLength + padded(entry.size)
  return bytes
}

function padded(bytes: number): number {
  return Math.ceil(bytes / tarRecordBytes) * tarRecordBytes
}

function headersOf(entry: LocalEntry, { mtime }: TarOptions): Buffer {
  const { kind, path, size, mode, target } = entry
  return tarHeaders({
    kind,
    path: kind === 'directory' && path === '' ? '.' : path,
    size: BigInt(size),
    mode,
    mtimeSeconds: mtime ? entry.mtime : { secs: 0n, nsecs: 0 },
    target,
  })
}
