import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rawExchange } from '../support/api.ts'
import { carV1, carV2, raw } from '../support/cars.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { type HttpAnswer, httpOf, type NodeHttp } from '../support/node-http.ts'
import { tar } from '../support/tar.ts'

const closers: (() => unknown)[] = []
let full: FullNode
let http: NodeHttp
beforeAll(async () => {
  full = await startFullNode((close) => closers.push(close as () => unknown))
  http = httpOf(full)
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

const codes = ({ status, json }: HttpAnswer) => [status, json?.code]
const base64 = (algorithm: string, content: string | Uint8Array) =>
  createHash(algorithm).update(content).digest('base64')

/** Every route that takes a body. */
const routes: readonly (readonly [method: string, path: string])[] = [
  ['POST', '/objects'],
  ['PUT', '/names/kept'],
  ['POST', '/names'],
  ['PUT', '/ipns/kept.example'],
  ['POST', '/ipns'],
  ['POST', '/keys'],
  ['PUT', '/policies/main'],
  ['POST', '/policies/main/check'],
  ['POST', '/stores'],
  ['PUT', '/projections/p'],
]

describe.each(routes)('%s %s', (method, path) => {
  test.each([
    ['Content-Range', { 'content-range': 'bytes 2-3/4' }, 400, /not in parts/],
    ['an Upload-Offset', { 'upload-offset': '2' }, 400, /not in parts/],
    ['an upload that goes on', { 'upload-complete': '?0' }, 400, /not in parts/],
    ['an upload that goes on, as older clients say it', { 'upload-incomplete': '?1' }, 400, /not in parts/],
    ['tus', { 'tus-resumable': '1.0.0' }, 400, /not in parts/],
    ['gzip', { 'content-encoding': 'gzip' }, 415, /not taken off/],
    ['several codings', { 'content-encoding': 'identity, br' }, 415, /not taken off/],
    ['a coding that nobody knows', { 'content-encoding': 'x' }, 415, /not taken off/],
    ['a Content-MD5 that is none', { 'content-md5': 'abc' }, 400, /cannot be read/],
    ['a digest of another length', { digest: `SHA-256=${base64('md5', 'x')}` }, 400, /cannot be read/],
    ['a digest without a value', { 'content-digest': 'sha-256' }, 400, /cannot be read/],
  ])('with %s: refused, nothing done', async (_what, headers, status, message) => {
    const before = await http.put('kept', 'before')
    const reply = await http.api(path, { method, body: '{}', headers: headers as Record<string, string> })
    expect([reply.status, reply.json?.message]).toEqual([status, expect.stringMatching(message)])
    const after = await http.api('/names/kept')
    expect(after.json?.revision).toBe(before.json?.revision)
  })
})

describe('a coding of the message', () => {
  test.each([
    ['gzip, chunked', /^HTTP\/1\.1 415 /],
    ['xchunked', /^HTTP\/1\.1 4(00|15) /],
    ['chunked, identity', /^HTTP\/1\.1 4(00|15) /],
    ['identity', /^HTTP\/1\.1 4(00|15) /],
  ])('%s is refused', async (coding, expected) => {
    const { port } = new URL(full.node.apiUrl)
    const head = [
      'PUT /api/v1/names/coded HTTP/1.1',
      'Host: 127.0.0.1',
      `Authorization: Bearer ${full.token}`,
      `Transfer-Encoding: ${coding}`,
      'Connection: close',
    ]
    expect(await rawExchange(Number(port), `${head.join('\r\n')}\r\n\r\n1\r\nx\r\n0\r\n\r\n`)).toMatch(expected)
    expect((await http.api('/names/coded')).status).toBe(404)
  })

  test('identity, also several times, is none', async () => {
    expect((await http.put('plain', 'x', { 'content-encoding': 'identity, Identity' })).status).toBe(201)
  })
})

describe('digests', () => {
  const headersOf = (content: string | Uint8Array): readonly Record<string, string>[] => [
    { 'content-md5': base64('md5', content) },
    { digest: `SHA-256=${base64('sha256', content)},unixsum=30637` },
    { digest: `sha-512=${base64('sha512', content)}` },
    { digest: `MD5=${base64('md5', content)}, SHA=${base64('sha1', content)}` },
    { 'content-digest': `sha-256=:${base64('sha256', content)}:, sha-512=:${base64('sha512', content)}:` },
    { 'repr-digest': `sha-256=:${base64('sha256', content)}:` },
  ]

  test('that fit are taken', async () => {
    for (const [at, headers] of headersOf('content').entries()) {
      expect((await http.put(`fits/${at}`, 'content', headers)).status).toBe(201)
    }
    const bytes = tar({ path: 'a.txt', content: 'a' })
    for (const headers of headersOf(bytes)) {
      const reply = await http.put('fits/tar', bytes, { 'content-type': 'application/x-tar', ...headers })
      expect(reply.status).toBeLessThan(300)
    }
    const names = JSON.stringify({ changes: [{ kind: 'remove', name: 'fits/0' }] })
    const digest = { 'content-digest': `sha-256=:${base64('sha256', names)}:` }
    expect((await http.api('/names', { method: 'POST', body: names, headers: digest })).status).toBe(200)
  })

  test('of algorithms that nobody knows are left alone', async () => {
    const headers = { digest: 'unixsum=30637', 'content-digest': 'sha-3=:AAAA:' }
    expect((await http.put('unknown', 'x', headers)).status).toBe(201)
  })

  test('that do not fit are 400, and nothing is committed', async () => {
    await http.put('kept', 'before')
    const before = await http.api('/names/kept')
    for (const headers of headersOf('other')) {
      expect(codes(await http.put('kept', 'content', headers))).toEqual([400, 'digest_mismatch'])
    }
    expect((await http.api('/names/kept')).json).toEqual(before.json)
    const names = JSON.stringify({ changes: [{ kind: 'remove', name: 'kept' }] })
    const digest = { 'content-digest': `sha-256=:${base64('sha256', 'other')}:` }
    const removal = await http.api('/names', { method: 'POST', body: names, headers: digest })
    expect(codes(removal)).toEqual([400, 'digest_mismatch'])
    expect((await http.api('/names/kept')).status).toBe(200)
  })

  test('are of the whole body, also where its reader does not go to the end', async () => {
    const leaf = raw('leaf')
    const end = Buffer.alloc(4096)
    const car = Buffer.concat([carV2(carV1([leaf.cid], [leaf])), end])
    const archive = Buffer.concat([tar({ path: 'a.txt', content: 'a' }), end])
    for (const [type, whole] of [
      ['application/vnd.ipld.car', car],
      ['application/x-tar', archive],
    ] as const) {
      const put = (digestOf: Uint8Array, name: string) =>
        http.put(name, whole, { 'content-type': type, 'content-md5': base64('md5', digestOf) })
      expect([type, (await put(whole, `whole/${type.length}`)).status]).toEqual([type, 201])
      const changed = Buffer.from(whole)
      changed[whole.byteLength - 1] = 1
      expect(codes(await put(changed, 'changed'))).toEqual([400, 'digest_mismatch'])
    }
    expect((await http.api('/names/changed')).status).toBe(404)
  })

  describe('behind the content', () => {
    const send = (path: string, announced: string, trailer: string) => {
      const head = [
        `PUT /api/v1/names/${path} HTTP/1.1`,
        'Host: 127.0.0.1',
        `Authorization: Bearer ${full.token}`,
        'Transfer-Encoding: chunked',
        `Trailer: ${announced}`,
        'Connection: close',
      ]
      const { port } = new URL(full.node.apiUrl)
      return rawExchange(Number(port), `${head.join('\r\n')}\r\n\r\n7\r\ncontent\r\n0\r\n${trailer}\r\n\r\n`)
    }

    test.each([
      ['Content-MD5', (content: string) => base64('md5', content)],
      ['digest', (content: string) => `SHA-512=${base64('sha512', content)}`],
      ['Content-Digest', (content: string) => `sha-256=:${base64('sha256', content)}:`],
      ['X-Mine, repr-digest', (content: string) => `sha-256=:${base64('sha256', content)}:`],
    ])('%s counts as before it', async (announced, digest) => {
      const name = announced.split(', ').at(-1) ?? ''
      expect(await send(`behind/${name}`, announced, `${name}: ${digest('content')}`)).toMatch(/^HTTP\/1\.1 201 /)
      const other = await send(`behind/other/${name}`, announced, `${name}: ${digest('other')}`)
      expect(other).toMatch(/^HTTP\/1\.1 400 [\s\S]*digest_mismatch/)
      expect(await send(`behind/other/${name}`, announced, `${name}: x`)).toMatch(
        /^HTTP\/1\.1 400 [\s\S]*cannot be read/,
      )
      expect((await http.api(`/names/behind/other/${name}`)).status).toBe(404)
    })
  })

  test('count for a repeat of a command too', async () => {
    const id = { 'stowage-command-id': crypto.randomUUID() }
    expect((await http.put('again', 'content', id)).status).toBe(201)
    const other = { ...id, 'content-md5': base64('md5', 'other') }
    expect(codes(await http.put('again', 'content', other))).toEqual([400, 'digest_mismatch'])
  })
})
