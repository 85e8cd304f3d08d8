import { ClosedConnectionError } from '@nats-io/transport-node'
import { AppError } from '../errors.ts'
import { pause } from '../lib/pause.ts'
import { isTransient } from './publish.ts'
import { refusedWrite } from './refusal.ts'

const firstPauseMs = 50
const longestPauseMs = 1_000

/**
 * The one layer that tries again. Only for idempotent work: every block write and read is.
 * @throws AppError STORE_FULL and STORE_REFUSED at once; STORE_UNAVAILABLE when `waitMs` have passed; the signal's reason; anything else
 * unchanged
 */
export async function patiently<T>(waitMs: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + waitMs
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (!isTransient(error)) throw refusedWrite(error) ?? error
      if (isClosed(error) || performance.now() + pauseMs > endMs) {
        throw new AppError('STORE_UNAVAILABLE', 'NATS does not answer', {
          cause: error,
          hint: 'try again in a moment; see stowage doctor',
        })
      }
      // Ends early when aborted; the next round throws the reason.
      await pause(pauseMs, signal).catch(() => undefined)
    }
  }
}

/** Behind it is that we closed the connection ourselves: nothing comes back. */
function isClosed(error: unknown): boolean {
  if (error instanceof ClosedConnectionError) return true
  return error instanceof Error && error.cause !== undefined && isClosed(error.cause)
}
