import { expect, onTestFinished, test } from 'vitest'
import { rawExchange, startApi } from '../support/api.ts'

const ask = (...lines: string[]) => `${['GET /healthz HTTP/1.1', ...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`

test.each([
  '127.0.0.1',
  '127.0.0.1:8081',
  '[::1]:8081',
  '10.4.0.7:8081',
  '[fd00::7]',
  'localhost',
  'LocalHost:8081',
  'localhost.',
  'stowage.localhost:8081',
  'api.example',
  'API.example.:443',
  'a.b.wild.example',
])('the host %s is answered', async (host) => {
  const { port } = await startApi(onTestFinished, { hosts: ['api.example', '*.wild.example'] })
  expect(await rawExchange(port, ask(`Host: ${host}`))).toMatch(/^HTTP\/1\.1 200 /)
})

test.each([
  ['evil.example', 421],
  ['evil.example:8081', 421],
  ['localhost.evil.example', 421],
  ['127.0.0.1.evil.example', 421],
  ['evillocalhost', 421],
  ['wild.example', 421],
  ['evilwild.example', 421],
  ['2130706433', 421],
  ['', 400],
  ['a@127.0.0.1', 400],
  ['127.0.0.1/', 400],
  ['[evil.example]', 400],
  ['127.0.0.1, evil.example', 400],
])('the host %j is refused with %i, and nothing of it is answered', async (host, status) => {
  const { port } = await startApi(onTestFinished, { hosts: ['api.example', '*.wild.example'] })
  const reply = await rawExchange(port, ask(`Host: ${host}`))
  expect(reply).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  if (status === 421) expect(reply).toMatch(/"code":"host_unknown".*STOWAGE_API_HOSTS/)
  expect(reply).not.toContain('"status":"ok"')
})

test('a request line in absolute form is for the host that it names', async () => {
  const { port } = await startApi(onTestFinished)
  const line = (url: string, host: string) => `GET ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
  expect(await rawExchange(port, line('http://localhost/healthz', 'localhost'))).toMatch(/^HTTP\/1\.1 200 /)
  expect(await rawExchange(port, line('http://evil.example/healthz', 'localhost'))).toMatch(/^HTTP\/1\.1 421 /)
  expect(await rawExchange(port, line('http://localhost/healthz', 'evil.example'))).toMatch(/^HTTP\/1\.1 421 /)
})

test('a page of another host learns nothing from any path, and * lets every name in', async () => {
  const { port } = await startApi(onTestFinished)
  for (const path of ['/api/v1/status', '/api/v1/names', '/metrics', '/nothing']) {
    const reply = await rawExchange(port, `GET ${path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`)
    expect(reply).toMatch(/^HTTP\/1\.1 421 /)
  }
  const open = await startApi(onTestFinished, { hosts: ['*'] })
  expect(await rawExchange(open.port, ask('Host: any.example'))).toMatch(/^HTTP\/1\.1 200 /)
})

test('two hosts are 400, whatever they are and however they are spelled; HTTP/1.0 needs none', async () => {
  const { port } = await startApi(onTestFinished)
  for (const second of ['Host: localhost', 'host: evil.example', 'HOST: localhost']) {
    expect(await rawExchange(port, ask('Host: localhost', second))).toMatch(/^HTTP\/1\.1 400 [\s\S]*several hosts/)
  }
  expect(await rawExchange(port, ask())).toMatch(/^HTTP\/1\.1 400 /)
  expect(await rawExchange(port, 'GET /healthz HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.[01] 200 /)
})
