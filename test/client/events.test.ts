import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { fakeNode } from '../support/cli.ts'

test('a connection that falls silent is given up, and the next one goes on from the same place', async ({
  onTestFinished,
}) => {
  const asked: (string | undefined)[] = []
  const apiUrl = await fakeNode(onTestFinished, (request, response) => {
    asked.push(request.headers['last-event-id']?.toString())
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    // A position without an event moves the follower too.
    response.write(asked.length === 1 ? 'retry: 1000\nid: 41\n\n' : 'id: 42\ndata: {}\n\n')
  })
  const client = createClient({ apiUrl, gatewayUrl: apiUrl, token: undefined })
  onTestFinished(() => client.close())
  const { signal } = new AbortController()
  const numbers: number[] = []
  for await (const { sequence } of client.events.follow({}, { follow: true, signal, silenceMs: 50 })) {
    numbers.push(sequence)
    break
  }
  expect(numbers).toEqual([42])
  expect(asked).toEqual([undefined, '41'])
})
