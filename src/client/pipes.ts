import { once } from 'node:events'
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { onAbort } from '../lib/on-abort.ts'
import { fileError } from './local-tree.ts'

// Pipes are opened without blocking and read or written by the event loop: a thread that waits in open(2) or read(2) for the
// other side cannot be stopped, and holds the process at its end.

const retryMs = 50

/** Whether a path leads to a pipe: a FIFO, or what a shell makes of `<(…)` and `>(…)`. */
export function isPipe(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFIFO() === true
}

/** What comes out of a pipe until all its writers have closed it. @throws AppError FILE_UNUSABLE; the signal's reason */
export async function* readPipe(file: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted()
  const socket = new Socket({ fd: opened(file, constants.O_RDONLY), readable: true, writable: false })
  const release = onAbort(signal, () => socket.destroy(signal.reason as Error))
  try {
    yield* socket as AsyncIterable<Uint8Array>
  } finally {
    release()
    socket.destroy()
  }
}

/**
 * Writes into a pipe as fast as it is read; waits for a reader first.
 * @returns the bytes; undefined where `file` is no pipe, and nothing was read of `content`
 */
export async function writePipe(
  file: string,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (!isPipe(file)) return undefined
  const socket = new Socket({ fd: await openedForReader(file, signal), readable: false, writable: true })
  let failure: Error | undefined
  socket.on('error', (error) => {
    failure = error
  })
  let bytes = 0
  try {
    for await (const chunk of content) {
      if (failure !== undefined) throw failure
      if (!socket.write(chunk)) await once(socket, 'drain', { signal })
      bytes += chunk.byteLength
    }
    const finished = once(socket, 'finish', { signal })
    socket.end()
    await finished
    return bytes
  } finally {
    socket.destroy()
  }
}

/** A pipe without a reader cannot be opened for writing: ENXIO. */
async function openedForReader(file: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    try {
      return openSync(file, constants.O_WRONLY | constants.O_NONBLOCK)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw fileError(file, error)
    }
    await delay(retryMs, undefined, { signal })
  }
}

function opened(file: string, flags: number): number {
  try {
    const descriptor = openSync(file, flags | constants.O_NONBLOCK)
    if (fstatSync(descriptor).isFIFO()) return descriptor
    closeSync(descriptor)
  } catch (error) {
    throw fileError(file, error)
  }
  throw fileError(file, new Error('it is no pipe any more'))
}
