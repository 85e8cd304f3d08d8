import type { ServerResponse } from 'node:http'
import { AppError } from '../errors.ts'
import type { Sent } from '../http/work.ts'
import { onAbort } from '../lib/on-abort.ts'
import { corsHeaders, securityHeaders } from './headers.ts'
import type { Body, Reply } from './reply.ts'

const commonHeaders: readonly string[] = [...corsHeaders, ...securityHeaders]

/**
 * Sends the reply. A source that fails at its first chunk fails before anything is sent, so the caller can still answer
 * with an error; later, the connection is cut, so that a part can never pass for the whole.
 * Memory: one chunk beyond what the source reads ahead; a client that takes nothing stops the source.
 * @throws what the source throws; AppError DAG_INVALID when it gives another length than the reply promised
 */
export async function send(
  response: ServerResponse,
  reply: Reply,
  { head, signal, sent }: { readonly head: boolean; readonly signal: AbortSignal; readonly sent: Sent },
): Promise<void> {
  const { body } = reply
  if (body.kind === 'stream' && !head) return await sendStream(response, reply, body, { signal, sent })
  writeHead(response, reply)
  if (head || body.kind !== 'whole') {
    response.end()
    return
  }
  response.end(body.bytes)
  sent.bytes = body.bytes.byteLength
}

function writeHead(response: ServerResponse, { status, headers }: Reply): void {
  response.writeHead(status, headers.concat(commonHeaders))
}

async function sendStream(
  response: ServerResponse,
  reply: Reply,
  { source, bytes: promised }: Extract<Body, { readonly kind: 'stream' }>,
  { signal, sent }: { readonly signal: AbortSignal; readonly sent: Sent },
): Promise<void> {
  const iterator = source[Symbol.asyncIterator]()
  try {
    let next = await iterator.next()
    if (!next.done && BigInt(next.value.byteLength) === promised) {
      writeHead(response, reply)
      response.end(next.value)
      sent.bytes = next.value.byteLength
      return
    }
    writeHead(response, reply)
    for (; !next.done; next = await iterator.next()) {
      const bytes = sent.bytes + next.value.byteLength
      if (promised !== undefined && BigInt(bytes) > promised) throw wrongLength(promised)
      const hasRoom = response.write(next.value)
      sent.bytes = bytes
      if (!hasRoom) await drained(response, signal)
    }
    if (promised !== undefined && BigInt(sent.bytes) !== promised) throw wrongLength(promised)
    response.end()
  } catch (error) {
    if (response.headersSent) cut(response)
    throw error
  } finally {
    await iterator.return?.()
  }
}

/** By a reset: over HTTP/1.0 and without a length, a connection that merely ends is how a whole reply ends. */
function cut(response: ServerResponse): void {
  response.socket?.resetAndDestroy()
  response.destroy()
}

function wrongLength(promised: bigint): AppError {
  return new AppError('DAG_INVALID', `the content is not of the ${promised} bytes that its root claims`)
}

/** Until the socket has taken everything. @throws the signal's reason when the client leaves meanwhile */
function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const release = onAbort(signal, () => {
      response.off('drain', onDrain)
      reject(signal.reason)
    })
    const onDrain = () => {
      release()
      resolve()
    }
    response.once('drain', onDrain)
  })
}
