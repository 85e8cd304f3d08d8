import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { WireConnection } from '../../src/nats/wire-connection.ts'

const messages = 4_000
const payload = Buffer.alloc(8_192, 'x')

/** Longer than a share of a turn, for what one read brings. */
function work(): void {
  const endMs = performance.now() + 0.3
  while (performance.now() < endMs);
}

test('answers that have piled up are worked on a share a turn, and none is lost', async ({ onTestFinished }) => {
  let peer: Socket | undefined
  const server = createServer((socket) => {
    peer = socket
    socket.on('error', () => undefined)
    socket.write('INFO {"max_payload":1000000}\r\n')
    socket.once('data', () => socket.write('PONG\r\n'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  let [seen, sinceTurn, longest] = [0, 0, 0]
  const connection = await WireConnection.open(
    {
      servers: [`nats://127.0.0.1:${port}`],
      authenticate: () => ({ user: 'me', pass: 'x' }),
      tls: undefined,
      name: 'test',
    },
    'inbox',
    {
      onMessage: ({ subject }) => {
        expect(subject).toBe(`inbox.${seen}`)
        seen++
        longest = Math.max(longest, ++sinceTurn)
        work()
      },
      onLost: () => undefined,
      onRestored: () => undefined,
      onForbidden: () => undefined,
    },
  )
  onTestFinished(async () => {
    peer?.destroy()
    server.close()
    await connection.close()
  })
  const all = Array.from({ length: messages }, (_, at) =>
    Buffer.concat([Buffer.from(`MSG inbox.${at} 1 ${payload.byteLength}\r\n`), payload, Buffer.from('\r\n')]),
  )
  peer?.write(Buffer.concat(all))
  while (seen < messages) {
    sinceTurn = 0
    await nextTurn()
  }
  await vi.waitFor(() => expect(seen).toBe(messages))
  // A read brings some 32 messages, and libuv reads up to 32 times in a turn.
  expect(longest).toBeLessThan(150)
})
