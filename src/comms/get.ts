import type { LimitConfig } from '../config.ts'
import type { ByteRange, Get, Target } from '../content/get.ts'
import { type Propagation, propagationHeaders } from '../content/propagation.ts'
import type { Context, NameEntry, ReadLog } from '../content/verbs.ts'
import { AppError, isAppError, statusOf } from '../errors.ts'
import { servedType } from '../lib/media-type.ts'
import { collect } from '../lib/streams.ts'
import { type DownloadLimits, sendInParts } from './download.ts'
import { header } from './protocol.ts'
import { entryHeaders } from './queries.ts'
import { bytesIn, rangeOf } from './range.ts'
import { type NameVerbs, type OpenParts, openResolved, type Resolved, referenceOf, resolve } from './reference.ts'
import { errorReply, type Failure, failureOf, type Requester } from './reply.ts'
import { argument, countArgument, type Request } from './request.ts'
import type { Transfers } from './transfers.ts'

export interface GetParts {
  readonly get: Pick<Get, 'open'>
  readonly verbs: NameVerbs
  readonly isDeleted: OpenParts['isDeleted']
  /** Where each get is recorded; undefined = nowhere. */
  readonly reads: ReadLog | undefined
  readonly propagation?: Propagation | undefined
  readonly transfers: Transfers
  readonly limits: LimitConfig
  readonly download: DownloadLimits
  /** Largest content in one reply, in bytes. */
  readonly inlineBytesMax: number
  /** Where a client that cannot take parts finds large content. */
  gatewayUrl(): string
}

interface Found {
  readonly target: Target
  readonly entry: NameEntry | undefined
  readonly range: ByteRange | undefined
  readonly bytes: number
  /** What there is to say of its copies. */
  readonly copies: Readonly<Record<string, string>>
}

interface Sent {
  readonly bytes: number
  readonly failure?: Failure
}

/** `get`: content in one reply, in parts for a client that offers credit, or how else to come by it. */
export async function answerGet(
  parts: GetParts,
  request: Request,
  context: Context,
  requester: Requester,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const startMs = performance.now()
  const reference = referenceOf(request, parts.limits)
  // A name that is none is no read: there is no content that was asked for.
  const resolved = await resolve(reference, parts.verbs, parts.limits, signal)
  const record = (status: number, bytes: number) =>
    parts.reads?.read(context, {
      ...placeOf(resolved),
      range: argument(request, 'range') ?? null,
      bytes,
      format: 'unixfs',
      status,
      latencyMs: performance.now() - startMs,
    })
  try {
    const found = await find(parts, request, resolved, signal)
    const { failure, bytes } = await reply(parts, request, found, requester, signal)
    record(failure?.code ?? (found.range === undefined ? 200 : 206), bytes)
    return failure
  } catch (error) {
    record(isAppError(error) ? statusOf[error.code] : 500, 0)
    throw error
  }
}

/** The CID becomes the end of a subject, so it is the parsed one and never what the client wrote. */
function placeOf({ path: { root, segments }, entry }: Resolved) {
  const cid = root.toV1().toString()
  const start = entry === undefined ? `/ipfs/${cid}` : `/names/${entry.name}`
  return { cid, path: [start, ...segments.map(encodeURIComponent)].join('/'), name: entry?.name ?? null }
}

async function find(parts: GetParts, request: Request, resolved: Resolved, signal: AbortSignal): Promise<Found> {
  const { target, entry } = await openResolved(resolved, parts, signal)
  if (target.problem !== undefined) throw target.problem
  if (target.kind === 'directory') {
    throw new AppError('REQUEST_INVALID', `${target.cid} is a directory`, {
      hint: 'list shows what is in it; a path after it leads to a file',
    })
  }
  const range = rangeOf(argument(request, 'range'), target.size)
  const copies = propagationHeaders(await parts.propagation?.tell(resolved.path.root.toV1().toString()))
  return { target, entry, range, copies, bytes: range === undefined ? Number(target.size) : bytesIn(range) }
}

async function reply(
  parts: GetParts,
  request: Request,
  { target, entry, range, bytes, copies }: Found,
  requester: Requester,
  signal: AbortSignal,
): Promise<Sent> {
  const { limits, inlineBytesMax } = parts
  const credit = countArgument(request, 'stowageCredit', { min: 1, max: Number.MAX_SAFE_INTEGER })
  const headers = {
    [header.cid]: target.cid.toString(),
    [header.size]: String(bytes),
    [header.contentType]: servedType(entry?.mediaType),
    ...entryHeaders(entry),
    ...copies,
    ...(range === undefined ? {} : { [header.contentRange]: `bytes ${range.start}-${range.end}/${target.size}` }),
  }
  const source = target.read(range, { signal, readAheadBytes: limits.readAheadBytes })
  if (bytes <= inlineBytesMax) {
    requester.send({ headers, data: await collect(source, inlineBytesMax) })
    return { bytes }
  }
  if (credit === undefined) return refuseLarge(parts, target, requester)
  return {
    bytes: await sendInParts(
      { source, size: bytes, headers, credit },
      requester,
      parts.transfers,
      parts.download,
      signal,
    ),
  }
}

/** An error, so that no script takes it for the content; it says all that is needed to come by that. */
function refuseLarge({ inlineBytesMax, gatewayUrl }: GetParts, { cid, size }: Target, requester: Requester): Sent {
  const error = new AppError('LIMIT_EXCEEDED', `the content has ${size} bytes, more than one reply carries`, {
    hint: `ask for parts of it ("Range: bytes=0-${inlineBytesMax - 1}"), offer ${header.credit} to have it streamed, or use url`,
  })
  const message = errorReply(error, {
    cid: cid.toString(),
    size: Number(size),
    rangeBytesMax: inlineBytesMax,
    url: `${gatewayUrl()}/ipfs/${cid}`,
  })
  requester.send({
    ...message,
    headers: { ...message.headers, [header.cid]: cid.toString(), [header.size]: String(size) },
  })
  return { bytes: 0, failure: failureOf(error) }
}
