import { randomFillSync } from 'node:crypto'

/** Of a UUID as text. */
export const uuidLength = 36
const poolBytes = 4096
const randomBytesPerId = 8
const pool = Buffer.alloc(poolBytes)
let poolAt = poolBytes
let lastMs = 0
let counter = 0
const digits = Buffer.from('0123456789abcdef')
const dash = 0x2d
/** `<time>-<time>-7` of the latest id, and its millisecond. */
const prefix = Buffer.alloc(15)
let prefixMs = -1
const scratch = Buffer.alloc(uuidLength)

/**
 * UUIDv7 (RFC 9562 §5.7): time-ordered; those made here within a millisecond keep their order by a 12-bit counter, which
 * borrows from the next millisecond when it runs over.
 */
export function uuidv7(): string {
  writeUuidv7(scratch, 0)
  return scratch.toString('latin1')
}

/** The same as 36 bytes of text; an id a read is too often for strings. */
export function writeUuidv7(target: Uint8Array, at: number): void {
  const nowMs = Date.now()
  if (nowMs > lastMs) {
    lastMs = nowMs
    counter = 0
  } else if (++counter > 0xfff) {
    lastMs++
    counter = 0
  }
  if (poolAt + randomBytesPerId > poolBytes) {
    randomFillSync(pool)
    poolAt = 0
  }
  if (prefixMs !== lastMs) {
    const time = lastMs.toString(16).padStart(12, '0')
    prefix.write(`${time.slice(0, 8)}-${time.slice(8)}-7`, 'latin1')
    prefixMs = lastMs
  }
  for (let i = 0; i < 15; i++) target[at + i] = prefix[i] ?? 0
  hexByte(target, at + 16, counter & 0xff)
  target[at + 15] = digits[counter >> 8] ?? 0
  target[at + 18] = dash
  // The variant, 0b10, in front of 62 random bits.
  hexByte(target, at + 19, 0x80 | ((pool[poolAt] ?? 0) & 0x3f))
  hexByte(target, at + 21, pool[poolAt + 1] ?? 0)
  target[at + 23] = dash
  for (let i = 0; i < 6; i++) hexByte(target, at + 24 + 2 * i, pool[poolAt + 2 + i] ?? 0)
  poolAt += randomBytesPerId
}

function hexByte(target: Uint8Array, at: number, byte: number): void {
  target[at] = digits[byte >> 4] ?? 0
  target[at + 1] = digits[byte & 15] ?? 0
}

export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.test(text)
}

/** When a UUIDv7 was made, by the clock of whoever made it; undefined for any other text. */
export function timeOfUuidv7(text: string): Date | undefined {
  return isUuid(text) && text[14] === '7'
    ? new Date(Number.parseInt(text.slice(0, 13).replace('-', ''), 16))
    : undefined
}
