import type { Requests } from './requests.ts'
import { TransientError } from './requests.ts'
import type { WireMessage } from './wire-parser.ts'
import { headerReader, wireHeader, wireStatus } from './wire-parser.ts'

/** A stored message, as Direct Get returns it (ADR-31). */
export interface StoredMessage {
  readonly subject: string
  readonly seq: number
  readonly data: Buffer
  readonly header: (name: string) => string
}

export interface BatchReply {
  readonly messages: readonly StoredMessage[]
  /** Set when the reply was cut at `bytesMax`: ask again from `fromSeq`. */
  readonly next: { readonly fromSeq: number; readonly upToSeq: number } | undefined
}

const replyTimeoutMs = 5_000
const none = new Uint8Array()

/**
 * The filter for all that a stream holds. Before each page the server counts what is pending on the filter, over all that the
 * stream holds; on this one it need not, so that a page costs the same however large the stream is.
 */
export const wholeStream = '>'
const fromBytesMax = 4 * 1024 * 1024

const apiSubject = (stream: string): string => `$JS.API.DIRECT.GET.${stream}`

/** The last message on `subject`; undefined when there is none. @throws TransientError */
export async function directGetLast(
  requests: Requests,
  stream: string,
  subject: string,
): Promise<StoredMessage | undefined> {
  const reply = await requests.one(`${apiSubject(stream)}.${subject}`, none, undefined, replyTimeoutMs)
  const status = statusOf(reply)
  if (status === 404) return undefined
  if (status !== 0) throw new TransientError(`direct get from ${stream} answered ${status}`)
  return stored(reply)
}

/**
 * The last message on each of `subjects`, in stream order; those without one are missing from the result.
 * The server sends all in one go with no flow control, so `bytesMax` is what bounds it (it overshoots by one message).
 * @throws TransientError
 */
export function directGetMany(
  requests: Requests,
  stream: string,
  subjects: readonly string[],
  bytesMax: number,
  from?: { readonly fromSeq: number; readonly upToSeq: number },
): Promise<BatchReply> {
  return batch(requests, stream, {
    multi_last: subjects,
    max_bytes: bytesMax,
    ...(from === undefined ? {} : { seq: from.fromSeq, up_to_seq: from.upToSeq }),
  })
}

/** All messages on one subject, oldest first, `countMax` at the most. @throws TransientError */
export async function directGetAll(
  requests: Requests,
  stream: string,
  subject: string,
  countMax: number,
  bytesMax: number,
): Promise<readonly StoredMessage[]> {
  const reply = await batch(requests, stream, { seq: 1, next_by_subj: subject, batch: countMax, max_bytes: bytesMax })
  return reply.messages
}

/**
 * Messages on `filter` (wildcards allowed) from sequence `fromSeq` on, oldest first, `countMax` at the most.
 * @throws TransientError
 */
export function directGetFrom(
  requests: Requests,
  stream: string,
  filter: string,
  fromSeq: number,
  countMax: number,
  bytesMax = fromBytesMax,
): Promise<BatchReply> {
  return batch(requests, stream, { seq: fromSeq, next_by_subj: filter, batch: countMax, max_bytes: bytesMax })
}

/** The first message on `filter` that was stored at this time or later. @throws TransientError */
export async function directGetSince(
  requests: Requests,
  stream: string,
  filter: string,
  time: Date,
): Promise<StoredMessage | undefined> {
  const ask = { start_time: time.toISOString(), next_by_subj: filter, batch: 1, max_bytes: fromBytesMax }
  return (await batch(requests, stream, ask)).messages[0]
}

/** As `directGetFrom`, from the first message that was stored at or after `since`. */
export function directGetFromTime(
  requests: Requests,
  stream: string,
  filter: string,
  since: Date,
  countMax: number,
): Promise<BatchReply> {
  const ask = { start_time: since.toISOString(), next_by_subj: filter, batch: countMax, max_bytes: fromBytesMax }
  return batch(requests, stream, ask)
}

async function batch(requests: Requests, stream: string, ask: Record<string, unknown>): Promise<BatchReply> {
  const messages: StoredMessage[] = []
  let next: BatchReply['next']
  const payload = Buffer.from(JSON.stringify(ask))
  await requests.many(apiSubject(stream), payload, undefined, replyTimeoutMs, (reply) => {
    const status = statusOf(reply)
    if (status === 0) {
      messages.push(stored(reply))
      return 'more'
    }
    if (status === 404) return 'done'
    if (status !== 204) throw new TransientError(`batch get from ${stream} answered ${status}`)
    const pending = Number(wireHeader(reply.headers, 'Nats-Num-Pending'))
    if (pending > 0) {
      next = {
        fromSeq: Number(wireHeader(reply.headers, 'Nats-Last-Sequence')) + 1,
        upToSeq: Number(wireHeader(reply.headers, 'Nats-UpTo-Sequence')),
      }
    }
    return 'done'
  })
  return { messages, next }
}

/** 0 = a message; replies that only say something carry a status line and no body. */
function statusOf(reply: WireMessage): number {
  if (reply.data.byteLength > 0) return 0
  return wireStatus(reply.headers)
}

function stored(reply: WireMessage): StoredMessage {
  const header = headerReader(reply.headers)
  return { subject: header('Nats-Subject'), seq: Number(header('Nats-Sequence')), data: reply.data, header }
}
