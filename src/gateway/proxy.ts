import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** What runs inside a tunnel; a tunnel in it would lead to where it comes from. */
const tunnels = new WeakSet<Duplex>()

const established = 'HTTP/1.1 200 Connection established\r\n\r\n'

function refusal(status: string, why: string): string {
  return `HTTP/1.1 ${status}\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(why)}\r\nConnection: close\r\n\r\n${why}`
}

/**
 * Answers CONNECT, which is how clients ask a proxy for a tunnel: whatever host and port it names, what comes through the
 * tunnel is handled by `server` itself, on this very socket. Nothing is ever dialled, so it is no way to anywhere else.
 * A tunnel is the connection it came on: its limits and timeouts stay.
 */
export function serveTunnels(server: Server, { on }: { readonly on: boolean }): void {
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // A client that leaves is no failure of ours; the server's own listener comes with the tunnel.
    const ignore = () => socket.destroy()
    socket.once('error', ignore)
    if (!on || tunnels.has(socket)) {
      socket.end(refusal('405 Method Not Allowed', 'this gateway is read only, and no proxy\n'))
      return
    }
    if (!/^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):\d{1,5}$/i.test(request.url ?? '')) {
      socket.end(refusal('400 Bad Request', 'CONNECT wants host:port\n'))
      return
    }
    tunnels.add(socket)
    socket.write(established)
    // What the client sent ahead of the answer comes first.
    if (head.byteLength > 0) socket.unshift(head)
    socket.off('error', ignore)
    server.emit('connection', socket)
  })
}
