import { JetStreamApiError, RetentionPolicy } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import { directGetFrom, wholeStream } from './direct-get.ts'
import { TransientError } from './requests.ts'

export interface StreamHealth {
  /** Messages that the server counts and cannot read: they are damaged. 0 = all is well. */
  readonly unreadable: number
  /** What the server says of the stream contradicts itself: it was damaged, and put together again. */
  readonly inconsistent: boolean
  readonly messages: number
  readonly last: number
}

const streamNotFound = 10059
const pageMessages = 1_024
const triesMax = 5
/** By which the clocks of nodes and servers may differ. */
const clockSlackMs = 10 * 60_000

export interface HealthOptions {
  readonly signal: AbortSignal
  /** Called with the bytes of each page: a low rate waits here. */
  readonly pace?: (bytes: number, signal: AbortSignal) => Promise<void>
}

/**
 * Reads all that a stream holds, and compares it with what the server counts. What others write meanwhile is allowed for: only
 * messages up to the last one at the start are looked at, and what they replace or remove meanwhile makes it look again.
 * @returns undefined when the stream is not there, or changes too fast to tell @throws TransientError
 */
export async function streamHealth(
  nats: Nats,
  stream: string,
  options: HealthOptions,
): Promise<StreamHealth | undefined> {
  for (let tries = 0; tries < triesMax; tries++) {
    const before = await stateOf(nats, stream)
    if (before === undefined) return undefined
    const readable = await countReadable(nats, stream, before.last, options)
    const after = await stateOf(nats, stream)
    if (after === undefined) return undefined
    const isSame = before.created === after.created && before.last === after.last && before.messages === after.messages
    if (!isSame && tries + 1 < triesMax) continue
    // Of those that came meanwhile each may have replaced one.
    const changed = Math.max(0, after.last - before.last) + Math.abs(after.messages - before.messages)
    const unreadable = Math.max(0, before.messages - readable - (isSame ? 0 : changed))
    const surplus = Math.max(0, readable - before.messages - (isSame ? 0 : changed))
    return {
      unreadable,
      inconsistent: surplus > 0 || (isSame && after.perSubjectMax === 1 && after.subjects !== after.messages),
      messages: after.messages,
      last: after.last,
    }
  }
  return undefined
}

async function countReadable(
  nats: Nats,
  stream: string,
  last: number,
  { signal, pace }: HealthOptions,
): Promise<number> {
  let count = 0
  // Not from the first one that the server tells of: in a damaged stream that is wrong too.
  for (let at = 1; at <= last; ) {
    signal.throwIfAborted()
    const { messages } = await directGetFrom(nats.log.requests, stream, wholeStream, at, pageMessages)
    const end = messages.at(-1)
    if (end === undefined) break
    for (const { seq } of messages) if (seq <= last) count++
    await pace?.(
      messages.reduce((sum, { data }) => sum + data.byteLength, 0),
      signal,
    )
    at = end.seq + 1
  }
  return count
}

async function stateOf(nats: Nats, stream: string) {
  try {
    const { state, created, config } = await nats.jsm.streams.info(stream)
    const { last_seq: last, last_ts: lastTime, messages, num_subjects: subjects = 0 } = state
    const { max_msgs_per_subject: perSubjectMax, max_age: ageMax, retention } = config
    return { last, lastTime, messages, subjects, created, perSubjectMax, ageMax, retention }
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw new TransientError(`stream ${stream} does not answer`, { cause: error })
  }
}

/** What is remembered of a stream, to see later whether it is the same and whole. */
export interface StreamMark {
  /** When it was made. */
  readonly created: string
  /** Sequence of its last message, which a server goes on telling when the message is lost. 0 = there was none. */
  readonly last: number
  /** Till when that message stays unless it is lost, in ms since 1970; null = for ever. Absent: it may leave at any time. */
  readonly staysUntilMs?: number | null
}

/** @param known what was seen before, so that the same is not read again @returns undefined when it is not there @throws TransientError */
export async function streamMark(nats: Nats, stream: string, known?: StreamMark): Promise<StreamMark | undefined> {
  const state = await stateOf(nats, stream)
  if (state === undefined) return undefined
  const mark = { created: String(state.created), last: state.last }
  const isSame = known?.created === mark.created && known.last === mark.last
  if (isSame && known.staysUntilMs !== undefined) return known
  // Of a work queue messages are taken.
  if (mark.last === 0 || state.retention !== RetentionPolicy.Limits) return mark
  const message = await messageAt(nats, stream, mark.last)
  // A removal is kept for a while only.
  if (message === undefined || message.header('KV-Operation') !== '') return mark
  return { ...mark, staysUntilMs: state.ageMax > 0 ? Date.parse(state.lastTime) + state.ageMax / 1e6 : null }
}

/** Whether what a mark says stays is gone all the same. @throws TransientError */
export async function isLastLost(nats: Nats, stream: string, { last, staysUntilMs }: StreamMark): Promise<boolean> {
  if (staysUntilMs === undefined || (staysUntilMs !== null && Date.now() + clockSlackMs > staysUntilMs)) return false
  return (await messageAt(nats, stream, last)) === undefined
}

async function messageAt(nats: Nats, stream: string, sequence: number) {
  const { messages } = await directGetFrom(nats.log.requests, stream, wholeStream, sequence, 1)
  return messages.find(({ seq }) => seq === sequence)
}
