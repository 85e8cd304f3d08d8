import { expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { collect } from '../../src/lib/streams.ts'
import { fakeNode } from '../support/cli.ts'
import { CountingStore, importDag, signal } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

function clientOf(gatewayUrl: string) {
  const client = createClient({ apiUrl: gatewayUrl, gatewayUrl, token: undefined })
  onTestFinished(() => client.close())
  return client
}

test('content is read from a gateway that sends each content to an origin of its own', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [{ path: 'site/a b.txt', content: Buffer.from('hello') }])
  const { port } = await openGateway(onTestFinished, {}, store)
  const client = clientOf(`http://localhost:${port}`)
  const path = { cid: root.toString(), segments: ['a b.txt'] }
  const whole = await client.read(path, { signal })
  expect([whole.bytes, Buffer.from(await collect(whole.content, 100)).toString()]).toEqual([5, 'hello'])
  const part = await client.read(path, { signal, range: { start: 1, end: 2 } })
  expect(Buffer.from(await collect(part.content, 100)).toString()).toBe('el')
  const car = await client.car({ cid: root.toString(), segments: [] }, { signal })
  expect((await collect(car.content, 10_000)).byteLength).toBeGreaterThan(100)
})

test.each([
  'http://evil.example/',
  'http://x.ipfs.localhost.evil.example/',
  '/elsewhere',
  'http://x.ipfs.127.0.0.1:1/',
])('a gateway cannot send the client to %s', async (location) => {
  const asked: string[] = []
  const url = await fakeNode(onTestFinished, (request, response) => {
    asked.push(`${request.headers.host}${request.url}`)
    response.writeHead(301, { location }).end('moved')
  })
  const path = { cid: 'bafkqaaa', segments: [] }
  await expect(clientOf(url).read(path, { signal })).rejects.toMatchObject({ code: 'INTERNAL' })
  expect(asked).toHaveLength(1)
})
