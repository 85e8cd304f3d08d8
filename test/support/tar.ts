export interface TarEntry {
  readonly path: string
  /** The type flag; default: a file. */
  readonly type?: string
  readonly content?: string | Uint8Array
  readonly target?: string
  readonly mode?: number
  readonly mtime?: number
  /** For headers that lie. */
  readonly size?: string
}

/** One header record and the padded content: POSIX ustar, names up to 100 bytes. */
export function tarEntry(entry: TarEntry): Buffer {
  const content = Buffer.from(entry.content ?? '')
  const header = Buffer.alloc(512)
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0')
  header.write(entry.path, 0, 100)
  header.write(octal(entry.mode ?? 0o644, 7), 100)
  header.write(entry.size ?? octal(content.byteLength, 11), 124, 12, 'latin1')
  header.write(octal(entry.mtime ?? 0, 11), 136)
  header.write('        ', 148)
  header.write(entry.type ?? '0', 156)
  header.write(entry.target ?? '', 157, 100)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.byteLength % 512)) % 512)])
}

export const tarEnd = Buffer.alloc(1024)

export function tar(...entries: TarEntry[]): Buffer {
  return Buffer.concat([...entries.map(tarEntry), tarEnd])
}

/** A pax header for the entry after it. */
export function paxEntry(records: Readonly<Record<string, string>>): TarEntry {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`)
    let length = rest + 1
    while (String(length).length + rest !== length) length++
    return `${length} ${key}=${value}\n`
  })
  return { path: 'pax', type: 'x', content: lines.join('') }
}
