import type { ServerResponse } from 'node:http'

/**
 * Aborts if the client leaves before the reply is complete. (Fastify's `request.signal` aborts when an upload has been
 * read: 5.12.8.)
 */
export function clientGone(response: ServerResponse): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new Error('client closed the connection'))
  })
  return controller.signal
}
