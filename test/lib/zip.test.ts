import { crc32, deflateRawSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { readZipEntry } from '../../src/lib/zip.ts'

/** A zip archive by the book (APPNOTE 4.3), of files given as name → text. */
function zipOf(files: Readonly<Record<string, string>>, method: 0 | 8): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const [name, text] of Object.entries(files)) {
    const file = Buffer.from(text)
    const packed = method === 8 ? deflateRawSync(file) : file
    const local = Buffer.alloc(30)
    local.writeUInt32LE(0x04034b50, 0)
    local.writeUInt16LE(Buffer.byteLength(name), 26)
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(method, 10)
    entry.writeUInt32LE(crc32(file), 16)
    entry.writeUInt32LE(packed.length, 20)
    entry.writeUInt32LE(file.length, 24)
    entry.writeUInt16LE(Buffer.byteLength(name), 28)
    entry.writeUInt32LE(at, 42)
    directory.push(entry, Buffer.from(name))
    parts.push(local, Buffer.from(name), packed)
    at += 30 + Buffer.byteLength(name) + packed.length
  }
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(Object.keys(files).length, 10)
  end.writeUInt32LE(Buffer.concat(directory).length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, ...directory, end])
}

const files = { 'a.txt': 'first', 'deep/b.txt': 'second '.repeat(100) }

test('a file is read from an archive, packed or not, and an absent one is undefined', () => {
  for (const method of [0, 8] as const) {
    const zip = zipOf(files, method)
    const found = readZipEntry(zip, (name) => name.endsWith('/b.txt'), 1_000)
    expect(found?.toString()).toBe(files['deep/b.txt'])
    expect(readZipEntry(zip, (name) => name === 'c.txt', 1_000)).toBeUndefined()
  }
})

test('a file larger than the limit is refused, also when its header lies about its size', () => {
  const zip = zipOf(files, 8)
  expect(() => readZipEntry(zip, (name) => name === 'deep/b.txt', 100)).toThrow('more than 100')
  const lying = Buffer.from(zip)
  const entry = zip.lastIndexOf('deep/b.txt') - 46
  lying.writeUInt32LE(50, entry + 24)
  expect(() => readZipEntry(lying, (name) => name === 'deep/b.txt', 100)).toThrow()
})

test('a damaged file or directory is an error', () => {
  const zip = zipOf(files, 0)
  const damaged = Buffer.from(zip)
  damaged[40] = 0
  damaged[35] = (damaged[35] ?? 0) ^ 1
  expect(() => readZipEntry(damaged, (name) => name === 'a.txt', 1_000)).toThrow('damaged')
  expect(() => readZipEntry(zip.subarray(0, 60), () => true, 1_000)).toThrow('not a zip')
})
