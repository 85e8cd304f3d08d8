import { isSubject } from './subject.ts'

/** What stands before the payload of messages that share subject and headers; only the size in it differs. */
export interface FrameHead {
  readonly subject: string
  readonly headers: Buffer | undefined
  /** The control line, blank where its size belongs, and the headers. */
  readonly bytes: Buffer
  /** Behind the last digit of the size. */
  readonly sizeEnd: number
}

/** Enough for 64 MiB, the most that max_payload can be. Fields of a control line may have any number of blanks between them. */
const sizeWidth = 8
const digitZero = 0x30
const cr = 0x0d
const lf = 0x0a
const crlfBytes = 2

/** @throws RangeError for what is no subject */
export function frameHead(subject: string, headers: Buffer | undefined): FrameHead {
  if (!isSubject(subject)) throw new RangeError('a subject with characters that no subject has')
  const line = headers === undefined ? `PUB ${subject} ` : `HPUB ${subject} ${headers.byteLength} `
  const control = Buffer.from(`${line}${' '.repeat(sizeWidth)}\r\n`, 'latin1')
  return {
    subject,
    headers,
    bytes: headers === undefined ? control : Buffer.concat([control, headers]),
    sizeEnd: line.length + sizeWidth,
  }
}

/**
 * Messages as they go over the wire, one behind the other in one buffer: made where they arise, so that nothing else of them
 * is kept, and sent without another copy. Only for messages that need no acknowledgement each.
 */
export class Frames {
  readonly buffer: Buffer
  #end = 0
  #count = 0
  #head: FrameHead | undefined
  #start = 0
  #payloadStart = 0

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  get count(): number {
    return this.#count
  }

  /** @returns where in `buffer` the payload belongs, to be followed by `finish`; -1 when there is no room for that many bytes */
  begin(head: FrameHead, payloadBytesMax: number): number {
    const start = this.#end
    const payloadStart = start + head.bytes.byteLength
    if (payloadStart + payloadBytesMax + crlfBytes > this.buffer.byteLength) return -1
    this.buffer.set(head.bytes, start)
    this.#head = head
    this.#start = start
    this.#payloadStart = payloadStart
    return payloadStart
  }

  /** @param end behind the payload */
  finish(end: number): void {
    const { buffer } = this
    const head = this.#head
    if (head === undefined) throw new RangeError('nothing begun')
    let size = end - this.#payloadStart + (head.headers?.byteLength ?? 0)
    let at = this.#start + head.sizeEnd
    do {
      buffer[--at] = digitZero + (size % 10)
      size = Math.floor(size / 10)
    } while (size > 0)
    buffer[end] = cr
    buffer[end + 1] = lf
    this.#end = end + crlfBytes
    this.#count++
  }

  /** Without the last message, which `last` tells of. */
  get allButLast(): Buffer {
    return this.buffer.subarray(0, this.#start)
  }

  get all(): Buffer {
    return this.buffer.subarray(0, this.#end)
  }

  /** Undefined when there is none. */
  get last(): { readonly subject: string; readonly headers: Buffer | undefined; readonly payload: Buffer } | undefined {
    const head = this.#head
    if (head === undefined || this.#count === 0) return undefined
    const payload = this.buffer.subarray(this.#payloadStart, this.#end - crlfBytes)
    return { subject: head.subject, headers: head.headers, payload }
  }
}
