import { AppError } from '../errors.ts'
import { unlessAborted } from '../lib/unless-aborted.ts'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'
import { encodeHeaders } from './wire-parser.ts'

/** Says in the message what it is: it asks, and changes nothing. */
const queryHeader = encodeHeaders([['Stowage-Kind', 'query']])

/**
 * One question in JSON to whoever answers on a subject, once.
 * @throws AppError STORE_UNAVAILABLE when nobody does in time, or with something else than JSON; the signal's reason
 */
export async function requestJson(
  nats: Nats,
  subject: string,
  question: object,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<unknown> {
  const payload = Buffer.from(JSON.stringify(question))
  try {
    const { data } = await unlessAborted(nats.log.requests.one(subject, payload, queryHeader, timeoutMs), signal)
    return JSON.parse(data.toString('utf8'))
  } catch (cause) {
    if (!(cause instanceof TransientError) && !(cause instanceof SyntaxError)) throw cause
    throw new AppError('STORE_UNAVAILABLE', `nobody answers on ${subject}`, { cause })
  }
}
