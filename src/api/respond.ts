import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorBody, errorBody, isAppError, statusOf } from '../errors.ts'
import { lingerBytesMax, lingerMs } from '../lib/linger.ts'

export interface Failure {
  readonly status: number
  readonly body: ErrorBody
}

export function failureOf(error: unknown): Failure {
  if (isAppError(error)) return { status: statusOf[error.code], body: errorBody(error) }
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500
  const code = frameworkCodes.get(status)
  if (code === undefined) return { status: 500, body: errorBody(error) }
  return { status, body: { code, message: 'the request is malformed' } }
}

/** What Fastify refuses by itself. */
const frameworkCodes: ReadonlyMap<number, string> = new Map([
  [400, 'request_invalid'],
  [413, 'upload_too_large'],
  [414, 'request_invalid'],
  [415, 'media_type_unsupported'],
  [431, 'request_invalid'],
  [503, 'store_unavailable'],
])

/**
 * Answers with an error. When the request's body has not been read to its end, the answer goes out whole, then what still
 * comes is thrown away for a while, then the connection is closed.
 */
export function sendFailure(request: FastifyRequest, reply: FastifyReply, { status, body }: Failure): FastifyReply {
  const bytes = Buffer.from(JSON.stringify(body))
  reply
    .code(status)
    .header('content-type', 'application/json; charset=utf-8')
    .header('content-length', bytes.byteLength)
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  if (status === 429) reply.header('retry-after', '10')
  if (status === 503) reply.header('retry-after', '5')
  if (status === 507) reply.header('retry-after', '60')
  if (isReadWhole(request)) return reply.send(bytes)
  reply.header('connection', 'close')
  if (isWaitingToSend(request)) return reply.send(bytes)
  return reply.send(Readable.from(answerThenDrain(request, bytes), { objectMode: false }))
}

/** Nothing of the request is still to come. */
export function isReadWhole(request: FastifyRequest): boolean {
  return request.raw.complete || !hasBody(request)
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

const waiting = new WeakSet<object>()

/** The client asked to be told before it sends the body (`Expect: 100-continue`). */
export function holdBody(request: object): void {
  waiting.add(request)
}

/** Tells a client that waits to send the body now. */
export function askForBody(request: FastifyRequest, reply: FastifyReply): void {
  if (waiting.delete(request.raw)) reply.raw.writeContinue()
}

function isWaitingToSend(request: FastifyRequest): boolean {
  return waiting.has(request.raw)
}

/** What comes of a refused upload after the answer is still read, so that its client sees the answer and not a reset. */
async function* answerThenDrain(request: FastifyRequest, answer: Uint8Array): AsyncGenerator<Uint8Array> {
  yield answer
  const { raw } = request
  await new Promise<void>((resolve) => {
    let bytes = 0
    const settle = () => {
      clearTimeout(timer)
      raw.off('data', onData).off('end', settle).off('close', settle)
      resolve()
    }
    const onData = (chunk: Uint8Array) => {
      bytes += chunk.byteLength
      if (bytes > lingerBytesMax) settle()
    }
    const timer = setTimeout(settle, lingerMs)
    // An error of a request that nobody reads any more is its client leaving.
    raw.on('error', settle)
    raw.on('data', onData).once('end', settle).once('close', settle)
    if (raw.destroyed || raw.readableEnded) settle()
    else raw.resume()
  })
}
