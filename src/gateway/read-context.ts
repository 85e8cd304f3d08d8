import type { IncomingHttpHeaders } from 'node:http'
import type { ReadContext } from '../content/verbs.ts'
import { correlationOf, traceparentOf } from '../lib/message-ids.ts'

/** Who reads: nobody is authenticated at the gateway. */
const anonymous: ReadContext = Object.freeze({
  principal: 'anonymous',
  via: 'http',
  traceparent: undefined,
  correlation: undefined,
})

/** What cannot be used is left out: a read is not refused for it. */
export function readContextOf(headers: IncomingHttpHeaders): ReadContext {
  const correlation = headers['stowage-correlation-id']
  const { traceparent } = headers
  if (correlation === undefined && traceparent === undefined) return anonymous
  return { ...anonymous, correlation: correlationOf(correlation), traceparent: traceparentOf(traceparent) }
}
