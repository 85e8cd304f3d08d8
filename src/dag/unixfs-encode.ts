import type { UnixTime } from '../lib/unix-time.ts'

/** A UnixFS Data message to be written, by https://specs.ipfs.tech/unixfs/; `undefined` leaves a field out. */
export interface UnixfsFields {
  readonly type: 'raw' | 'directory' | 'file' | 'symlink' | 'hamt'
  readonly data?: Uint8Array | undefined
  /** Content bytes of files and raw leaves; Kubo writes none for symlinks. */
  readonly fileBytes?: number | undefined
  /** Content bytes below each link. */
  readonly blockBytes?: readonly number[] | undefined
  readonly hashType?: number | undefined
  readonly fanout?: number | undefined
  /** POSIX permission bits. */
  readonly mode?: number | undefined
  readonly mtime?: UnixTime | undefined
}

const typeNumbers = { raw: 0, directory: 1, file: 2, symlink: 4, hamt: 5 } as const

/**
 * The bytes of the message, fields in ascending order, as Kubo writes them.
 *
 * Not `marshal()` of ipfs-unixfs 13.1.1: protons-runtime 7.1.2 under it writes every 64-bit number from 2^31 to 2^32 - 1
 * wrongly, so files of 2 to 4 GiB got roots that nobody can read. It also leaves out modes 0644 and 0755, which Kubo keeps.
 */
export function encodeUnixfs(fields: UnixfsFields): Uint8Array {
  const out: number[] = []
  const number = (field: number, value: number | bigint | undefined): void => {
    if (value !== undefined) out.push((field << 3) | 0, ...varint(value))
  }
  const { data, mtime } = fields
  const parts: Uint8Array[] = []
  number(1, typeNumbers[fields.type])
  if (data !== undefined) {
    out.push((2 << 3) | 2, ...varint(data.byteLength))
    parts.push(Uint8Array.from(out.splice(0)), data)
  }
  number(3, fields.fileBytes)
  for (const bytes of fields.blockBytes ?? []) number(4, bytes)
  number(5, fields.hashType)
  number(6, fields.fanout)
  number(7, fields.mode)
  if (mtime !== undefined) {
    const time = encodeTime(mtime)
    out.push((8 << 3) | 2, ...varint(time.length), ...time)
  }
  parts.push(Uint8Array.from(out))
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
}

/** UnixTime: seconds as int64, nanoseconds as fixed32 where there are any. */
function encodeTime({ secs, nsecs }: UnixTime): number[] {
  const out = [(1 << 3) | 0, ...varint(BigInt.asUintN(64, secs))]
  if (nsecs === 0) return out
  const fixed = Buffer.alloc(4)
  fixed.writeUInt32LE(nsecs)
  return [...out, (2 << 3) | 5, ...fixed]
}

/** Whole numbers from 0 to 2^53 - 1, or a bigint of up to 64 bits. */
export function varint(value: number | bigint): number[] {
  const bytes: number[] = []
  if (typeof value === 'bigint') {
    let rest = value
    for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
    bytes.push(Number(rest))
    return bytes
  }
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  bytes.push(rest)
  return bytes
}
