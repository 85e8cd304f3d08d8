import { randomFillSync } from 'node:crypto'

const poolBytes = 4096
const randomBytesPerId = 10
const pool = Buffer.alloc(poolBytes)
let poolAt = poolBytes
let lastMs = 0
let counter = 0

/**
 * UUIDv7 (RFC 9562 §5.7): time-ordered; those made here within a millisecond keep their order by a 12-bit counter, which
 * borrows from the next millisecond when it runs over.
 */
export function uuidv7(): string {
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
  const random = pool.toString('hex', poolAt, poolAt + randomBytesPerId)
  poolAt += randomBytesPerId
  const time = lastMs.toString(16).padStart(12, '0')
  const count = counter.toString(16).padStart(3, '0')
  const variant = (8 + (Number.parseInt(random.charAt(0), 16) & 3)).toString(16)
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${variant}${random.slice(1, 4)}-${random.slice(4, 16)}`
}

export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.test(text)
}
