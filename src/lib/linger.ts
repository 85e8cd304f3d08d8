import type { Socket } from 'node:net'
import { MiB } from './units.ts'

/** How much is still taken, and for how long, from a client that was answered before it had sent everything. */
export const lingerBytesMax = 64 * MiB
export const lingerMs = 2000

/**
 * Sends the last answer of a connection and takes in what the client is still sending, unread, until it ends. A socket that
 * is closed while bytes wait in it is reset, and a reset takes the answer away that was on its way (RFC 9112 §9.6).
 */
export function endAndLinger(socket: Socket, answer: string): void {
  const bytesRead = socket.bytesRead
  const timer = setTimeout(() => socket.destroy(), lingerMs)
  socket.once('close', () => clearTimeout(timer))
  socket.on('data', () => {
    if (socket.bytesRead - bytesRead > lingerBytesMax) socket.destroy()
  })
  socket.end(answer)
  socket.resume()
}
