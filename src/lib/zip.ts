import { crc32, inflateRawSync } from 'node:zlib'

const endSignature = 0x06054b50
const entrySignature = 0x02014b50
const localSignature = 0x04034b50
const endBytes = 22

/**
 * The first file in a zip archive whose name satisfies `wanted`, unpacked; undefined when there is none.
 * For small archives known to be whole in memory: stored and deflated entries, no zip64, no encryption.
 * @throws Error when the archive is damaged, or the file is larger than `bytesMax`
 */
export function readZipEntry(zip: Buffer, wanted: (name: string) => boolean, bytesMax: number): Buffer | undefined {
  const end = findEnd(zip)
  const entries = zip.readUInt16LE(end + 10)
  let at = zip.readUInt32LE(end + 16)
  for (let index = 0; index < entries; index++) {
    if (zip.readUInt32LE(at) !== entrySignature) throw new Error('zip: damaged directory')
    const nameBytes = zip.readUInt16LE(at + 28)
    const name = zip.toString('utf8', at + 46, at + 46 + nameBytes)
    if (wanted(name)) return unpack(zip, at, bytesMax)
    at += 46 + nameBytes + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32)
  }
  return undefined
}

/** The directory's end record lies at the end of the archive, before a comment of at most 64 KiB. */
function findEnd(zip: Buffer): number {
  const lowest = Math.max(0, zip.length - endBytes - 0xffff)
  for (let at = zip.length - endBytes; at >= lowest; at--) {
    if (zip.readUInt32LE(at) === endSignature) return at
  }
  throw new Error('zip: not a zip archive')
}

function unpack(zip: Buffer, entry: number, bytesMax: number): Buffer {
  const method = zip.readUInt16LE(entry + 10)
  const sum = zip.readUInt32LE(entry + 16)
  const packedBytes = zip.readUInt32LE(entry + 20)
  const bytes = zip.readUInt32LE(entry + 24)
  if (bytes > bytesMax) throw new Error(`zip: a file of ${bytes} bytes, more than ${bytesMax}`)
  const local = zip.readUInt32LE(entry + 42)
  if (zip.readUInt32LE(local) !== localSignature) throw new Error('zip: damaged entry')
  const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
  const packed = zip.subarray(start, start + packedBytes)
  const file = method === 0 ? packed : inflateRawSync(packed, { maxOutputLength: bytesMax })
  if ((method !== 0 && method !== 8) || file.length !== bytes || crc32(file) !== sum) {
    throw new Error('zip: damaged file')
  }
  return file
}
