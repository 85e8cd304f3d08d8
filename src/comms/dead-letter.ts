import { KiB } from '../lib/units.ts'
import type { QueuedMessage } from '../nats/work-queue.ts'
import { deadHeader, deadSubject, header, type Subjects } from './protocol.ts'
import { failureOf } from './reply.ts'

export interface DeadLetter {
  readonly subject: string
  readonly data: Uint8Array
  readonly headers: Readonly<Record<string, string>>
}

interface LetterOptions {
  readonly command: string
  readonly subjects: Subjects
  readonly payloadBytesMax: number
}

const headersBytesMax = 16 * KiB

/**
 * The message as it came, and why nobody could carry it out. `Nats-…` headers would mean something to the server that stores
 * it (`Nats-Rollup` would remove what lies there), so they stand behind a prefix; a token is left out.
 */
export function deadLetter(error: unknown, message: QueuedMessage, options: LetterOptions): DeadLetter {
  const { code, message: reason } = failureOf(error)
  const headers: Record<string, string> = {}
  let bytes = 2 * KiB
  for (const [name, value] of message.headers ?? []) {
    bytes += name.length + Buffer.byteLength(value) + deadHeader.prefix.length + 4
    if (name === header.token.toLowerCase() || name.startsWith(':') || bytes > headersBytesMax) continue
    headers[name.startsWith('nats-') ? `${deadHeader.prefix}${name}` : name] = value
  }
  Object.assign(headers, {
    [deadHeader.reason]: reason,
    [deadHeader.code]: String(code),
    [deadHeader.subject]: message.subject,
    [deadHeader.sequence]: String(message.sequence),
    [deadHeader.deliveries]: String(message.deliveries),
    [deadHeader.time]: message.time.toISOString(),
  })
  const room = options.payloadBytesMax - Math.min(bytes, headersBytesMax) - 2 * KiB
  const data = message.data.subarray(0, room)
  if (data.byteLength < message.data.byteLength) headers[deadHeader.cut] = String(message.data.byteLength)
  return { subject: deadSubject(options.subjects, options.command), data, headers }
}
