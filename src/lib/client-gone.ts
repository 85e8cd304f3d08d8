import type { ServerResponse } from 'node:http'

const controllers = new WeakMap<ServerResponse, AbortController>()

/**
 * Aborts if the client leaves before the reply is complete, and when `endWork` ends it; the same signal however often one
 * asks. (Fastify's `request.signal` aborts when an upload has been read: 5.12.8.)
 */
export function clientGone(response: ServerResponse): AbortSignal {
  return controllerOf(response).signal
}

/** Ends what is being worked on for this reply; its connection stays open for an answer. */
export function endWork(response: ServerResponse, reason: Error): void {
  controllerOf(response).abort(reason)
}

function controllerOf(response: ServerResponse): AbortController {
  const known = controllers.get(response)
  if (known !== undefined) return known
  const controller = new AbortController()
  const onClose = () => {
    if (!response.writableFinished) controller.abort(new Error('client closed the connection'))
  }
  controllers.set(response, controller)
  // Whoever asks behind an await may come after the 'close'.
  if (response.closed || response.destroyed) onClose()
  else response.once('close', onClose)
  return controller
}
