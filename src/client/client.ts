import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import { type ClientPath, urlPath } from './content-path.ts'
import { contentOf, createHttp, type Http, type HttpRequest, jsonOf, type OnProgress } from './http.ts'
import { type EntryReply, entriesOf, type PutReply, putReplyOf, type StatReply, statReplyOf } from './replies.ts'

export interface ClientOptions {
  /** Without a slash at the end. */
  readonly apiUrl: string
  readonly gatewayUrl: string
  readonly token: string | undefined
  /** Where the token was found, for the message when the node refuses it. */
  readonly tokenSource?: string | undefined
}

export interface CallOptions {
  readonly signal: AbortSignal
}

export interface PutOptions extends CallOptions {
  readonly profile?: string | undefined
  /** Bytes of a chunk, as `262144` or `256KiB`. */
  readonly chunk?: string | undefined
  readonly rawLeaves?: boolean | undefined
  readonly trickle?: boolean | undefined
  /** The content in a directory, under `filename`. */
  readonly wrap?: boolean | undefined
  readonly filename?: string | undefined
  readonly hidden?: boolean | undefined
  /** Of a tar: keep those of its headers. Of a file: octal permission bits, and an RFC 3339 time. */
  readonly mode?: string | undefined
  readonly mtime?: string | undefined
  /** Bytes of the body, where known. */
  readonly bytes?: number | undefined
  readonly onProgress?: OnProgress | undefined
}

export interface ReadOptions extends CallOptions {
  /** The block itself: what a node that is no file has for content. */
  readonly raw?: boolean | undefined
  /** Offsets in bytes, both inclusive. */
  readonly range?: { readonly start: number; readonly end: number } | undefined
  readonly onProgress?: OnProgress | undefined
}

export interface Download {
  /** Length of the body where the node says it. */
  readonly bytes: number | undefined
  /** Pulls. @throws AppError CONNECTION_LOST when it ends early */
  readonly content: AsyncIterable<Uint8Array>
}

export interface Client {
  readonly apiUrl: string
  readonly gatewayUrl: string
  putFile(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutReply>
  putTar(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutReply>
  putCar(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutReply>
  stat(path: ClientPath, options: CallOptions): Promise<StatReply>
  /** The entries of a directory, page by page as they are asked for. */
  list(path: ClientPath, options: CallOptions): AsyncIterable<EntryReply>
  read(path: ClientPath, options: ReadOptions): Promise<Download>
  car(path: ClientPath, options: ReadOptions): Promise<Download>
  /** What the node says of itself: the shape is for people and may grow. */
  status(options: CallOptions): Promise<Readonly<Record<string, unknown>>>
  /** `/healthz` or `/readyz`. @throws AppError as the node answered */
  health(path: 'healthz' | 'readyz', options: CallOptions): Promise<void>
  close(): void
}

const replyBytesMax = 64 * MiB
/** Sockets to one node: enough to keep it busy with small files. */
const socketsMax = 16

/** Everything a node offers over HTTP. Failures are the node's own AppErrors, or NODE_UNREACHABLE | CONNECTION_LOST. */
export function createClient(options: ClientOptions): Client {
  const http = createHttp(socketsMax)
  const { apiUrl, gatewayUrl } = options
  const authorization: Readonly<Record<string, string>> =
    options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
  const put = async (mediaType: string, body: AsyncIterable<Uint8Array>, put: PutOptions): Promise<PutReply> => {
    const length: Record<string, string> = put.bytes === undefined ? {} : { 'content-length': String(put.bytes) }
    const request: HttpRequest = {
      method: 'POST',
      url: `${apiUrl}/api/v1/objects${putQuery(put)}`,
      headers: { ...authorization, ...length, 'content-type': mediaType, accept: 'application/json' },
      body,
      signal: put.signal,
      ...progressOf(put),
    }
    return putReplyOf(await sendJson(http, request).catch((error: unknown) => Promise.reject(refused(error, options))))
  }
  const getJson = (url: string, { signal }: CallOptions) =>
    sendJson(http, { method: 'GET', url, headers: { ...authorization, accept: 'application/json' }, signal })
  return {
    apiUrl,
    gatewayUrl,
    putFile: (body, put_) => put('application/octet-stream', body, put_),
    putTar: (body, put_) => put('application/x-tar', body, put_),
    putCar: (body, put_) => put('application/vnd.ipld.car', body, put_),
    stat: async (path, call) => statReplyOf(await getJson(`${apiUrl}/api/v1/objects/${urlPath(path)}`, call)),
    list: (path, call) => listPages(`${apiUrl}/api/v1/objects/${urlPath(path)}`, (url) => getJson(url, call)),
    read: (path, read) =>
      download(http, `${gatewayUrl}/ipfs/${urlPath(path)}`, read.raw === true ? 'raw' : undefined, read),
    car: (path, read) => download(http, `${gatewayUrl}/ipfs/${urlPath(path)}`, 'car', read),
    status: async (call) => {
      const status = await getJson(`${apiUrl}/api/v1/status`, call)
      return typeof status === 'object' && status !== null ? (status as Record<string, unknown>) : {}
    },
    health: async (path, { signal }) => {
      const response = await http.request({ method: 'GET', url: `${apiUrl}/${path}`, signal })
      response.resume()
    },
    close: () => http.close(),
  }
}

async function sendJson(http: Http, request: HttpRequest): Promise<unknown> {
  const { onProgress: _sent, ...received } = request
  return jsonOf(await http.request(request), received, replyBytesMax)
}

async function download(
  http: Http,
  plainUrl: string,
  format: 'raw' | 'car' | undefined,
  options: ReadOptions,
): Promise<Download> {
  const { range } = options
  const url = format === undefined ? plainUrl : `${plainUrl}?format=${format}`
  // Errors as JSON where that does not change the answer: `format` beats Accept, and without it Accept chooses a codec.
  const accept = format === undefined ? '*/*' : 'application/json'
  const ranged: Record<string, string> = range === undefined ? {} : { range: `bytes=${range.start}-${range.end}` }
  const request: HttpRequest = {
    method: 'GET',
    url,
    headers: { accept, ...ranged },
    signal: options.signal,
    ...progressOf(options),
  }
  const response = await http.request(request)
  const status = response.statusCode ?? 0
  if (status !== (range === undefined ? 200 : 206)) {
    response.destroy()
    throw new AppError('INTERNAL', `${url} answered ${status}`, {
      hint: 'is this a Stowage gateway? See STOWAGE_GATEWAY_URL',
    })
  }
  const length = response.headers['content-length']
  return { bytes: length === undefined ? undefined : Number(length), content: contentOf(response, request) }
}

async function* listPages(url: string, getJson: (url: string) => Promise<unknown>): AsyncGenerator<EntryReply> {
  let after: string | undefined
  do {
    const query = new URLSearchParams({ entries: 'true', detail: 'true' })
    if (after !== undefined) query.set('after', after)
    const page = entriesOf(await getJson(`${url}?${query}`))
    yield* page.entries
    // A node that answers the same page for ever must not keep us here.
    if (page.next !== undefined && page.next === after) throw new AppError('INTERNAL', 'the listing does not advance')
    after = page.next
  } while (after !== undefined)
}

function putQuery(options: PutOptions): string {
  const query = new URLSearchParams()
  const given = {
    profile: options.profile,
    chunk: options.chunk,
    'raw-leaves': options.rawLeaves,
    trickle: options.trickle,
    wrap: options.wrap,
    filename: options.filename,
    hidden: options.hidden,
    mode: options.mode,
    mtime: options.mtime,
  }
  for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, String(value))
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}

function progressOf(options: { readonly onProgress?: OnProgress | undefined }): { readonly onProgress?: OnProgress } {
  return options.onProgress === undefined ? {} : { onProgress: options.onProgress }
}

/** A refused token is explained by where it came from, never by itself. */
function refused(error: unknown, options: ClientOptions): unknown {
  if (!(error instanceof AppError) || error.code !== 'UNAUTHORIZED') return error
  const hint =
    options.token === undefined
      ? 'no token was found: set STOWAGE_TOKEN, or STOWAGE_DATA to the data folder of the node'
      : `the token of ${options.tokenSource ?? 'this client'} is not this node's: set STOWAGE_TOKEN or STOWAGE_DATA`
  return new AppError('UNAUTHORIZED', error.message, { cause: error, hint })
}
