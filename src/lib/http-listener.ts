import type { FastifyInstance } from 'fastify'
import type { ListenConfig } from '../config.ts'
import { AppError } from '../errors.ts'

const sweepMs = 50

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

/** Takes no more requests; those under way may finish within `graceMs`, then their connections are cut. */
export async function closeWithin(app: FastifyInstance, graceMs: number): Promise<void> {
  // Node closes idle connections once, when asked; one that is busy then would linger for its whole keep-alive time.
  const sweep = setInterval(() => app.server.closeIdleConnections(), sweepMs)
  const cut = setTimeout(() => app.server.closeAllConnections(), graceMs)
  try {
    await app.close()
  } finally {
    clearInterval(sweep)
    clearTimeout(cut)
  }
}
