import { createHash } from 'node:crypto'
import { AppError } from '../errors.ts'
import { onAbort } from '../lib/on-abort.ts'
import type { Incoming, Messaging, Outgoing } from '../nats/messaging.ts'
import { header } from './protocol.ts'
import { errorReply, type Requester, requesterOf } from './reply.ts'

export interface UploadLimits {
  /** Received and not yet taken by the store; the client's credit. */
  readonly flightBytesMax: number
  readonly partBytesMax: number
  /** The longest wait for the next part. */
  readonly idleMs: number
}

interface Part {
  readonly data: Uint8Array
  readonly number: number
  readonly final: { readonly size: string | undefined; readonly sha256: string | undefined } | undefined
}

/**
 * An upload in parts, the receiving end. Each part is a message to the upload's subject with `Stowage-Part: 1, 2, …`; its
 * answer comes when the store has taken it and gives its bytes back as credit. The last one, with `Stowage-Final: 1`, says
 * how many bytes there were and their SHA-256, and is answered with the outcome. `Stowage-Upload: abort` ends it.
 *
 * `source` throws before its end for everything that is not the whole, so that nothing of it becomes visible.
 */
export class Upload {
  readonly #limits: UploadLimits
  readonly #requesterOf: (reply: string | undefined) => Requester
  readonly #waiting: Part[] = []
  /** Accepted and not answered yet, by part. */
  readonly #unanswered = new Map<number, Requester>()
  #buffered = 0
  #accepted = 0
  #failure: AppError | undefined
  #outcome: Outgoing | undefined
  #wake: (() => void) | undefined

  constructor(messaging: Messaging, domain: string, limits: UploadLimits) {
    this.#limits = limits
    this.#requesterOf = (reply) => requesterOf(messaging, domain, reply)
  }

  receive(message: Incoming): void {
    const requester = this.#requesterOf(message.reply)
    if (this.#outcome !== undefined) {
      requester.send(this.#outcome)
      return
    }
    try {
      this.#accept(message, requester)
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      this.#fail(error)
      requester.send(errorReply(error))
    }
  }

  #accept({ headers, data }: Incoming, requester: Requester): void {
    const value = (name: string) => headers?.get(name.toLowerCase())
    if (value(header.upload) === 'abort') throw new AppError('REQUEST_INVALID', 'the client ended the upload')
    const number = Number(value(header.part))
    const next = this.#accepted + 1
    if (!Number.isInteger(number) || number < 1 || number > next) {
      throw new AppError('REQUEST_INVALID', `part ${next} was expected, and came was ${value(header.part)}`)
    }
    if (number < next) {
      // Sent again, because its answer was lost or is late.
      if (this.#unanswered.has(number)) this.#unanswered.set(number, requester)
      else requester.send(answerTo(number, 0))
      return
    }
    const bytes = data.byteLength
    if (bytes > this.#limits.partBytesMax || this.#buffered + bytes > this.#limits.flightBytesMax) {
      throw new AppError('LIMIT_EXCEEDED', 'the part is larger than the credit that was given')
    }
    const isFinal = value(header.final) !== undefined
    this.#accepted = number
    this.#buffered += bytes
    this.#unanswered.set(number, requester)
    this.#waiting.push({
      // A copy: the receive buffer is shared with other messages.
      data: Uint8Array.from(data),
      number,
      final: isFinal ? { size: value(header.size), sha256: value(header.sha256) } : undefined,
    })
    this.#wake?.()
  }

  #fail(error: AppError): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** Pulled by the store; what it has taken becomes credit again. */
  async *source(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256')
    let size = 0
    const release = onAbort(signal, () => this.#wake?.())
    try {
      for (;;) {
        const part = await this.#next(signal)
        hash.update(part.data)
        size += part.data.byteLength
        if (part.data.byteLength > 0) yield part.data
        this.#buffered -= part.data.byteLength
        if (part.final !== undefined) {
          checkWhole(part.final, size, hash.digest('hex'))
          return
        }
        this.#unanswered.get(part.number)?.send(answerTo(part.number, part.data.byteLength))
        this.#unanswered.delete(part.number)
      }
    } finally {
      release()
    }
  }

  async #next(signal: AbortSignal): Promise<Part> {
    const endMs = performance.now() + this.#limits.idleMs
    for (;;) {
      signal.throwIfAborted()
      if (this.#failure !== undefined) throw this.#failure
      const part = this.#waiting.shift()
      if (part !== undefined) return part
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) {
        throw new AppError('UPLOAD_STALLED', `the upload sent nothing for ${this.#limits.idleMs / 1000} s`)
      }
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, leftMs)
      })
      clearTimeout(timer)
    }
  }

  /** Answers whoever still waits, and from now on everybody. */
  settle(outcome: Outgoing): void {
    this.#outcome = { ...outcome, headers: { ...outcome.headers, [header.final]: '1' } }
    for (const requester of this.#unanswered.values()) requester.send(this.#outcome)
    this.#unanswered.clear()
    this.#waiting.length = 0
  }
}

const answerTo = (part: number, credit: number): Outgoing => ({
  headers: { [header.part]: String(part), [header.credit]: String(credit) },
})

function checkWhole(final: NonNullable<Part['final']>, size: number, sha256: string): void {
  if (final.size === undefined || final.sha256 === undefined) {
    throw new AppError('REQUEST_INVALID', `the last part lacks ${header.size} or ${header.sha256}`)
  }
  if (final.size !== String(size)) {
    throw new AppError('REQUEST_INVALID', `the upload has ${size} bytes, and should have ${final.size.slice(0, 30)}`)
  }
  if (final.sha256.toLowerCase() !== sha256) {
    throw new AppError('REQUEST_INVALID', 'the SHA-256 of the upload is not the one that the last part names')
  }
}
