import type { ServerResponse } from 'node:http'
import type { StoredEvent } from '../content/verbs.ts'
import { onAbort } from '../lib/on-abort.ts'

export type EventFormat = 'sse' | 'lines'

export interface SendEventsOptions {
  readonly format: EventFormat
  /** Where it begins: told at once, so that a client which is cut before its first event misses nothing. */
  readonly after: number
  readonly signal: AbortSignal
  /** A client that takes nothing for so long is cut; it can resume where it was. */
  readonly idleMs: number
  readonly heartbeatMs?: number
}

const heartbeatMsDefault = 15_000
/** After this a browser connects again. */
const retryMs = 1_000

/**
 * Writes events as they come: server-sent events (WHATWG), `id` = sequence, `event` = `<entity>.<verb>`, `data` = the
 * CloudEvent; or lines of `{"sequence", "event"}`. It pulls: a client that takes nothing stops the source, and what waits
 * for it is what the socket holds. Where nothing happens, a comment (or an empty line) keeps the connection known to live.
 * @throws what the source throws; the signal's reason; Error when the client takes nothing
 */
export async function sendEvents(
  response: ServerResponse,
  events: AsyncIterable<StoredEvent>,
  { after, format, signal, idleMs, heartbeatMs = heartbeatMsDefault }: SendEventsOptions,
): Promise<void> {
  const iterator = events[Symbol.asyncIterator]()
  response.writeHead(200, headersOf(response, format))
  response.write(format === 'sse' ? `retry: ${retryMs}\nid: ${after}\n\n` : '')
  response.flushHeaders()
  const heartbeat = setInterval(() => {
    // One that cannot be taken would only wait in memory.
    if (!response.writableNeedDrain) response.write(format === 'sse' ? ':\n\n' : '\n')
  }, heartbeatMs)
  try {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      if (!response.write(written(next.value, format))) await drained(response, idleMs, signal)
    }
    response.end()
  } finally {
    clearInterval(heartbeat)
    await iterator.return?.()
  }
}

function headersOf(response: ServerResponse, format: EventFormat) {
  return {
    'content-type': format === 'sse' ? 'text/event-stream; charset=utf-8' : 'application/x-ndjson; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // nginx would gather them.
    'x-accel-buffering': 'no',
    ...(response.shouldKeepAlive ? {} : { connection: 'close' }),
  }
}

/** JSON has no line ends of its own, so one `data` line holds it. */
function written({ sequence, event }: StoredEvent, format: EventFormat): string {
  const json = JSON.stringify(event)
  if (format === 'lines') return `{"sequence":${sequence},"event":${json}}\n`
  const [entity, verb] = event.type.split('.').slice(-3)
  return `id: ${sequence}\nevent: ${entity}.${verb}\ndata: ${json}\n\n`
}

function drained(response: ServerResponse, idleMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      clearTimeout(timer)
      response.off('drain', onDrain)
      release()
      outcome()
    }
    const onDrain = () => settle(resolve)
    const release = onAbort(signal, () => settle(() => reject(signal.reason)))
    const timer = setTimeout(() => settle(() => reject(new Error('the client takes no events'))), idleMs)
    response.once('drain', onDrain)
  })
}
