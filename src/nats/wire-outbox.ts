import type { Socket } from 'node:net'

/** Larger messages are sent from where they lie; below this a copy costs less than three writes. */
const smallBytesMax = 8 * 1024
const stageBytes = 64 * 1024
const crlf = Buffer.from('\r\n')

/**
 * Messages on their way to one socket, in their order. Small ones gather in a buffer that is written once a turn of the loop:
 * node's streams cost more for each write than a small message does.
 */
export class WireOutbox {
  readonly #socket: Socket
  readonly #stage = Buffer.allocUnsafeSlow(stageBytes)
  #staged = 0
  #scheduled = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** @param line the control line, in Latin-1, with its line end */
  send(line: string, headers: Buffer | undefined, payload: Uint8Array): void {
    const bytes = line.length + (headers?.byteLength ?? 0) + payload.byteLength + crlf.byteLength
    if (bytes > smallBytesMax) {
      this.#flush()
      this.#sendLarge(line, headers, payload)
      return
    }
    if (this.#staged + bytes > stageBytes) this.#flush()
    const stage = this.#stage
    let at = this.#staged + stage.write(line, this.#staged, 'latin1')
    if (headers !== undefined) at += headers.copy(stage, at)
    stage.set(payload, at)
    at += payload.byteLength
    this.#staged = at + crlf.copy(stage, at)
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  /** Whole messages, control lines and all: sent from where they lie. */
  sendFrames(frames: Buffer): void {
    this.#flush()
    if (frames.byteLength > 0 && !this.#socket.destroyed) this.#socket.write(frames)
  }

  #flush(): void {
    if (this.#staged === 0) return
    // A copy of what is there: the socket may hold it for a while, and the stage is filled again.
    if (!this.#socket.destroyed) this.#socket.write(Buffer.from(this.#stage.subarray(0, this.#staged)))
    this.#staged = 0
  }

  #sendLarge(line: string, headers: Buffer | undefined, payload: Uint8Array): void {
    const socket = this.#socket
    socket.cork()
    socket.write(line, 'latin1')
    if (headers !== undefined) socket.write(headers)
    if (payload.byteLength > 0) socket.write(payload)
    socket.write(crlf)
    // One system call for all that this turn of the loop publishes.
    process.nextTick(() => socket.uncork())
  }
}
