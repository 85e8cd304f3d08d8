import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { endAndLinger } from './linger.ts'

export type Malformed = 'head_bytes' | 'head_time' | 'other'

interface Answer {
  readonly kind: Malformed
  readonly status: string
  readonly message: string
}

const answers: ReadonlyMap<string, Answer> = new Map([
  [
    'HPE_HEADER_OVERFLOW',
    { kind: 'head_bytes', status: '431 Request Header Fields Too Large', message: 'the headers are too large' },
  ],
  [
    'HPE_CHUNK_EXTENSIONS_OVERFLOW',
    { kind: 'other', status: '413 Payload Too Large', message: 'the chunk extensions are too large' },
  ],
  [
    'ERR_HTTP_REQUEST_TIMEOUT',
    { kind: 'head_time', status: '408 Request Timeout', message: 'the headers did not arrive in time' },
  ],
])
const malformed: Answer = { kind: 'other', status: '400 Bad Request', message: 'the request is malformed' }

/** Answered; Node goes on parsing what such a client still sends, and calls each piece malformed. */
const answered = new WeakSet<Socket>()

/**
 * What is no HTTP request, or was cut short, gets an answer of the usual shape, written by hand; then the connection ends.
 * @returns what it was; undefined when nobody is there to hear of it, nobody has asked anything yet, or it was answered
 */
export function answerMalformed(error: Error & { readonly code?: string }, socket: Socket): Malformed | undefined {
  if (answered.has(socket)) return undefined
  // A connection that a browser opens ahead of need and that never asks is no bad request.
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesRead === 0) {
    socket.destroy()
    return undefined
  }
  const { kind, status, message } = answers.get(error.code ?? '') ?? malformed
  answered.add(socket)
  endAndLinger(socket, written(status, message))
  return kind
}

function written(status: string, message: string): string {
  const body = JSON.stringify({ code: 'request_invalid', message })
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close`
  return `${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

/** An `Expect` that is not `100-continue`: Node's own answer has no body. */
export function refuseExpectations(server: Server): void {
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    request.resume()
    if (response.socket !== null)
      endAndLinger(response.socket, written('417 Expectation Failed', 'only 100-continue can be expected'))
  })
}

/** For a listener that is no proxy: without an answer, Node just closes the connection. */
export function refuseTunnels(server: Server): void {
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    socket.end(written('405 Method Not Allowed', 'this is no proxy'))
  })
}
