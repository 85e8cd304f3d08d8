import { JetStreamApiError } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'

const noMessageFound = 10037

type LeaderQuery = { readonly last_by_subj: string } | { readonly seq: number; readonly next_by_subj: string }

export interface LeaderMessage {
  readonly seq: number
  readonly data: Uint8Array
}

/**
 * The last message on `subject` as the stream's leader has it. A Direct Get may be answered by a follower that has not
 * caught up, so its "not here" proves nothing where there are replicas.
 * @throws TransientError
 */
export async function lastMessageAtLeader(
  nats: Nats,
  stream: string,
  subject: string,
): Promise<LeaderMessage | undefined> {
  return atLeader(nats, stream, { last_by_subj: subject })
}

/** The messages on `subject` from `fromSeq` on as the stream's leader has them, oldest first; one request each. @throws TransientError */
export async function* messagesAtLeader(
  nats: Nats,
  stream: string,
  subject: string,
  fromSeq = 1,
): AsyncGenerator<LeaderMessage> {
  for (let seq = fromSeq; ; ) {
    const message = await atLeader(nats, stream, { seq, next_by_subj: subject })
    if (message === undefined) return
    yield message
    seq = message.seq + 1
  }
}

async function atLeader(nats: Nats, stream: string, query: LeaderQuery): Promise<LeaderMessage | undefined> {
  try {
    return (await nats.jsm.streams.getMessage(stream, query)) ?? undefined
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === noMessageFound) return undefined
    throw new TransientError(`the leader of ${stream} does not answer`, { cause: error })
  }
}

/** Removes all messages on one subject. @throws TransientError */
export async function purgeSubject(nats: Nats, stream: string, subject: string): Promise<void> {
  try {
    await nats.jsm.streams.purge(stream, { filter: subject })
  } catch (error) {
    throw new TransientError(`cannot purge ${subject}`, { cause: error })
  }
}

/** Removes one message; that it is gone already, or too damaged to be removed, is no error. @throws TransientError */
export async function deleteMessage(nats: Nats, stream: string, seq: number): Promise<void> {
  try {
    // Not overwritten with random bytes first: that costs more than the removal.
    await nats.jsm.streams.deleteMessage(stream, seq, false)
  } catch (error) {
    if (error instanceof JetStreamApiError) return
    throw new TransientError(`cannot delete message ${seq} of ${stream}`, { cause: error })
  }
}
