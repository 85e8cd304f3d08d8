import { afterAll, beforeAll, expect, test } from 'vitest'
import { rawExchange } from '../support/api.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'

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

/** As it is written: `fetch` would fold it before it is sent. */
function send(url: string, method: string, target: string): Promise<string> {
  const head = [`${method} ${target} HTTP/1.1`, 'Host: 127.0.0.1', `Authorization: Bearer ${full.token}`]
  return rawExchange(Number(new URL(url).port), `${[...head, 'Connection: close'].join('\r\n')}\r\n\r\n`)
}

const dots = ['..', '.', '%2e%2e', '%2E%2e', '.%2e', '%2e.', '%2e', '%2E']

test.each(dots)('a segment %s is refused on every route, and no other name or route is meant', async (dot) => {
  const put = await http.put('keep', 'kept')
  const { cid } = put.json ?? {}
  const targets = [
    ['DELETE', `/api/v1/names/a/${dot}/keep`],
    ['DELETE', `/api/v1/names/${dot}/keep`],
    ['DELETE', `/api/v1/names/${dot}/objects/${cid}`],
    ['DELETE', `/api/v1/names/keep/${dot}`],
    ['PUT', `/api/v1/names/x/${dot}/keep?cid=${cid}`],
    ['GET', `/api/v1/names/x/${dot}/keep`],
    ['DELETE', `/api/v1/objects/x/${dot}/${cid}?force=true`],
    ['GET', `/api/v1/objects/${cid}/${dot}`],
    ['GET', `/api/v1/why/x/${dot}/keep`],
    ['GET', `/api/v1/status/${dot}`],
    ['DELETE', `/api/v1/keys/${dot}`],
    ['POST', `/api/v1/stores/${dot}/drain`],
    ['DELETE', `/api/v1/projections/${dot}`],
    ['GET', `/api/v1/policies/${dot}/history`],
    ['DELETE', `/api/v1/ipns/x/${dot}/docs.example`],
    ['GET', `/${dot}/healthz`],
    ['GET', `http://127.0.0.1/api/v1/names/x/${dot}/keep`],
  ] as const
  for (const [method, target] of targets) {
    const reply = await send(full.node.apiUrl, method, target)
    expect([target, reply.split('\r\n', 1)[0]]).toEqual([target, 'HTTP/1.1 400 Bad Request'])
    expect(reply).toContain('"code":"path_invalid"')
  }
  for (const target of [`/names/x/${dot}/keep`, `/names/keep/${dot}`, `/names/${dot}/keep`, `/names/${dot}`]) {
    expect([target, await send(full.node.gatewayUrl, 'GET', target)]).toEqual([
      target,
      expect.stringMatching(/^HTTP\/1\.1 400 /),
    ])
  }
  for (const target of [`/ipfs/${cid}/${dot}/keep`, `/ipfs/${dot}/names/keep`, `/x/${dot}/names/keep`]) {
    expect(await send(full.node.gatewayUrl, 'GET', target)).toMatch(/^HTTP\/1\.1 40[04] /)
  }
  expect((await http.api('/names/keep')).json?.revision).toBe(put.json?.revision)
})

test('the words of a route are not written in percent-encoding: what is behind them would be looked for elsewhere', async () => {
  const put = await http.put('keep', 'kept')
  for (const target of [
    '/api/v1/%6eames/keep',
    '/api/v1/%6Eames/x/api/v1/names/keep',
    '/%61pi/v1/names/keep',
    '/api/v1/%6fbjects/x',
  ]) {
    const reply = await send(full.node.apiUrl, 'DELETE', target)
    expect([target, reply]).toEqual([target, expect.stringMatching(/^HTTP\/1\.1 400 [\s\S]*path_invalid/)])
  }
  expect((await http.api('/names/keep')).json?.revision).toBe(put.json?.revision)
})

test('names that only look like it are names', async () => {
  for (const name of ['a/...', '..a', 'a..', '.hidden', '%2e%2e', 'x/%2e%2e/y', 'a#b', '%00']) {
    const path = name.split('/').map(encodeURIComponent).join('/')
    const put = await http.put(path, `of ${name}`)
    expect([name, put.status, put.json?.name]).toEqual([name, 201, name])
    expect((await http.gateway(`/names/${path}`)).text).toBe(`of ${name}`)
    expect((await http.api(`/names/${path}`, { method: 'DELETE' })).json).toMatchObject({ name, removed: true })
  }
  expect((await http.put('a%2F..%2Fb', 'x')).json).toMatchObject({ code: 'name_invalid' })
})
