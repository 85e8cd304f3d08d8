import { once } from 'node:events'
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { AppError, type ErrorCode, statusOf } from '../errors.ts'
import { collect } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import type { NodeUrl } from './node-url.ts'

/** Called with the bytes that have passed since the last call. */
export type OnProgress = (bytes: number) => void

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  readonly url: NodeUrl
  readonly headers?: Readonly<Record<string, string>>
  /** Pulled as fast as the node takes it. */
  readonly body?: AsyncIterable<Uint8Array>
  readonly onProgress?: OnProgress
  readonly signal: AbortSignal
}

export interface Http {
  /**
   * Resolves at the headers of a 2xx or 3xx answer; the caller reads the body to its end or destroys it.
   * @throws AppError what the node answered | NODE_UNREACHABLE | CONNECTION_LOST; what `body` threw; the signal's reason
   */
  request(request: HttpRequest): Promise<IncomingMessage>
  close(): void
}

const errorBytesMax = MiB

/** Connections are kept and shared: a directory is fetched over a few sockets, not one a file. */
export function createHttp(socketsMax: number): Http {
  const agents = {
    'http:': new HttpAgent({ keepAlive: true, maxSockets: socketsMax }),
    'https:': new HttpsAgent({ keepAlive: true, maxSockets: socketsMax }),
  }
  const start = (request: HttpRequest): ClientRequest => {
    const options = { method: request.method, headers: request.headers ?? {}, signal: request.signal }
    return request.url.startsWith('https:')
      ? httpsRequest(request.url, { ...options, agent: agents['https:'] })
      : httpRequest(request.url, { ...options, agent: agents['http:'] })
  }
  return {
    request: async (request) => {
      request.signal.throwIfAborted()
      const outgoing = start(request)
      try {
        return await answered(await exchange(outgoing, request), request.url)
      } catch (error) {
        // A kept connection that the node closed at the same moment. A change is not sent twice: it may have been made.
        const repeatable = request.method === 'GET' || request.method === 'HEAD'
        const stale = outgoing.reusedSocket && repeatable && isNetworkError(error, 'ECONNRESET')
        if (!stale) throw explained(error, request)
        const again = start(request)
        return await exchange(again, request).then(
          (response) => answered(response, request.url),
          (cause: unknown) => Promise.reject(explained(cause, request)),
        )
      }
    },
    close: () => {
      agents['http:'].destroy()
      agents['https:'].destroy()
    },
  }
}

/** The body of an answer, pulled. @throws AppError CONNECTION_LOST when it ends before its end; the signal's reason */
export async function* contentOf(response: IncomingMessage, request: HttpRequest): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      request.onProgress?.(chunk.byteLength)
      yield chunk
    }
  } catch (error) {
    throw explained(error, request)
  }
}

export async function jsonOf(response: IncomingMessage, request: HttpRequest, bytesMax: number): Promise<unknown> {
  const text = Buffer.from(await collect(contentOf(response, request), bytesMax)).toString('utf8')
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('INTERNAL', `${request.url} did not answer with JSON`, {
      cause,
      hint: 'is this the API of a Stowage node? See STOWAGE_API_URL',
    })
  }
}

/**
 * Sends the request and waits for the headers of the answer. A node that refuses an upload answers before it has read
 * it all: then the rest is not sent, and the answer is what counts, not the broken pipe.
 */
function exchange(outgoing: ClientRequest, request: HttpRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.on('error', reject)
    if (request.body === undefined) {
      outgoing.end()
      return
    }
    sendBody(outgoing, request.body, request.onProgress).catch((error: unknown) => {
      reject(error)
      outgoing.destroy()
    })
  })
}

async function sendBody(outgoing: ClientRequest, body: AsyncIterable<Uint8Array>, onProgress?: OnProgress) {
  let stopped = false
  const stop = new AbortController()
  const end = () => {
    stopped = true
    stop.abort()
  }
  outgoing.once('response', end)
  outgoing.once('close', end)
  for await (const chunk of body) {
    if (stopped) return
    const room = outgoing.write(chunk)
    onProgress?.(chunk.byteLength)
    if (!room) await once(outgoing, 'drain', { signal: stop.signal }).catch(() => undefined)
  }
  if (!stopped) outgoing.end()
}

async function answered(response: IncomingMessage, url: string): Promise<IncomingMessage> {
  const status = response.statusCode ?? 0
  if (status < 400) return response
  const body = await collect(response as AsyncIterable<Uint8Array>, errorBytesMax).catch(() => new Uint8Array())
  // The rest of an upload that was refused is not sent, so the connection cannot serve another request.
  response.socket?.destroy()
  throw answeredError(status, errorFields(response, Buffer.from(body).toString('utf8')), url)
}

type ErrorFields = Readonly<Record<string, unknown>>

/** The failure that the node reported; of an answer that is not ours, the status decides. */
function answeredError(status: number, body: ErrorFields, url: string): AppError {
  const code = typeof body.code === 'string' ? body.code.toUpperCase() : ''
  const message = typeof body.message === 'string' && body.message !== '' ? body.message : `${url} answered ${status}`
  const hint = typeof body.hint === 'string' ? { hint: body.hint } : {}
  return new AppError(isErrorCode(code) ? code : codeOfStatus(status), message, hint)
}

/** A gateway asked for content answers in plain text: the message, and perhaps a line that says what to do. */
function errorFields(response: IncomingMessage, text: string): ErrorFields {
  if (response.headers['content-type']?.startsWith('text/plain') === true) {
    const [message, hint] = text.slice(0, 2000).split('\n')
    return { message, ...(hint === undefined || hint === '' ? {} : { hint }) }
  }
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as ErrorFields) : {}
  } catch {
    return {}
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(statusOf, code)
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'UNAUTHORIZED'
  if (status === 404 || status === 410) return 'PATH_NOT_FOUND'
  if (status === 507) return 'STORE_FULL'
  return status < 500 ? 'REQUEST_INVALID' : 'INTERNAL'
}

const unreachable = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EAI_AGAIN'])
const cut = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNABORTED', 'ERR_STREAM_DESTROYED'])

function explained(error: unknown, request: HttpRequest): unknown {
  if (request.signal.aborted) return request.signal.reason
  const { origin } = new URL(request.url)
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  if (code !== undefined && unreachable.has(code)) {
    return new AppError('NODE_UNREACHABLE', `no node answers at ${origin}`, {
      cause: error,
      hint: 'start one with `npm start` (or `stowage serve`)',
    })
  }
  if (code !== undefined && (cut.has(code) || code.startsWith('HPE_'))) {
    return new AppError('CONNECTION_LOST', `${origin} cut the connection before the answer was complete`, {
      cause: error,
      hint: 'its log says why; `stowage status` shows whether it runs',
    })
  }
  return error
}

function isNetworkError(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code
}
