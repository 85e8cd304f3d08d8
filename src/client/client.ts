import type { IncomingMessage } from 'node:http'
import { AppError } from '../errors.ts'
import { type ClientPath, gatewayPath } from './content-path.ts'
import { createEventsClient, type EventsClient } from './events.ts'
import { contentOf, createHttp, type Http, type HttpRequest, type OnProgress } from './http.ts'
import { createIpnsClient, type IpnsClient } from './ipns.ts'
import { createKeysClient, type KeysClient } from './keys.ts'
import { createMaintenanceClient, type MaintenanceClient } from './maintenance.ts'
import { conditionHeaders, createNamesClient, type NameCondition, type NamesClient } from './names.ts'
import { createNodeCall, type NodeAccess, type NodeCall } from './node-call.ts'
import { nodeUrl, originUrl, type Query } from './node-url.ts'
import { createPlacementClient, type PlacementClient } from './placement.ts'
import { createPlacesClient, type PlacesClient } from './places.ts'
import { createPoliciesClient, type PoliciesClient } from './policies.ts'
import { createProjectionsClient, type ProjectionsClient } from './projections.ts'
import {
  type CarReply,
  carReplyOf,
  type EntryReply,
  entriesOf,
  type PutReply,
  putReplyOf,
  type StatReply,
  statReplyOf,
} from './replies.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'

export interface ClientOptions extends NodeAccess {
  readonly gatewayUrl: string
}

export interface CallOptions {
  readonly signal: AbortSignal
}

export interface PutOptions extends CallOptions, NameCondition {
  /** Given to the content in the commit that adds it. */
  readonly name?: string | undefined
  readonly profile?: string | undefined
  /** Bytes of a chunk, as `262144` or `256KiB`. */
  readonly chunk?: string | undefined
  readonly rawLeaves?: boolean | undefined
  readonly trickle?: boolean | undefined
  /** The content in a directory, under `filename`. */
  readonly wrap?: boolean | undefined
  readonly filename?: string | undefined
  readonly hidden?: boolean | undefined
  /** Of a CAR: its blocks as they are, whatever they lack. */
  readonly partial?: boolean | undefined
  /** `policy`, `local` or a number of copies: what the answer waits for; undefined = as the policy says. */
  readonly wait?: string | undefined
  readonly waitSeconds?: number | undefined
  /** Of a tar: keep those of its headers. Of a file: octal permission bits, and seconds since 1970 or an RFC 3339 time. */
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
  readonly names: NamesClient
  readonly ipns: IpnsClient
  readonly keys: KeysClient
  readonly events: EventsClient
  readonly maintenance: MaintenanceClient
  readonly places: PlacesClient
  readonly policies: PoliciesClient
  readonly placement: PlacementClient
  readonly projections: ProjectionsClient
  putFile(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutReply>
  putTar(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutReply>
  putCar(body: AsyncIterable<Uint8Array>, options: PutOptions): Promise<CarReply>
  stat(path: ClientPath, options: CallOptions): Promise<StatReply>
  /** The entries of a directory, page by page as they are asked for. */
  list(path: ClientPath, options: CallOptions): AsyncIterable<EntryReply>
  read(path: ClientPath, options: ReadOptions): Promise<Download>
  car(path: ClientPath, options: ReadOptions): Promise<Download>
  /** What the node says of itself: the shape is for people and may grow. */
  status(options: CallOptions): Promise<Readonly<Record<string, unknown>>>
  /** The copies of a root, and what its policy wants. @throws AppError BLOCK_NOT_FOUND for what was never put there */
  objectStatus(cid: string, options: CallOptions): Promise<Fields>
  /** `/healthz` or `/readyz`. @throws AppError as the node answered */
  health(path: 'healthz' | 'readyz', options: CallOptions): Promise<void>
  close(): void
}

/** Sockets to one node: enough to keep it busy with small files. */
const socketsMax = 16

/** Everything a node offers over HTTP. Failures are the node's own AppErrors, or NODE_UNREACHABLE | CONNECTION_LOST. */
export function createClient(options: ClientOptions): Client {
  const http = createHttp(socketsMax)
  const { apiUrl, gatewayUrl } = options
  const call = createNodeCall(http, options)
  const getJson = (path: readonly string[], { signal }: CallOptions, query: Query = {}) =>
    call.json({ method: 'GET', path, query, signal })
  return {
    apiUrl,
    gatewayUrl,
    names: createNamesClient(call),
    ipns: createIpnsClient(call),
    keys: createKeysClient(call),
    events: createEventsClient(call),
    maintenance: createMaintenanceClient(call),
    places: createPlacesClient(call),
    policies: createPoliciesClient(call),
    placement: createPlacementClient(call),
    projections: createProjectionsClient(call),
    putFile: async (body, options_) => putReplyOf(await put(call, 'application/octet-stream', body, options_)),
    putTar: async (body, options_) => putReplyOf(await put(call, 'application/x-tar', body, options_)),
    putCar: async (body, options_) => carReplyOf(await put(call, 'application/vnd.ipld.car', body, options_)),
    stat: async (path, options_) => statReplyOf(await getJson(objectPath(path), options_, { name: path.name })),
    list: (path, options_) => listPages(path, (query) => getJson(objectPath(path), options_, query)),
    read: (path, read) => download(http, gatewayUrl, path, { ...read, format: read.raw === true ? 'raw' : undefined }),
    car: (path, read) => download(http, gatewayUrl, path, { ...read, format: 'car' }),
    status: async (options_) => {
      const status = await getJson(['status'], options_)
      return typeof status === 'object' && status !== null ? (status as Record<string, unknown>) : {}
    },
    objectStatus: async (cid, options_) => fieldsOf(await getJson(['status', cid], options_)),
    health: async (path, { signal }) => {
      const response = await http.request({ method: 'GET', url: nodeUrl(apiUrl, [path]), signal })
      response.resume()
    },
    close: () => http.close(),
  }
}

async function put(
  call: NodeCall,
  mediaType: string,
  body: AsyncIterable<Uint8Array>,
  options: PutOptions,
): Promise<unknown> {
  const length: Record<string, string> = options.bytes === undefined ? {} : { 'content-length': String(options.bytes) }
  const request = {
    method: 'POST',
    path: ['objects'],
    query: putQuery(options),
    headers: { ...length, ...conditionHeaders(options), ...preferHeaders(options), 'content-type': mediaType },
    body,
    signal: options.signal,
    ...progressOf(options),
  } as const
  return call.json(request)
}

async function download(
  http: Http,
  gatewayUrl: string,
  path: ClientPath,
  options: ReadOptions & { readonly format: 'raw' | 'car' | undefined },
): Promise<Download> {
  const { range, format } = options
  const url = nodeUrl(gatewayUrl, gatewayPath(path), { format })
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
  const response = await atOrigin(http, request, await http.request(request))
  const status = response.statusCode ?? 0
  if (status !== (range === undefined ? 200 : 206)) {
    response.destroy()
    throw new AppError('INTERNAL', `${url} answered ${status}`, {
      hint: 'is this a Stowage gateway? See STOWAGE_GATEWAY_URL',
    })
  }
  const roots = String(response.headers['x-ipfs-roots'] ?? '').split(',')
  const [root] = roots
  if (path.name !== undefined && root !== path.cid) {
    response.destroy()
    throw new AppError('INTERNAL', `${path.name} is ${path.cid} to the API, ${root || 'unknown'} to the gateway`, {
      hint: 'are STOWAGE_API_URL and STOWAGE_GATEWAY_URL of one domain?',
    })
  }
  // Of a path that leads nowhere a gateway sends the proof as a CAR: nothing that whoever wants the content asked for.
  if (format === 'car' && root !== '' && roots.length <= path.segments.length) {
    response.destroy()
    const rest = path.segments.slice(roots.length - 1).join('/')
    throw new AppError('PATH_NOT_FOUND', `nothing is linked by ${JSON.stringify(rest)} in ${roots.at(-1)}`)
  }
  const length = response.headers['content-length']
  return { bytes: length === undefined ? undefined : Number(length), content: contentOf(response, request) }
}

/** The answer of the host that the gateway sends us to, if it may; else the one that is here. */
async function atOrigin(http: Http, request: HttpRequest, response: IncomingMessage): Promise<IncomingMessage> {
  const { location } = response.headers
  const onward = response.statusCode === 301 && location !== undefined ? originUrl(request.url, location) : undefined
  if (onward === undefined) return response
  response.resume()
  const { url, host } = onward
  return await http.request({
    ...request,
    url,
    headers: { ...request.headers, ...(host === undefined ? {} : { host }) },
  })
}

const objectPath = ({ cid, segments }: ClientPath): readonly string[] => ['objects', cid, ...segments]

async function* listPages(path: ClientPath, getJson: (query: Query) => Promise<unknown>): AsyncGenerator<EntryReply> {
  let after: string | undefined
  do {
    const page = entriesOf(await getJson({ entries: true, detail: true, name: path.name, after }))
    yield* page.entries
    // A node that answers the same page for ever must not keep us here.
    if (page.next !== undefined && page.next === after) throw new AppError('INTERNAL', 'the listing does not advance')
    after = page.next
  } while (after !== undefined)
}

/** RFC 7240. */
function preferHeaders({ wait, waitSeconds }: PutOptions): Record<string, string> {
  const level = wait === undefined ? [] : [/^\d/.test(wait) ? `copies=${wait}` : `wait=${wait}`]
  const parts = waitSeconds === undefined ? level : [...level, `timeout=${waitSeconds}`]
  return parts.length === 0 ? {} : { prefer: parts.join(', ') }
}

function putQuery(options: PutOptions): Query {
  return {
    name: options.name,
    profile: options.profile,
    chunk: options.chunk,
    'raw-leaves': options.rawLeaves,
    trickle: options.trickle,
    wrap: options.wrap,
    filename: options.filename,
    hidden: options.hidden,
    mode: options.mode,
    mtime: options.mtime,
    partial: options.partial,
  }
}

function progressOf(options: { readonly onProgress?: OnProgress | undefined }): { readonly onProgress?: OnProgress } {
  return options.onProgress === undefined ? {} : { onProgress: options.onProgress }
}
