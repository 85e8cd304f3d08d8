import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { whole } from '../support/bad-cars.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { httpOf } from '../support/node-http.ts'
import { exchange, expectErrorShape, request } from '../support/raw-http.ts'

// The framing of HTTP, over a bare socket to both listeners of a running node.

let full: FullNode
const ending: (() => unknown)[] = []
let path = ''
let cid = ''
beforeAll(async () => {
  full = await startFullNode((ended) => ending.push(() => ended({} as never)), {
    env: { STOWAGE_UPLOAD_IDLE_SECONDS: '1', STOWAGE_API_HOSTS: 'x' },
  })
  const put = await httpOf(full).put('hello', 'hello world')
  cid = String(put.json?.cid)
  path = `/ipfs/${cid}`
}, 60_000)
afterAll(async () => {
  for (const end of ending.reverse()) await end()
})

const portOf = (url: string) => Number(new URL(url).port)
const gateway = () => portOf(full.node.gatewayUrl)
const api = () => portOf(full.node.apiUrl)

/** Head and body as they are; `$PATH`, `$TOKEN` are filled in. */
const filled = (text: string) => text.replaceAll('$PATH', path).replaceAll('$TOKEN', full.token)

type Row = readonly [
  group: number,
  what: string,
  where: 'gateway' | 'api',
  parts: readonly (string | Uint8Array)[],
  status: number | readonly number[],
]

const get = (extra: string) => `GET $PATH HTTP/1.1\r\n${extra}Accept: application/json\r\nConnection: close\r\n\r\n`
const post = (extra: string, body = '') =>
  `POST /api/v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $TOKEN\r\nConnection: close\r\n${extra}\r\n${body}`

const rows: readonly Row[] = [
  ...(['gateway', 'api'] as const).flatMap((where): Row[] => [
    [55, 'two lengths', where, [get('Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n'), 'xx'], 400],
    [55, 'two equal lengths', where, [get('Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n'), 'x'], 400],
    [55, 'a length that is none', where, [get('Host: x\r\nContent-Length: 1x\r\n'), 'x'], 400],
    [55, 'a negative length', where, [get('Host: x\r\nContent-Length: -1\r\n')], 400],
    [
      56,
      'length and chunks',
      where,
      [get('Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n'), '0\r\n\r\n'],
      400,
    ],
    [56, 'an unknown transfer coding', where, [get('Host: x\r\nTransfer-Encoding: xchunked\r\n'), 'x'], [400, 501]],
    [57, 'no host', where, [get('')], 400],
    [57, 'two hosts', where, [get('Host: x\r\nHost: b\r\n')], 400],
    [57, 'two equal hosts', where, [get('Host: x\r\nhost: x\r\n')], 400],
    [57, 'a host with a space', where, [get('Host: a b\r\n')], [400, 200, 404]],
    [58, 'a header of 20 KB', where, [get(`Host: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n`)], 431],
    [58, '3,000 headers', where, [get(`Host: x\r\n${'X: y\r\n'.repeat(3000)}`)], [200, 404, 431]],
    [58, 'a header without an end', where, [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(40_000)}`], 431],
    [59, 'a header named __proto__', where, [get('Host: x\r\n__proto__: y\r\nconstructor: z\r\n')], [200, 404]],
    [60, 'no method', where, ['\r\n\r\nnonsense\r\n\r\n'], 400],
    [60, 'another protocol', where, ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'], 400],
    [60, 'a line break in a header', where, [get('Host: x\r\nX: a\rb\r\n')], 400],
    [60, 'a space before the colon', where, [get('Host: x\r\nX : y\r\n')], 400],
    [
      65,
      'TRACE',
      where,
      [`TRACE $PATH HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n`],
      [404, 405, 501],
    ],
    [65, 'an unknown method', where, ['BREW / HTTP/1.1\r\nHost: x\r\n\r\n'], 400],
  ]),
  [65, 'CONNECT without a port', 'gateway', ['CONNECT evil.example HTTP/1.1\r\nHost: evil.example\r\n\r\n'], 400],
  [65, 'CONNECT', 'api', ['CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n'], 405],
  [
    60,
    'a chunk of 2^64 - 1 bytes',
    'api',
    [post('Transfer-Encoding: chunked\r\n', 'ffffffffffffffff\r\nx')],
    [400, 408, 413],
  ],
  [60, 'a chunk size that is none', 'api', [post('Transfer-Encoding: chunked\r\n', 'xyz\r\nx\r\n')], 400],
  [
    60,
    'a chunk extension of 1 MB',
    'api',
    [post('Transfer-Encoding: chunked\r\n', `1;${'x'.repeat(1 << 20)}\r\nx\r\n0\r\n\r\n`)],
    [400, 413],
  ],
  [
    61,
    'Expect: 100-continue without a token',
    'api',
    [
      'POST /api/v1/objects HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n',
    ],
    [401, 417],
  ],
  [61, 'another expectation', 'api', [post('Content-Length: 1\r\nExpect: magic\r\n', 'x')], [400, 417]],
  [
    62,
    'a compressed upload',
    'api',
    [post('Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n'), chunked(gzipSync(Buffer.alloc(10 << 20)))],
    415,
  ],
  [
    64,
    'a CAR as text',
    'api',
    [post(`Content-Type: text/plain\r\nContent-Length: ${whole.byteLength}\r\n`), whole],
    415,
  ],
  [
    64,
    'an unknown type of a CAR',
    'api',
    [post('Content-Type: application/vnd.ipld.car; version=2\r\nContent-Length: 3\r\n', 'car')],
    [400, 415],
  ],
]

function chunked(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.byteLength.toString(16)}\r\n`), bytes, Buffer.from('\r\n0\r\n\r\n')])
}

test.each(rows)('%i: %s (%s)', async (_, what, where, parts, status) => {
  const sent = parts.map((part) => (typeof part === 'string' ? filled(part) : part))
  const answer = await exchange(where === 'gateway' ? gateway() : api(), sent)
  expect([what, answer.status]).toEqual([what, expect.toBeOneOf([status].flat())])
  if (!what.startsWith('CONNECT') && what !== 'an unknown method') expectErrorShape(answer)
  // The node goes on.
  expect((await httpOf(full).gateway('/')).status).toBe(200)
})

test('63: a body that ends before its length is 400 or a cut, and nothing of it can be seen', async () => {
  const digest = createHash('sha256').update('cut short').digest()
  const answer = await exchangeHalf(post('Content-Length: 100\r\n', 'cut short'))
  expect([400, undefined]).toContain(answer)
  const { gateway: ask, api: call } = httpOf(full)
  expect((await ask(`/ipfs/f01551220${digest.toString('hex')}`)).status).toBe(404)
  expect((await call('/names')).json).toMatchObject({ names: [{ name: 'hello' }] })
})

/** Sends all it has and closes its side. */
async function exchangeHalf(head: string): Promise<number | undefined> {
  const { connect } = await import('node:net')
  const socket = connect(api(), '127.0.0.1')
  const received: Buffer[] = []
  socket.on('data', (part: Buffer) => received.push(part))
  socket.on('error', () => undefined)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.end(filled(head))
  await closed
  const status = /^HTTP\/1\.1 (\d{3})/.exec(Buffer.concat(received).toString('latin1'))?.[1]
  return status === undefined ? undefined : Number(status)
}

test('66: 1,000 requests at once on one connection are answered, in their order, in bounded memory', async () => {
  const before = process.memoryUsage().rss
  const one = (index: number) =>
    request(`${path}?format=raw&n=${index}`, {
      headers: { Connection: index === 999 ? 'close' : 'keep-alive', Range: `bytes=${index % 11}-${index % 11}` },
    })
  const { all } = await exchange(gateway(), [Array.from({ length: 1000 }, (_, index) => one(index)).join('')])
  const ranges = Array.from(all.toString('latin1').matchAll(/Content-Range: bytes (\d+)-/gi), ([, start]) =>
    Number(start),
  )
  expect(ranges).toEqual(Array.from({ length: 1000 }, (_, index) => index % 11))
  expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20)
})
