import type { IncomingMessage } from 'node:http'
import { AppError } from '../errors.ts'
import { onAbort } from '../lib/on-abort.ts'
import { formatBytes } from '../lib/units.ts'

export interface UploadBodyOptions {
  readonly bytesMax: number
  /** How long to wait for the next byte. Time that we take ourselves does not count. */
  readonly idleMs: number
  readonly signal: AbortSignal
}

/**
 * The bytes of a request as they come; it pulls, so a slow store holds the client back. Leaving it early leaves the
 * socket open (`for await` over the request itself would destroy it), so that an answer can still be sent.
 * @throws AppError UPLOAD_TOO_LARGE | UPLOAD_STALLED; REQUEST_INVALID when it ends before its announced length; the
 * signal's reason when aborted
 */
export async function* uploadBody(request: IncomingMessage, options: UploadBodyOptions): AsyncGenerator<Uint8Array> {
  const { bytesMax, idleMs, signal } = options
  refuseTooLarge(Number(request.headers['content-length'] ?? 0), bytesMax)
  let bytes = 0
  for (;;) {
    signal.throwIfAborted()
    const chunk: Uint8Array | null = request.read()
    if (chunk !== null) {
      bytes += chunk.byteLength
      refuseTooLarge(bytes, bytesMax)
      yield chunk
    } else if (request.readableEnded) {
      if (!request.complete) throw endedEarly()
      return
    } else if (request.destroyed) {
      // No 'end' comes any more, nor anything else to wait for: not even where all of it had come.
      throw endedEarly(request.errored ?? undefined)
    } else {
      await moreToRead(request, idleMs, signal)
    }
  }
}

function refuseTooLarge(bytes: number, bytesMax: number): void {
  if (bytes <= bytesMax) return
  throw new AppError('UPLOAD_TOO_LARGE', `the upload is larger than ${formatBytes(bytesMax)}`, {
    limit: 'upload_bytes',
    hint: 'the setting is STOWAGE_UPLOAD_BYTES_MAX',
  })
}

const endedEarly = (cause?: unknown) =>
  new AppError('REQUEST_INVALID', 'the body ended before its announced length', cause === undefined ? {} : { cause })

/** Resolves when there is something to look at: more bytes, the end, or that nothing comes any more. */
function moreToRead(request: IncomingMessage, idleMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      clearTimeout(timer)
      request.off('readable', onMore).off('end', onMore).off('error', onError).off('close', onMore)
      release()
      outcome()
    }
    const onMore = () => settle(resolve)
    const onError = (error: Error) => settle(() => reject(endedEarly(error)))
    const release = onAbort(signal, () => settle(() => reject(signal.reason)))
    const timer = setTimeout(() => {
      const seconds = idleMs / 1000
      settle(() =>
        reject(
          new AppError('UPLOAD_STALLED', `the upload sent nothing for ${seconds} s`, { limit: 'upload_idle_time' }),
        ),
      )
    }, idleMs)
    request.once('readable', onMore).once('end', onMore).once('error', onError).once('close', onMore)
  })
}
