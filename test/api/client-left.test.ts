import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, type TestContext, test, vi } from 'vitest'
import { uploadBody } from '../../src/api/upload-body.ts'
import { clientGone, whenOver } from '../../src/lib/client-gone.ts'
import { authorization, post, startApi } from '../support/api.ts'
import { noFeed } from '../support/put-verbs.ts'

type OnFinished = TestContext['onTestFinished']

const posted = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello'

/** A server that hands over each request as it comes, and a client of it that has sent `text`. */
async function exchangeWith(onFinished: OnFinished, text: string, requests = 1) {
  const came: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = []
  const server = createServer((request, response) => void came.push({ request, response }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => undefined)
  client.write(text)
  await vi.waitFor(() => expect(came).toHaveLength(requests))
  return { came, client }
}

async function left({ request }: { readonly request: IncomingMessage }, client: Socket, how: 'FIN' | 'RST') {
  // Whole: the parser has seen the end of the body.
  await vi.waitFor(() => expect(request.complete).toBe(true))
  if (how === 'RST') client.resetAndDestroy()
  else client.destroy()
  await vi.waitFor(() => expect(request.socket.destroyed).toBe(true))
  await new Promise((next) => setImmediate(next))
}

for (const how of ['FIN', 'RST'] as const) {
  test(`a body whose client left when it had sent all of it ends with an error, by ${how}`, async ({
    onTestFinished,
  }) => {
    const { came, client } = await exchangeWith(onTestFinished, posted)
    const [exchange] = came
    if (exchange === undefined) throw new Error('no request came')
    await left(exchange, client, how)
    const { request } = exchange
    // A body that waits for what is settled would never let this test end.
    const read = request.read.bind(request)
    let looks = 0
    request.read = (size?: number) => {
      if (++looks > 100) throw new Error('it spins')
      return read(size)
    }
    const { signal } = new AbortController()
    const body = uploadBody(request, { bytesMax: 100, idleMs: 60_000, signal })
    await expect(
      (async () => {
        for await (const _ of body);
      })(),
    ).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
}

test('a signal that is asked for when the client has left has aborted', async ({ onTestFinished }) => {
  const { came, client } = await exchangeWith(onTestFinished, posted)
  const [exchange] = came
  if (exchange === undefined) throw new Error('no request came')
  await left(exchange, client, 'RST')
  expect(clientGone(exchange.response).aborted).toBe(true)
  const over = vi.fn()
  whenOver(exchange.response, over)
  await vi.waitFor(() => expect(over).toHaveBeenCalledTimes(1))
})

test('requests that were sent ahead hear of it too when their client leaves', async ({ onTestFinished }) => {
  const { came, client } = await exchangeWith(onTestFinished, posted.repeat(12), 12)
  const warned = vi.fn()
  process.on('warning', warned)
  onTestFinished(() => void process.off('warning', warned))
  const signals = came.map(({ response }) => clientGone(response))
  const over = vi.fn()
  for (const { response } of came) whenOver(response, over)
  came[0]?.response.end('first')
  await vi.waitFor(() => expect(over).toHaveBeenCalledTimes(1))
  client.destroy()
  await vi.waitFor(() => expect(over).toHaveBeenCalledTimes(12))
  // What was answered before is not called off.
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, ...Array<boolean>(11).fill(true)])
  expect(warned).not.toHaveBeenCalled()
})

test('a command whose client leaves while its token is looked up is not begun', async ({ onTestFinished }) => {
  const looked: (() => void)[] = []
  const authenticate = async () => {
    await new Promise<void>((resolve) => looked.push(resolve))
    return { name: 'test', kind: 'admin' } as const
  }
  const file = vi.fn()
  const put = { file, directory: vi.fn(), car: vi.fn() }
  const { port, logged } = await startApi(onTestFinished, { auth: { authenticate }, put: put as never })
  const client = connect(port, '127.0.0.1')
  client.on('error', () => undefined)
  client.write(`${post('/api/v1/objects', 'Content-Length: 5')}hello`)
  await vi.waitFor(() => expect(looked).toHaveLength(1))
  const healthy = () => fetch(`http://127.0.0.1:${port}/healthz`).then(({ status }) => status)
  client.resetAndDestroy()
  await once(client, 'close')
  // Answered behind the reset, so the listener has seen it.
  expect(await healthy()).toBe(200)
  looked[0]?.()
  expect(await healthy()).toBe(200)
  expect(file).not.toHaveBeenCalled()
  expect(logged).toEqual([])
})

test('one who follows events behind another request is let go of when it leaves', async ({ onTestFinished }) => {
  const followed: AbortSignal[] = []
  const feed = {
    ...noFeed,
    last: async () => 0,
    follow: async function* (_filter: unknown, _after: number, { signal }: { readonly signal: AbortSignal }) {
      followed.push(signal)
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  }
  const { port, logged } = await startApi(onTestFinished, { feed: feed as never })
  const follow = `GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`
  const client = connect(port, '127.0.0.1')
  client.on('error', () => undefined)
  client.write(follow.repeat(2))
  await vi.waitFor(() => expect(followed).toHaveLength(2))
  client.destroy()
  await vi.waitFor(() => expect(followed.map(({ aborted }) => aborted)).toEqual([true, true]))
  expect(logged).toEqual([])
})
