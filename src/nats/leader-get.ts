import { JetStreamApiError } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'

const noMessageFound = 10037

/**
 * The last message on `subject` as the stream's leader has it. A Direct Get may be answered by a follower that has not
 * caught up, so its "not here" proves nothing where there are replicas (facts/nats.md §4.5).
 * @throws TransientError
 */
export async function lastMessageAtLeader(
  nats: Nats,
  stream: string,
  subject: string,
): Promise<Uint8Array | undefined> {
  try {
    const message = await nats.jsm.streams.getMessage(stream, { last_by_subj: subject })
    return message?.data
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
