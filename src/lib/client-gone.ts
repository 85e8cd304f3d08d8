import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { onAbort } from './on-abort.ts'

const controllers = new WeakMap<ServerResponse, AbortController>()
/** What is not answered yet on a connection; with pipelining several at a time, behind one listener. */
const unanswered = new WeakMap<Socket, Map<ServerResponse, AbortController>>()

/**
 * Aborts if the client leaves before its reply is complete, or when `endWork` ends it; it has aborted where the client has left by
 * now. The same signal
 * however often it is asked for, and whenever: a listener makes it before it awaits anything. It watches the connection, since
 * a response that waits for those before it (pipelining) hears of no end. (Fastify's `request.signal` aborts when an upload
 * has been read: 5.12.8.)
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
  controllers.set(response, controller)
  const { socket } = response.req
  if (socket.destroyed) {
    leave(response, controller)
    return controller
  }
  const open = unanswered.get(socket) ?? watch(socket)
  open.set(response, controller)
  response.once('finish', () => open.delete(response))
  return controller
}

/** Calls `callback` once, when the reply is complete or its client has left. */
export function whenOver(response: ServerResponse, callback: () => void): void {
  let isOver = false
  const over = () => {
    if (isOver) return
    isOver = true
    callback()
  }
  response.once('close', over)
  if (response.closed) queueMicrotask(over)
  onAbort(clientGone(response), over)
}

function watch(socket: Socket): Map<ServerResponse, AbortController> {
  const open = new Map<ServerResponse, AbortController>()
  unanswered.set(socket, open)
  socket.once('close', () => {
    for (const [response, controller] of open) leave(response, controller)
    open.clear()
  })
  return open
}

function leave(response: ServerResponse, controller: AbortController): void {
  if (!response.writableFinished) controller.abort(new Error('client closed the connection'))
}
