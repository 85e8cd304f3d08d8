import { createHash } from 'node:crypto'
import { AppError } from '../errors.ts'
import { onAbort } from '../lib/on-abort.ts'
import { type Incoming, noResponders } from '../nats/messaging.ts'
import { Credit } from './credit.ts'
import { header } from './protocol.ts'
import type { Requester } from './reply.ts'
import type { Transfers } from './transfers.ts'

export interface DownloadLimits {
  /** Sent and not yet covered by new credit. */
  readonly flightBytesMax: number
  readonly partBytesMax: number
  /** The longest wait for credit. */
  readonly idleMs: number
}

export interface Download {
  readonly source: AsyncIterable<Uint8Array>
  /** In bytes, of what `source` gives. */
  readonly size: number
  /** For the first and the last message. */
  readonly headers: Readonly<Record<string, string>>
  /** What the request offered. */
  readonly credit: number
}

/**
 * Sends content in parts, never more than the client gave credit for:
 *
 *   1. a message without body: headers, `Stowage-Stream: 1`, and as its reply subject the one that takes credit
 *   2. parts: `Stowage-Part: 1, 2, …`, with the same reply subject
 *   3. a last message: `Stowage-Final: 1` with size, SHA-256 and parts of what was sent, or the error that ended it
 *
 * The client publishes more credit (bytes, as the body or in `Stowage-Credit`) as it takes parts; 0 ends the stream.
 * @returns the bytes sent @throws AppError CONNECTION_LOST (nobody listens any more), UPLOAD_STALLED (no credit in time),
 * what the source throws; the client has been told where it can be
 */
export async function sendInParts(
  download: Download,
  requester: Requester,
  transfers: Transfers,
  limits: DownloadLimits,
  signal: AbortSignal,
): Promise<number> {
  const credit = new Credit(limits.flightBytesMax, limits.idleMs)
  const transfer = transfers.open((message) => receiveCredit(message, credit))
  const release = onAbort(signal, () => credit.fail(signal.reason))
  try {
    credit.grant(download.credit)
    return await send(download, requester, credit, { ...limits, subject: transfer.subject })
  } finally {
    release()
    transfer.close()
  }
}

async function send(
  { source, size, headers }: Download,
  requester: Requester,
  credit: Credit,
  { partBytesMax, flightBytesMax, idleMs, subject }: DownloadLimits & { readonly subject: string },
): Promise<number> {
  const hash = createHash('sha256')
  let sent = 0
  let part = 0
  requester.send({
    reply: subject,
    headers: {
      ...headers,
      [header.stream]: '1',
      [header.creditMax]: String(flightBytesMax),
      [header.partBytesMax]: String(partBytesMax),
    },
  })
  const stalled = () =>
    new AppError('UPLOAD_STALLED', `no credit for ${idleMs / 1000} s; ${sent} of ${size} bytes were sent`)
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength; ) {
      const bytes = await credit.take(Math.min(partBytesMax, chunk.byteLength - at), stalled)
      const data = chunk.subarray(at, at + bytes)
      hash.update(data)
      part++
      requester.send({ data, reply: subject, headers: { [header.part]: String(part) } })
      at += bytes
      sent += bytes
    }
  }
  requester.send({
    headers: {
      ...headers,
      [header.final]: '1',
      [header.parts]: String(part),
      [header.size]: String(sent),
      [header.sha256]: hash.digest('hex'),
    },
  })
  return sent
}

function receiveCredit({ headers, data }: Incoming, credit: Credit): void {
  if (headers?.get(':status') === noResponders) {
    credit.fail(new AppError('CONNECTION_LOST', 'nobody listens to the download any more'))
    return
  }
  const text = headers?.get(header.credit.toLowerCase()) ?? Buffer.from(data.subarray(0, 32)).toString('latin1').trim()
  const bytes = /^\d{1,15}$/.test(text) ? Number(text) : 0
  if (bytes === 0) credit.fail(new AppError('CONNECTION_LOST', 'the client ended the download'))
  else credit.grant(bytes)
}
