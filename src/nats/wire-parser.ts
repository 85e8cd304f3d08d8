/** A message as the server delivers it (`MSG`, `HMSG`). */
export interface WireMessage {
  readonly subject: string
  /** The raw header block, `NATS/1.0…`; undefined without one. */
  readonly headers: Buffer | undefined
  readonly data: Buffer
}

export interface WireHandler {
  onMessage(message: WireMessage): void
  /** A control line that is no message: INFO, PING, PONG, +OK, -ERR. */
  onLine(line: string): void
}

const cr = 0x0d
const lf = 0x0a
const crlfBytes = 2
/** INFO of a large cluster is the longest line there is. */
const lineBytesMax = 1024 * 1024
/** The most that max_payload can be set to, and room for headers. */
const messageBytesMax = 65 * 1024 * 1024

interface Body {
  readonly subject: string
  readonly headerBytes: number
  readonly target: Buffer
  filled: number
}

/**
 * Takes the NATS client protocol apart (nats-io/nats.docs, reference/nats-protocol).
 *
 * A message's length stands in its control line, so its bytes go into one buffer of that length: one allocation and one
 * copy. nats.js 3.4.0 grows a buffer by doubling, which at 1 MiB a message spends more time in the garbage collector than
 * anything else does. Chunks given to `feed` may be overwritten after the call.
 */
export class WireParser {
  readonly #handler: WireHandler
  #line = ''
  #body: Body | undefined
  /** Bytes of the CRLF behind a body that are still to come. */
  #tail = 0

  constructor(handler: WireHandler) {
    this.#handler = handler
  }

  /** @throws Error when the bytes are not the NATS protocol; the connection is then of no use */
  feed(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#body !== undefined) at = this.#fill(this.#body, chunk, at)
      else if (this.#tail > 0) {
        // Anything else there means that lengths are no longer understood: what follows would be taken for messages.
        if (chunk[at++] !== (this.#tail-- === crlfBytes ? cr : lf))
          throw new Error('NATS protocol: no CRLF behind a body')
      } else at = this.#readLine(chunk, at)
    }
  }

  #fill(body: Body, chunk: Buffer, at: number): number {
    const end = Math.min(at + body.target.length - body.filled, chunk.length)
    chunk.copy(body.target, body.filled, at, end)
    body.filled += end - at
    if (body.filled === body.target.length) this.#deliver(body)
    return end
  }

  #deliver({ subject, headerBytes, target }: Body): void {
    this.#body = undefined
    this.#tail = crlfBytes
    const headers = headerBytes === 0 ? undefined : target.subarray(0, headerBytes)
    this.#handler.onMessage({ subject, headers, data: target.subarray(headerBytes) })
  }

  #readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(lf, at)
    const part = chunk.toString('latin1', at, end === -1 ? chunk.length : end + 1)
    const line = this.#line + part
    if (end === -1) {
      if (line.length > lineBytesMax) throw new Error('NATS protocol: a control line without end')
      this.#line = line
      return chunk.length
    }
    this.#line = ''
    this.#control(line.trimEnd())
    return end + 1
  }

  #control(line: string): void {
    if (!line.startsWith('MSG ') && !line.startsWith('HMSG ')) {
      this.#handler.onLine(line)
      return
    }
    // MSG <subject> <sid> [reply] <bytes> · HMSG <subject> <sid> [reply] <header bytes> <total bytes>
    const words = line.split(' ')
    const hasHeaders = line.startsWith('H')
    const total = lengthOf(words.at(-1))
    const headerBytes = hasHeaders ? lengthOf(words.at(-2)) : 0
    const subject = words[1]
    const lengths = hasHeaders ? 2 : 1
    const complete = words.length === 3 + lengths || words.length === 4 + lengths
    if (!complete || subject === undefined || !(total <= messageBytesMax) || !(headerBytes <= total)) {
      throw new Error(`NATS protocol: ${line.slice(0, 100)}`)
    }
    const body = { subject, headerBytes, target: Buffer.allocUnsafe(total), filled: 0 }
    if (total === 0) this.#deliver(body)
    else this.#body = body
  }
}

/** NaN for what is no length. */
const lengthOf = (word = ''): number => (/^\d{1,9}$/.test(word) ? Number(word) : Number.NaN)

/** The value of a header; '' where there is none. Names are matched as JetStream writes them. */
export function wireHeader(headers: Buffer | undefined, name: string): string {
  return headerReader(headers)(name)
}

/** `wireHeader` for whoever asks for several: the block is decoded once. */
export function headerReader(headers: Buffer | undefined): (name: string) => string {
  const text = headers?.toString('latin1') ?? ''
  return (name) => {
    const at = text.indexOf(`\r\n${name}:`)
    if (at === -1) return ''
    const start = at + name.length + 3
    const end = text.indexOf('\r\n', start)
    return text.slice(start, end === -1 ? undefined : end).trim()
  }
}

/** The status in the first line of the header block (`NATS/1.0 404 …`); 0 without one. */
export function wireStatus(headers: Buffer | undefined): number {
  // 'NATS/1.0 ' is 9 long; without a status the line ends behind 'NATS/1.0'.
  if (headers === undefined || headers[8] !== 0x20) return 0
  return Number.parseInt(headers.toString('latin1', 9, 12), 10) || 0
}

const lineBreak = /[\r\n]/

/** A header block from pairs; undefined for none. */
export function encodeHeaders(pairs: readonly (readonly [string, string])[]): Buffer | undefined {
  if (pairs.length === 0) return undefined
  let text = 'NATS/1.0\r\n'
  for (const [name, value] of pairs) {
    if (lineBreak.test(value)) throw new RangeError(`a line break in the header ${name}`)
    text += `${name}: ${value}\r\n`
  }
  return Buffer.from(`${text}\r\n`, 'latin1')
}
