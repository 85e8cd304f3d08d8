import { onAbort } from './on-abort.ts'

/**
 * Runs the work with a signal that aborts as soon as `signal` does, and after `ms` at the latest, with a `TimeoutError` then.
 *
 * Not `AbortSignal.any` of an `AbortSignal.timeout`: Node 20 collects both as garbage while nobody but a listener waits for
 * them, and the work would have no end (20.20.2; not so 22 and 24).
 */
export async function withDeadline<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const end = new AbortController()
  const late = () => end.abort(new DOMException(`no end within ${ms} ms`, 'TimeoutError'))
  const timer = setTimeout(late, ms)
  // At once, not in a moment, where it is past.
  if (signal.aborted) end.abort(signal.reason)
  const release = onAbort(signal, () => end.abort(signal.reason))
  try {
    return await work(end.signal)
  } finally {
    clearTimeout(timer)
    release()
  }
}
