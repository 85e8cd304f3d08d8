import type { IncomingMessage } from 'node:http'
import { AppError } from '../errors.ts'
import { only } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import { type Http, type HttpRequest, jsonOf } from './http.ts'
import { nodeUrl, type Query } from './node-url.ts'

/** Which node, and by what right. */
export interface NodeAccess {
  /** Without a slash at the end. */
  readonly apiUrl: string
  readonly token: string | undefined
  /** Where the token was found, for the message when the node refuses it. */
  readonly tokenSource?: string | undefined
}

export interface ApiRequest extends Pick<HttpRequest, 'method' | 'headers' | 'body' | 'onProgress' | 'signal'> {
  /** Its segments below `/api/v1/`. */
  readonly path: readonly string[]
  readonly query?: Query
}

/** Requests to the API of one node, with its token. Failures are the node's own, or NODE_UNREACHABLE | CONNECTION_LOST. */
export interface NodeCall {
  /** The answer, read to its end; undefined when it has no body. */
  json(request: ApiRequest): Promise<unknown>
  /** The headers of the answer; the body is the caller's to read or destroy. */
  open(request: ApiRequest): Promise<{ readonly response: IncomingMessage; readonly request: HttpRequest }>
}

const replyBytesMax = 64 * MiB

export function createNodeCall(http: Http, access: NodeAccess): NodeCall {
  const authorization: Record<string, string> =
    access.token === undefined ? {} : { authorization: `Bearer ${access.token}` }
  const open: NodeCall['open'] = async ({ path, query, headers, ...rest }) => {
    const request: HttpRequest = {
      ...rest,
      url: nodeUrl(access.apiUrl, ['api', 'v1', ...path], query),
      headers: { accept: 'application/json', ...authorization, ...headers },
    }
    const response = await http.request(request).catch((error: unknown) => Promise.reject(refused(error, access)))
    return { response, request }
  }
  return {
    open,
    json: async (call) => {
      const { response, request } = await open(call)
      if (response.statusCode === 204) {
        response.resume()
        return undefined
      }
      const { onProgress: _sent, ...received } = request
      return jsonOf(response, received, replyBytesMax)
    },
  }
}

/** The body and headers of a request in JSON. */
export function jsonBody(value: unknown): Required<Pick<HttpRequest, 'headers' | 'body'>> {
  const bytes = Buffer.from(JSON.stringify(value))
  return {
    headers: { 'content-type': 'application/json', 'content-length': String(bytes.byteLength) },
    body: only(bytes),
  }
}

/** A refused token is explained by where it came from, never by itself. */
function refused(error: unknown, access: NodeAccess): unknown {
  if (!(error instanceof AppError) || error.code !== 'UNAUTHORIZED') return error
  const hint =
    access.token === undefined
      ? 'no token was found: set STOWAGE_TOKEN, or STOWAGE_DATA to the data folder of the node'
      : `the token of ${access.tokenSource ?? 'this client'} is not this node's: set STOWAGE_TOKEN or STOWAGE_DATA`
  return new AppError('UNAUTHORIZED', error.message, { cause: error, hint })
}
