import { connect } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { AppError } from '../../src/errors.ts'
import { post, rawExchange, startApi } from '../support/api.ts'

const get = (path: string, ...headers: string[]) =>
  [`GET ${path} HTTP/1.1`, 'Host: test', 'Connection: close', ...headers, '', ''].join('\r\n')

describe('health', () => {
  test('healthz answers while the store does not; readyz is 503 until it does', async ({ onTestFinished }) => {
    let up = false
    const ready = async () => {
      if (!up) throw new AppError('STORE_UNAVAILABLE', 'NATS does not answer')
    }
    const { url } = await startApi(onTestFinished, { ready })
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'ok' })
    const waiting = await fetch(`${url}/readyz`)
    expect([waiting.status, waiting.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await waiting.json()).toMatchObject({ code: 'store_unavailable' })
    up = true
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
  })

  test('status shows what the node says', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished, { status: async () => ({ blocks: 3 }) })
    expect(await (await fetch(`${url}/api/v1/status`)).json()).toEqual({ blocks: 3 })
  })
})

describe('routes', () => {
  test.each(['/', '/api', '/api/v1/object', '/ipfs/x', '/api/v1/objectsx'])('%s: 404 as JSON', async (path) => {
    let finished = async () => undefined as unknown
    const { url } = await startApi((close) => {
      finished = close as typeof finished
    })
    const reply = await fetch(url + path)
    expect([reply.status, await reply.json()]).toMatchObject([404, { code: 'route_not_found' }])
    await finished()
  })

  test.each([
    ['GET', '/api/v1/objects', 'POST'],
    ['PUT', '/api/v1/objects', 'POST'],
    ['PUT', '/api/v1/objects/x', 'GET, HEAD, DELETE'],
    ['PUT', '/api/v1/names', 'GET, HEAD, POST'],
    ['POST', '/api/v1/names/x', 'GET, HEAD, PUT, DELETE'],
    ['POST', '/api/v1/events', 'GET'],
    ['POST', '/healthz', 'GET, HEAD'],
    ['OPTIONS', '/api/v1/status', 'GET, HEAD'],
  ])('%s %s: 405 with Allow', async (method, path, allow) => {
    let finished = async () => undefined as unknown
    const { url } = await startApi((close) => {
      finished = close as typeof finished
    })
    const reply = await fetch(url + path, { method })
    expect([reply.status, reply.headers.get('allow')]).toEqual([405, allow])
    expect(await reply.json()).toMatchObject({ code: 'method_not_allowed' })
    await finished()
  })
})

describe('framing', () => {
  const big = 'x'.repeat(20_000)
  test.each<[string, string, RegExp]>([
    ['two Content-Length', `${post('/api/v1/objects', 'Content-Length: 1', 'Content-Length: 2')}ab`, /^HTTP\/1.1 400 /],
    [
      'Content-Length and Transfer-Encoding',
      `${post('/api/v1/objects', 'Content-Length: 1', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      /^HTTP\/1.1 400 /,
    ],
    ['no Host', 'GET /healthz HTTP/1.1\r\n\r\n', /^HTTP\/1.1 400 /],
    ['a header of 20 KB', get('/healthz', `X: ${big}`), /^HTTP\/1.1 431 /],
    ['a path of 20 KB', get(`/${big}`), /^HTTP\/1.1 (414|431) /],
    ['a header named __proto__', get('/healthz', '__proto__: x'), /^HTTP\/1.1 200 /],
    [
      'a chunk of 2^64 bytes',
      `${post('/api/v1/objects', 'Transfer-Encoding: chunked')}ffffffffffffffff1\r\nx`,
      /^HTTP\/1.1 400 /,
    ],
    [
      'a chunk extension of 100 KB',
      `${post('/api/v1/objects', 'Transfer-Encoding: chunked')}1;${big.repeat(5)}\r\nx`,
      /^HTTP\/1.1 4(00|13) /,
    ],
    ['TRACE', 'TRACE /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n', /^HTTP\/1.1 (405|501|404) /],
    ['an unknown expectation', get('/healthz', 'Expect: miracles'), /^HTTP\/1.1 417 /],
    ['not HTTP', 'hello\r\n\r\n', /^HTTP\/1.1 400 /],
  ])('%s', async (_label, bytes, answer) => {
    let finished = async () => undefined as unknown
    const { port, url, logged } = await startApi((close) => {
      finished = close as typeof finished
    })
    expect(await rawExchange(port, bytes)).toMatch(answer)
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    expect(logged).toEqual([])
    await finished()
  })

  test('CONNECT is refused by closing', async ({ onTestFinished }) => {
    const { port } = await startApi(onTestFinished)
    const answer = await rawExchange(port, 'CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n')
    expect(answer).not.toMatch(/ 200 /)
  })

  test('1,000 pipelined requests are all answered', async ({ onTestFinished }) => {
    const { port } = await startApi(onTestFinished)
    const one = 'GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n'
    const answers = await rawExchange(port, one.repeat(999) + get('/healthz'))
    expect(answers.match(/HTTP\/1.1 200 /g)).toHaveLength(1000)
  })
})

describe('listen and close', () => {
  test('a port that is taken is PORT_TAKEN and names the setting', async ({ onTestFinished }) => {
    const first = await startApi(onTestFinished)
    const { createApi } = await import('../../src/api/server.ts')
    const { readConfig } = await import('../../src/config.ts')
    const parts = {} as Parameters<typeof createApi>[0]
    const listen = { host: '127.0.0.1', port: first.port }
    const second = createApi(
      { ...parts, verbs: {} as never, feed: {} as never, get: {} as never, inspect: {} as never },
      { listen, limits: readConfig({}).limits, readAccess: 'open', trustedProxies: [] },
    )
    await expect(second.listen()).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      hint: expect.stringContaining('STOWAGE_API_PORT'),
    })
  })

  test('a request under way finishes; a new connection is refused', async ({ onTestFinished }) => {
    let started = () => undefined as unknown
    let finish = () => undefined as unknown
    const under = new Promise<void>((resolve) => {
      started = resolve
    })
    const gate = new Promise<void>((resolve) => {
      finish = resolve
    })
    const status = async () => {
      started()
      await gate
      return { late: true }
    }
    const { api, url } = await startApi(onTestFinished, { status })
    const reply = fetch(`${url}/api/v1/status`)
    await under
    const closed = api.close({ graceMs: 60_000 })
    await vi.waitFor(() => expect(fetch(`${url}/healthz`)).rejects.toThrow())
    finish()
    expect(await (await reply).json()).toEqual({ late: true })
    await closed
  })

  test('what is not finished within the grace is cut', async ({ onTestFinished }) => {
    const { api, port } = await startApi(onTestFinished)
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    const cut = new Promise<void>((resolve) => socket.on('close', () => resolve()))
    socket.write(`${post('/api/v1/objects', 'Content-Length: 100')}hello`)
    await vi.waitFor(() => expect(socket.bytesWritten).toBeGreaterThan(0))
    await api.close({ graceMs: 20 })
    await cut
  })
})
