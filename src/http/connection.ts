import type { Socket } from 'node:net'

/**
 * What is known of one client connection. All requests on it share a signal: in HTTP/1.1 a client that leaves closes the
 * connection. One controller a connection, not a request, keeps it out of the cost of a small file.
 */
export interface Connection {
  /** Aborts when the connection is closed, by whichever side. */
  readonly signal: AbortSignal
  /** Ends what is being worked on for it; the connection itself stays open for an answer. */
  abort(reason: Error): void
  /** Requests that wait for content. */
  working: number
}

const connections = new WeakMap<Socket, Connection>()

export function connectionOf(socket: Socket): Connection {
  const known = connections.get(socket)
  if (known !== undefined) return known
  const controller = new AbortController()
  const abort = (reason: Error): void => controller.abort(reason)
  const connection: Connection = { signal: controller.signal, abort, working: 0 }
  if (socket.destroyed) controller.abort(clientGone())
  else socket.once('close', () => controller.abort(clientGone()))
  connections.set(socket, connection)
  return connection
}

function clientGone(): Error {
  return new Error('the client closed the connection')
}

/**
 * For a connection on which no byte moved for a while: cuts it, unless we are the ones who keep the client waiting.
 * Node has looked at the kernel's queue by then: a slow client that takes something now and then is not idle.
 */
export function cutWhenIdle(socket: Socket): 'waits' | 'unread' | 'idle' {
  const unread = socket.writableLength > 0
  if (!unread && (connections.get(socket)?.working ?? 0) > 0) return 'waits'
  // What waits is thrown away with it: else the kernel would keep it for a client that takes nothing.
  if (unread) socket.resetAndDestroy()
  else socket.destroy()
  return unread ? 'unread' : 'idle'
}
