import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

/** A TCP link that can really fail, between whoever dials `port` and the `target` port, both on 127.0.0.1. */
export interface Link {
  readonly port: number
  /** What has gone over it since it was made, in bytes: `sent` from the dialler to the target, `received` back. */
  readonly bytes: { readonly sent: number; readonly received: number }
  /** Connections that were tried while it was cut. */
  readonly refused: number
  /** Ends every connection at once and takes no new one, as if the cable were out and the router said so. */
  cut(): void
  /** Lets nothing through, and nobody is told: connections stay open, as if a cable were out on the way. */
  stall(): void
  /** The end of a cut or stall. After a stall what was held back goes on, in order. */
  mend(): void
  close(): Promise<void>
}

export async function openLink(target: number): Promise<Link> {
  const sockets = new Set<Socket>()
  const bytes = { sent: 0, received: 0 }
  let refused = 0
  let state: 'up' | 'cut' | 'stalled' = 'up'
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // The other half is ended by its own `close`; nobody else is to be told.
    socket.on('error', () => socket.destroy())
    socket.setNoDelay(true)
    if (state === 'stalled') socket.pause()
  }
  const carry = (from: Socket, to: Socket, direction: keyof typeof bytes) => {
    from.on('data', (chunk) => {
      bytes[direction] += chunk.byteLength
      if (to.write(chunk)) return
      from.pause()
      to.once('drain', () => state !== 'stalled' && from.resume())
    })
    from.once('close', () => to.destroy())
  }
  const server = createServer((near) => {
    if (state === 'cut') {
      refused++
      near.destroy()
      return
    }
    const far = connect(target, '127.0.0.1')
    carry(near, far, 'sent')
    carry(far, near, 'received')
    // After the listeners for data: the first of them starts a socket that was paused before.
    keep(near)
    keep(far)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const destroyAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    bytes,
    get refused() {
      return refused
    },
    cut: () => {
      state = 'cut'
      destroyAll()
    },
    stall: () => {
      state = 'stalled'
      for (const socket of sockets) socket.pause()
    },
    mend: () => {
      state = 'up'
      for (const socket of sockets) socket.resume()
    },
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      destroyAll()
      await closed
    },
  }
}
