import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { CID } from 'multiformats/cid'
import { describe, expect, type TestContext, test, vi } from 'vitest'
import { importFile } from '../../src/dag/import-file.ts'
import { AppError } from '../../src/errors.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { authorization, post, rawExchange, startApi } from '../support/api.ts'
import { whole } from '../support/bad-cars.ts'
import { carV2, header } from '../support/cars.ts'
import { bytesOf, forgetful, keyStream } from '../support/import-inputs.ts'
import { tar } from '../support/tar.ts'

const { signal } = new AbortController()
const helloCid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const headers = { authorization, 'content-type': 'application/octet-stream' }

async function upload(
  url: string,
  body: NonNullable<RequestInit['body']>,
  query = '',
  more: Record<string, string> = {},
) {
  const reply = await fetch(`${url}/api/v1/objects${query}`, { method: 'POST', body, headers: { ...headers, ...more } })
  return { status: reply.status, headers: reply.headers, json: (await reply.json()) as Record<string, unknown> }
}

describe('raw bytes', () => {
  test('are stored as one file; the answer says what and where', async ({ onTestFinished }) => {
    const { url, blocks } = await startApi(onTestFinished)
    const reply = await upload(url, 'hello world')
    expect(reply.status).toBe(201)
    expect(reply.headers.get('location')).toBe(`/api/v1/objects/${helloCid}`)
    expect(reply.json).toEqual({ cid: helloCid, size: 11, blocks: 1, newBlocks: 1, path: `/ipfs/${helloCid}` })
    expect(await blocks.has(CID.parse(helloCid), { signal })).toBe(true)
    expect((await upload(url, 'hello world')).json).toMatchObject({ cid: helloCid, blocks: 1, newBlocks: 0 })
  })

  test('need no content type, and may be none at all', async ({ onTestFinished }) => {
    const { port } = await startApi(onTestFinished)
    const reply = await rawExchange(port, post('/api/v1/objects', 'Connection: close', 'Content-Length: 5'), 'hello')
    expect(reply).toMatch(/^HTTP\/1.1 201 /)
    const none = await rawExchange(port, post('/api/v1/objects', 'Connection: close'))
    expect(none).toContain('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
  })

  test('that are said to be text are refused where they are a CAR, and stored where they are not', async ({
    onTestFinished,
  }) => {
    const { url } = await startApi(onTestFinished)
    const status = async (body: Uint8Array, type: string) => {
      const { status, json } = await upload(url, Uint8Array.from(body), '', { 'content-type': type })
      return [status, json.code]
    }
    const text = 'text/plain; charset=utf-8'
    for (const car of [whole, carV2(whole), header({ version: 1, roots: [] }), header({ version: 2 })]) {
      expect(await status(car, text)).toEqual([415, 'media_type_unsupported'])
      expect(await status(car, 'application/octet-stream')).toEqual([201, undefined])
    }
    for (const plain of ['', 'c', 'car', ':a2 roots', '\n'.repeat(100)]) {
      expect(await status(Buffer.from(plain), text)).toEqual([201, undefined])
    }
    const bytes = await bytesOf(keyStream(MiB, 'text'))
    const asText = await upload(url, bytes, '', { 'content-type': 'text/csv' })
    expect(asText.json.cid).toBe((await upload(url, bytes)).json.cid)
  })

  test('of many chunks have the CID of the importer', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished)
    const bytes = await bytesOf(keyStream(5 * MiB + 3, 'upload'))
    const { cid } = await importFile(keyStream(5 * MiB + 3, 'upload'), {}, forgetful(), {
      profile: 'unixfs-v1-2025',
      signal,
    })
    expect((await upload(url, bytes)).json).toMatchObject({ cid: cid.toString(), size: 5 * MiB + 3, blocks: 7 })
  })

  test('follow the query: profile, chunk, raw-leaves, trickle, wrap', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished)
    const cid = async (query: string) => (await upload(url, 'hello world', query)).json.cid
    expect(await cid('?profile=unixfs-v0-2015')).toBe('Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD')
    expect(await cid('?profile=unixfs-v0-2015&raw-leaves=true')).toBe(helloCid)
    expect(await cid('?trickle')).not.toBe(helloCid)
    expect(await cid('?chunk=1KiB')).toBe(helloCid)
    expect(await cid('?mode=0600&mtime=2024-01-02T03:04:05Z')).not.toBe(helloCid)
    const wrapped = await cid('?wrap=true&filename=%C3%BC%20.txt')
    const stat = await fetch(`${url}/api/v1/objects/${wrapped}/%C3%BC%20.txt`)
    expect(await stat.json()).toMatchObject({ cid: helloCid, kind: 'file', size: 11 })
  })
})

describe('refused before the body is read', () => {
  test.each([
    ['an unknown profile', '?profile=best', /unixfs-v1-2025 or unixfs-v0-2015/],
    ['an unknown parameter', '?chunks=1', /profile, chunk, raw-leaves/],
    ['a chunk that is too small', '?chunk=1', /1024 to 2097024/],
    ['a chunk that is too large', '?chunk=2MiB', /1024 to 2097024/],
    ['a chunk that is no number', '?chunk=big', /bytes of a chunk/],
    ['a flag that is neither', '?trickle=maybe', /true or false/],
    ['a mode that is not octal', '?mode=rw', /octal/],
    ['a time that is none', '?mtime=yesterday', /RFC 3339/],
    ['wrap without a name', '?wrap=true', /filename/],
    ['a name without wrap', '?filename=a', /wrap/],
    ['a name that is a path', '?wrap=true&filename=a%2Fb', /without slashes/],
    ['a name that goes up', '?wrap=true&filename=..', /one name/],
    ['a parameter twice', '?wrap=true&wrap=false&filename=a', /twice/],
  ])('%s: 400 that says what is allowed', async (_label, query, allowed) => {
    let finished = async () => undefined as unknown
    const { url, blocks } = await startApi((close) => {
      finished = close as typeof finished
    })
    const reply = await upload(url, 'hello world', query)
    await finished()
    expect(reply.status).toBe(400)
    expect(reply.json.code).toBe('request_invalid')
    expect(`${reply.json.message} ${reply.json.hint}`).toMatch(allowed)
    expect(blocks.count).toBe(0)
  })

  test('a token in the URL, whatever else is sent', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished)
    const reply = await upload(url, 'x', '?token=test-token')
    expect([reply.status, reply.json.code]).toEqual([400, 'request_invalid'])
    expect(JSON.stringify(reply.json)).not.toContain('test-token')
    expect((await fetch(`${url}/healthz?access_token=1`)).status).toBe(400)
  })

  test('a Content-Encoding: 415', async ({ onTestFinished }) => {
    const { url, blocks } = await startApi(onTestFinished)
    const reply = await upload(url, 'x', '', { 'content-encoding': 'gzip' })
    expect([reply.status, reply.json.code]).toEqual([415, 'media_type_unsupported'])
    expect(blocks.count).toBe(0)
  })

  test('an announced length above the limit: 413', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished, { limits: { uploadBytesMax: 10 } })
    const reply = await upload(url, 'hello world')
    expect([reply.status, reply.json.code]).toEqual([413, 'upload_too_large'])
  })
})

describe('authorization', () => {
  test('no token or a wrong one is 401, and nothing is stored', async ({ onTestFinished }) => {
    const { url, blocks, logged } = await startApi(onTestFinished)
    for (const value of ['', 'Bearer wrong', `Basic ${authorization}`]) {
      const reply = await upload(url, 'hello world', '', { authorization: value })
      expect([reply.status, reply.json.code]).toEqual([401, 'unauthorized'])
      expect(reply.headers.get('www-authenticate')).toBe('Bearer')
    }
    expect(blocks.count).toBe(0)
    expect(logged).toEqual([])
  })

  test('with Expect: 100-continue the refusal comes at once, without asking for the body', async ({
    onTestFinished,
  }) => {
    const { port } = await startApi(onTestFinished)
    const head = 'POST /api/v1/objects HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n'
    const reply = await rawExchange(port, head)
    expect(reply).toMatch(/^HTTP\/1.1 401 /)
    expect(reply).not.toContain('100 Continue')
  })

  test('with Expect: 100-continue and a token the body is asked for (the control)', async ({ onTestFinished }) => {
    const { port } = await startApi(onTestFinished)
    const reply = await expectContinue(port, 'hello world')
    expect(reply).toEqual({ continued: true, status: 201, cid: helloCid })
  })

  test('a refused client that first sends all and only then reads sees the answer, not a reset', async ({
    onTestFinished,
  }) => {
    const { port } = await startApi(onTestFinished)
    const reply = await sendThenRead(port, 8 * MiB)
    expect(reply).toMatch(/^HTTP\/1.1 401 /)
    expect(reply).toMatch(/connection: close/i)
    expect(reply).toContain('"code":"unauthorized"')
  })

  test('an answer waits for authorization that takes its time', async ({ onTestFinished }) => {
    let admit = () => undefined as unknown
    const asked = new Promise<void>((resolve) => {
      admit = resolve
    })
    const authenticate = async () => {
      await asked
      return { name: 'late', kind: 'admin' } as const
    }
    const { url } = await startApi(onTestFinished, { auth: { authenticate } })
    const reply = upload(url, 'hello world')
    admit()
    expect((await reply).json.cid).toBe(helloCid)
  })
})

/** A client without a token that looks at the answer when its whole body is sent. */
function sendThenRead(port: number, bodyBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
    socket.write(`POST /api/v1/objects HTTP/1.1\r\nHost: t\r\nContent-Length: ${bodyBytes}\r\n\r\n`)
    socket.write(Buffer.alloc(bodyBytes), (error) => {
      if (error) return
      socket.setEncoding('latin1').on('data', (part: string) => {
        text += part
      })
    })
  })
}

function expectContinue(port: number, body: string): Promise<{ continued: boolean; status: number; cid: string }> {
  return new Promise((resolve, reject) => {
    let continued = false
    const request = httpRequest({
      port,
      method: 'POST',
      path: '/api/v1/objects',
      headers: { authorization, expect: '100-continue', 'content-length': Buffer.byteLength(body) },
    })
    request.on('continue', () => {
      continued = true
      request.end(body)
    })
    request.on('error', reject)
    request.on('response', (response) => {
      bytesOf(response).then((bytes) => {
        resolve({ continued, status: response.statusCode ?? 0, cid: JSON.parse(bytes.toString()).cid })
      }, reject)
    })
    request.flushHeaders()
  })
}

describe('uploads that go wrong', () => {
  test('too large without saying so: 413 while the client still sends', async ({ onTestFinished }) => {
    const { port, blocks } = await startApi(onTestFinished, { limits: { uploadBytesMax: MiB } })
    const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MiB), Buffer.from('\r\n')])
    const parts = Array.from({ length: 8 }, () => chunk)
    const reply = await rawExchange(port, post('/api/v1/objects', 'Transfer-Encoding: chunked'), ...parts)
    expect(reply).toMatch(/^HTTP\/1.1 413 /)
    expect(reply).toContain('STOWAGE_UPLOAD_BYTES_MAX')
    expect(blocks.count).toBeLessThanOrEqual(1)
  })

  test('too large only with what is left out of the import: 413 all the same', async ({ onTestFinished }) => {
    const { port, blocks } = await startApi(onTestFinished, { limits: { uploadBytesMax: MiB } })
    const body = tar({ path: 'd/a', content: 'A' }, { path: 'd/.hidden', content: Buffer.alloc(2 * MiB) })
    const head = post('/api/v1/objects', 'Content-Type: application/x-tar', 'Transfer-Encoding: chunked')
    const reply = await rawExchange(port, head, `${body.byteLength.toString(16)}\r\n`, body, '\r\n0\r\n\r\n')
    expect(reply).toMatch(/^HTTP\/1.1 413 /)
    expect(blocks.count).toBeLessThanOrEqual(1)
  })

  test('stalled: 408 after the idle time', async ({ onTestFinished }) => {
    const { port, blocks } = await startApi(onTestFinished, { limits: { uploadIdleMs: 50 } })
    const reply = await rawExchange(port, post('/api/v1/objects', 'Content-Length: 100'), 'hello')
    expect(reply).toMatch(/^HTTP\/1.1 408 /)
    expect(reply).toContain('upload_stalled')
    expect(blocks.count).toBe(0)
  })

  test('a slow store is not a stalled client: the idle time does not run while we make it wait', async ({
    onTestFinished,
  }) => {
    const slow = async (source: AsyncIterable<Uint8Array>) => {
      for await (const _part of source) await new Promise((resolve) => setTimeout(resolve, 60))
      return { cid: CID.parse(helloCid), size: 0n, blocks: 0, newBlocks: 0, roots: [] }
    }
    const put = { file: slow, directory: async () => Promise.reject(), car: slow }
    const { url } = await startApi(onTestFinished, { put, limits: { uploadIdleMs: 30 } })
    expect((await upload(url, Buffer.alloc(300 * KiB))).status).toBe(201)
  })

  test('shorter than its Content-Length: nothing is visible', async ({ onTestFinished }) => {
    const { port, blocks, logged } = await startApi(onTestFinished)
    const reply = await new Promise<string>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
      let text = ''
      socket.setEncoding('latin1').on('data', (part: string) => {
        text += part
      })
      socket.on('close', () => resolve(text))
      socket.end(`${post('/api/v1/objects', 'Content-Length: 100')}hello world`)
    })
    expect(reply).toMatch(/^HTTP\/1.1 400 /)
    expect(reply).toContain('request_invalid')
    expect(reply.match(/HTTP\/1.1/g)).toHaveLength(1)
    expect(blocks.count).toBe(0)
    expect(logged).toEqual([])
  })

  test('a client that leaves aborts the import', async ({ onTestFinished }: TestContext) => {
    let reason: unknown
    const put = {
      file: async (source: AsyncIterable<Uint8Array>, options: { signal: AbortSignal }) => {
        options.signal.addEventListener('abort', () => {
          reason = options.signal.reason
        })
        for await (const _part of source) socket.destroy()
        throw new AppError('INTERNAL', 'the body ended')
      },
      directory: async () => Promise.reject(),
      car: async () => Promise.reject(),
    }
    const { port, logged } = await startApi(onTestFinished, { put })
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(`${post('/api/v1/objects', 'Content-Length: 1000')}hello`)
    await vi.waitFor(() => expect(reason).toBeInstanceOf(Error))
    expect(logged).toEqual([])
  })

  test.each([
    ['STORE_FULL', 507, '60'],
    ['STORE_UNAVAILABLE', 503, '5'],
  ] as const)('%s of the store reaches the client and the log once', async (code, status, retryAfter) => {
    let finished = async () => undefined as unknown
    const { url, logged } = await startApi(
      (close) => {
        finished = close as typeof finished
      },
      {
        store: (memory) =>
          Object.assign(Object.create(memory), {
            openWriter: () => ({
              put: async () => undefined,
              flush: async () => Promise.reject(new AppError(code, 'no')),
            }),
          }),
      },
    )
    const reply = await upload(url, 'hello world')
    await finished()
    expect([reply.status, reply.json.code, reply.headers.get('retry-after')]).toEqual([
      status,
      code.toLowerCase(),
      retryAfter,
    ])
    expect(logged).toHaveLength(1)
  })

  test('a failure that is nobody’s fault but ours is a 500 without its text, logged with its cause', async ({
    onTestFinished,
  }) => {
    const broken = async () => Promise.reject(new TypeError('secret detail'))
    const { url, logged } = await startApi(onTestFinished, { put: { file: broken, directory: broken, car: broken } })
    const reply = await upload(url, 'hello world')
    expect([reply.status, reply.json]).toEqual([500, { code: 'internal', message: 'internal error' }])
    expect(logged).toMatchObject([{ err: { message: 'secret detail' }, status: 500 }])
  })
})
