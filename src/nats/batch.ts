import { setTimeout as delay } from 'node:timers/promises'
import { nuid } from '@nats-io/transport-node'
import type { PubAck, Publication } from './publish.ts'
import { headersOf, pubAck } from './publish.ts'
import type { Channel, Requests } from './requests.ts'
import { TransientError } from './requests.ts'
import type { WireMessage } from './wire-parser.ts'

const batchTimeoutMs = 20_000
/** After so long without an answer to the commit we ask whether the store is full. */
const silenceMs = 2_000

/**
 * Publishes all of `publications` to one stream or none of them, with one fsync (ADR-50, nats-server 2.12).
 *
 * Not `startBatch` of @nats-io/jetstream 3.4.0: its `add()` and `commit()` drop the compare-and-set and hide the error
 * reply. The messages go out in one stretch; the server answers the first (empty, or why it cannot
 * begin) and the last (the acknowledgement, or why nothing was stored).
 *
 * @returns the sequence of the last message
 * @throws JetStreamRefusal | TransientError; then nothing of the batch is stored, or (TransientError) it is unknown
 */
export async function publishBatch(
  connection: Channel,
  requests: Requests,
  publications: readonly Publication[],
): Promise<PubAck> {
  const last = publications.length - 1
  if (last < 0) throw new RangeError('an empty batch')
  const id = nuid.next()
  let begun: Promise<WireMessage> | undefined
  let committed: Promise<WireMessage> | undefined
  for (const [index, publication] of publications.entries()) {
    const { subject, payload } = publication
    const extra: [string, string][] = [
      ['Nats-Batch-Id', id],
      ['Nats-Batch-Sequence', String(index + 1)],
    ]
    if (index === last) extra.push(['Nats-Batch-Commit', '1'])
    const headers = headersOf(publication, extra)
    if (index === last) committed = requests.one(subject, payload, headers, batchTimeoutMs)
    else if (index === 0) {
      begun = requests.one(subject, payload, headers, batchTimeoutMs)
      // A connection that is lost before the rest is out ends this call; nobody waits for this answer then.
      begun.catch(() => undefined)
    } else send(connection, subject, headers, payload)
  }
  if (committed === undefined) throw new RangeError('an empty batch')
  const asking = new AbortController()
  const full = refusalAfterSilence(requests, publications[0], asking.signal)
  const [first, final] = await Promise.allSettled([begun, Promise.race([committed, full])])
  asking.abort()
  // What the server says first is the cause; the refusal of the commit is then only its consequence.
  if (first.status === 'fulfilled' && first.value !== undefined && first.value.data.byteLength > 0)
    pubAck(first.value, subjectOf(publications))
  if (final.status === 'rejected') throw final.reason
  return pubAck(final.value, subjectOf(publications))
}

/**
 * nats-server 2.15.1 never answers a commit that crosses `max_file_store` (measured), but it refuses the next batch at its
 * first message. So that one is sent, and never committed: the server forgets it.
 * @returns never; @throws JetStreamRefusal when it is refused
 */
async function refusalAfterSilence(
  requests: Requests,
  publication: Publication | undefined,
  signal: AbortSignal,
): Promise<never> {
  const silent = await delay(silenceMs, true, { signal, ref: false }).catch(() => false)
  if (silent && publication !== undefined) {
    const headers = headersOf(publication, [
      ['Nats-Batch-Id', nuid.next()],
      ['Nats-Batch-Sequence', '1'],
    ])
    const reply = await requests
      .one(publication.subject, publication.payload, headers, batchTimeoutMs)
      .catch(() => undefined)
    if (reply !== undefined && reply.data.byteLength > 0) pubAck(reply, publication.subject)
  }
  return new Promise<never>(() => undefined)
}

function send(connection: Channel, subject: string, headers: Buffer | undefined, payload: Uint8Array): void {
  try {
    connection.publish(subject, '', headers, payload)
  } catch (error) {
    throw new TransientError('cannot publish to NATS', { cause: error })
  }
}

const subjectOf = (publications: readonly Publication[]): string => publications[0]?.subject ?? ''
