/** What waits for a signal; all of it behind one listener. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls `callback` once the signal aborts, and in a moment where it has aborted already: an event that is past is not missed.
 * Any number may wait for one signal (a node that stops, a connection with many requests): to Node each listener of a signal
 * beyond the tenth is a leak, and to take one off costs a look at all of them.
 * @returns what calls it off; then it is not called any more
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  // Of its own for each call, so that one callback may wait twice.
  const wait = () => callback()
  if (signal.aborted) {
    let isWanted = true
    queueMicrotask(() => isWanted && wait())
    return () => {
      isWanted = false
    }
  }
  const waits = waiting.get(signal) ?? begin(signal)
  waits.add(wait)
  return () => {
    waits.delete(wait)
    // A signal that somebody listens to is kept in memory, also where nobody else has it any more.
    if (waits.size === 0 && waiting.get(signal) === waits) end(signal)
  }
}

function begin(signal: AbortSignal): Set<() => void> {
  const waits = new Set<() => void>()
  waiting.set(signal, waits)
  signal.addEventListener('abort', aborted, { once: true })
  return waits
}

function end(signal: AbortSignal): void {
  waiting.delete(signal)
  signal.removeEventListener('abort', aborted)
}

function aborted(this: AbortSignal): void {
  const waits = waiting.get(this) ?? []
  waiting.delete(this)
  for (const wait of waits) wait()
}
