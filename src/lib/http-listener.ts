import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { ListenConfig } from '../config.ts'
import { AppError } from '../errors.ts'

const sweepMs = 50

const openSockets = new WeakMap<Server, Set<Socket>>()

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is taken',
  EACCES: 'may not be used by this user',
  EADDRNOTAVAIL: 'cannot be used: the address is not one of this machine',
  ENOTFOUND: 'cannot be used: the address has no such name',
  EAI_AGAIN: 'cannot be used: the name of the address cannot be looked up',
}

/**
 * @param name what the listener is, for people; `setting`: `GATEWAY` for `STOWAGE_GATEWAY_PORT` and `…_HOST`
 * @throws AppError PORT_TAKEN
 */
export async function listenOn(
  app: FastifyInstance,
  { host, port }: ListenConfig,
  { name, setting }: { readonly name: string; readonly setting: string },
): Promise<{ readonly host: string; readonly port: number }> {
  trackSockets(app.server)
  try {
    await app.listen({ host, port })
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? ''
    const why = reasons[code]
    if (why === undefined) throw cause
    const isPort = code === 'EADDRINUSE' || code === 'EACCES'
    throw new AppError('PORT_TAKEN', `port ${port} on ${host}, meant for the ${name}, ${why}`, {
      cause,
      hint: isPort
        ? `set STOWAGE_${setting}_PORT to another port (0 = any free one)`
        : `set STOWAGE_${setting}_HOST to an address of this machine`,
    })
  }
  const address = app.server.address()
  return { host, port: typeof address === 'object' && address !== null ? address.port : port }
}

function trackSockets(server: Server): void {
  const sockets = new Set<Socket>()
  openSockets.set(server, sockets)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
}

/** To Node, a connection that was opened ahead of need and never asked anything is busy until its first request has ended. */
function closeUnused(server: Server): void {
  for (const socket of openSockets.get(server) ?? []) if (socket.bytesRead === 0) socket.destroy()
}

/** Takes no more requests; those under way may finish within `graceMs`, then their connections are cut. */
export async function closeWithin(app: FastifyInstance, graceMs: number): Promise<void> {
  // Node closes idle connections once, when asked; one that is busy then would linger for its whole keep-alive time.
  const sweep = setInterval(() => {
    app.server.closeIdleConnections()
    closeUnused(app.server)
  }, sweepMs)
  const cut = setTimeout(() => app.server.closeAllConnections(), graceMs)
  try {
    await app.close()
  } finally {
    clearInterval(sweep)
    clearTimeout(cut)
  }
}
