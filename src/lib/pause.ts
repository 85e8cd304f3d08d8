import { onAbort } from './on-abort.ts'

/** Resolves after `ms`. Any number may wait for one signal (see `onAbort`). @throws the signal's reason, as soon as it aborts */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const release = onAbort(signal, () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
    const timer = setTimeout(() => {
      release()
      resolve()
    }, ms)
  })
}
