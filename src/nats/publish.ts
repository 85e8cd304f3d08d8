import type { Requests } from './requests.ts'
import { TransientError } from './requests.ts'
import type { Frames } from './wire-frames.ts'
import type { WireMessage } from './wire-parser.ts'
import { encodeHeaders } from './wire-parser.ts'

/** One message for JetStream. `expectedLastSequence: 0` = only if the subject holds nothing yet. */
export interface Publication {
  readonly subject: string
  readonly payload: Uint8Array
  readonly expectedLastSequence?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of all the above: what `encodeHeaders` made, for messages that share their headers. */
  readonly encodedHeaders?: Buffer | undefined
}

/** JetStream refused: `code` is its err_code. */
export class JetStreamRefusal extends Error {
  readonly code: number
  readonly description: string
  /** That was published to; of a batch the first one. */
  readonly subject: string

  constructor(code: number, description: string, subject: string) {
    super(`JetStream error ${code}: ${description}`)
    this.name = 'JetStreamRefusal'
    this.code = code
    this.description = description
    this.subject = subject
  }
}

/**
 * A compare-and-set lost against what the stream holds: for a block it means "already stored". Not so 10164, which has the same
 * words without a sequence: another message for this subject is under way, proposed to the replicas and perhaps never taken
 * (`isUnderWay`).
 */
export function isWrongLastSequence(error: unknown): boolean {
  return error instanceof JetStreamRefusal && error.code === 10071
}

/** A message of the batch has an id that is in the duplicate window. */
export function isDuplicate(error: unknown): boolean {
  return error instanceof JetStreamRefusal && error.code === 10201
}

/** 10047 and 10002 account or server limit, 10023 and 10028 no resources, 10077 bounds of the stream, 10122 its size is above the account's. */
export function isStorageFull(error: unknown): boolean {
  return error instanceof JetStreamRefusal && [10002, 10023, 10028, 10047, 10077, 10122].includes(error.code)
}

/** Worth another try: the request may never have been carried out, or the server asks to slow down. */
export function isTransient(error: unknown): boolean {
  if (error instanceof TransientError) return true
  // 10167 ingest queue full, 10008 and 10076 no leader or temporarily unavailable, 10174-10176 batch cut off halfway.
  return (
    isUnderWay(error) ||
    (error instanceof JetStreamRefusal && [10008, 10076, 10167, 10174, 10175, 10176].includes(error.code))
  )
}

/**
 * Refused because a message for this subject (10164) or with this id (10158) is on its way to the replicas. It may be our own
 * first try, at a leader that is cut off and can never have it stored: only a later answer tells what became of it.
 */
export function isUnderWay(error: unknown): boolean {
  return error instanceof JetStreamRefusal && (error.code === 10164 || error.code === 10158)
}

export interface PubAck {
  readonly stream: string
  readonly seq: number
}

const ackTimeoutMs = 10_000

/** Resolves once the message is durable in the stream. @throws JetStreamRefusal | TransientError */
export async function publish(requests: Requests, publication: Publication): Promise<PubAck> {
  const reply = await requests.one(publication.subject, publication.payload, headersOf(publication), ackTimeoutMs)
  return pubAck(reply, publication.subject)
}

/** What takes messages without a reply subject, as they go over the wire. */
export interface FrameChannel {
  /** @throws Error when they cannot be sent now */
  publishFrames(frames: Buffer): void
}

/**
 * Publishes one after the other and waits for the acknowledgement of the last only: a stream takes what one connection sends
 * in its order. Neither atomic nor safe from a single message being refused: for logs of use, not of state.
 * @throws JetStreamRefusal | TransientError; then some of them may be stored
 */
export async function publishRun(
  connection: FrameChannel,
  requests: Requests,
  run: readonly Frames[],
): Promise<PubAck> {
  const tail = run.at(-1)
  const last = tail?.last
  if (tail === undefined || last === undefined) throw new RangeError('nothing to publish')
  try {
    for (const frames of run) connection.publishFrames(frames === tail ? frames.allButLast : frames.all)
  } catch (error) {
    throw new TransientError('cannot publish to NATS', { cause: error })
  }
  return pubAck(await requests.one(last.subject, last.payload, last.headers, ackTimeoutMs), last.subject)
}

export function headersOf(publication: Publication, extra: readonly [string, string][] = []): Buffer | undefined {
  const { expectedLastSequence, headers, encodedHeaders } = publication
  if (encodedHeaders !== undefined && extra.length === 0) return encodedHeaders
  const pairs: [string, string][] = headers === undefined ? [] : Object.entries(headers)
  if (expectedLastSequence !== undefined) {
    pairs.push(['Nats-Expected-Last-Subject-Sequence', String(expectedLastSequence)])
  }
  return encodeHeaders(extra.length === 0 ? pairs : [...pairs, ...extra])
}

/** @param subject that was published to, for the refusal */
export function pubAck(reply: WireMessage, subject: string): PubAck {
  const text = reply.data.toString('utf8')
  const body: unknown = text.startsWith('{') ? JSON.parse(text) : undefined
  if (!isRecord(body)) throw new TransientError(`not a publish acknowledgement: ${text.slice(0, 100)}`)
  refuse(body, subject)
  if (typeof body.stream !== 'string' || typeof body.seq !== 'number') {
    throw new TransientError('a publish acknowledgement without stream and sequence')
  }
  return { stream: body.stream, seq: body.seq }
}

/** @throws JetStreamRefusal when the body says so */
function refuse(body: Record<string, unknown>, subject: string): void {
  const error = body.error
  if (!isRecord(error)) return
  const code = typeof error.err_code === 'number' ? error.err_code : Number(error.code)
  throw new JetStreamRefusal(code, String(error.description ?? 'no description'), subject)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
