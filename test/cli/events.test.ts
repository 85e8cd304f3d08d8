import type { ServerResponse } from 'node:http'
import type { TestContext } from 'vitest'
import { describe, expect, test } from 'vitest'
import { fakeNode, run, Sink, testFolder } from '../support/cli.ts'

const eventOf = (sequence: number) => ({
  specversion: '1.0',
  id: `event-${sequence}`,
  type: 'stowage.name.set.v1',
  subject: `docs/${sequence}`,
  time: '2026-01-31T12:00:00.000Z',
  owner: 'ann',
  data: { cid: { '/': 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' } },
})

const send = (response: ServerResponse, ...sequences: number[]) => {
  for (const sequence of sequences) {
    response.write(`id: ${sequence}\nevent: name.set\ndata: ${JSON.stringify(eventOf(sequence))}\n\n`)
  }
}

/** A node that answers its n-th request for events with the n-th of `answers`. */
async function eventNode(
  onFinished: TestContext['onTestFinished'],
  answers: readonly ((response: ServerResponse) => void)[],
) {
  const asked: { readonly url: string; readonly lastEventId: string | undefined }[] = []
  const url = await fakeNode(onFinished, (request, response) => {
    const lastEventId = request.headers['last-event-id']
    const answer = answers[asked.length]
    asked.push({ url: request.url ?? '', lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    answer?.(response)
  })
  return { asked, env: { STOWAGE_API_URL: url, STOWAGE_TOKEN: 't' } }
}

const cut = (response: ServerResponse) => setImmediate(() => response.socket?.destroy())

describe('events', () => {
  test('a follower that is cut off goes on after its last event: none twice, none missing', async ({
    onTestFinished,
  }) => {
    const folder = await testFolder(onTestFinished)
    const stop = new AbortController()
    const stdout = new Sink(false)
    const { asked, env } = await eventNode(onTestFinished, [
      (response) => {
        send(response, 3, 4)
        // Half of the fifth: it must come again, whole.
        response.write(`id: 5\ndata: {"specversion"`)
        cut(response)
      },
      (response) => response.end(': the node stops\n\n'),
      (response) => cut(response),
      (response) => {
        send(response, 5, 7)
        response.write(': a sign of life\n\n')
      },
    ])
    const running = run(folder, ['events', '--follow', '--since', '2', '--json'], {
      env,
      signal: stop.signal,
      io: { stdout },
    })
    const numbers = () =>
      stdout.bytes
        .toString()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as { sequence: number }).sequence)
    await expect.poll(numbers, { timeout: 20_000 }).toEqual([3, 4, 5, 7])
    stop.abort(new Error('SIGINT'))
    expect((await running).exitCode).toBe(130)
    expect(asked).toEqual([
      { url: '/api/v1/events?follow=true&since=2', lastEventId: undefined },
      { url: '/api/v1/events?follow=true', lastEventId: '4' },
      { url: '/api/v1/events?follow=true', lastEventId: '4' },
      { url: '/api/v1/events?follow=true', lastEventId: '4' },
    ])
  })

  test('without --follow it ends with the last event, and goes on only after a cut', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const { asked, env } = await eventNode(onTestFinished, [
      (response) => {
        send(response, 1)
        cut(response)
      },
      (response) => {
        send(response, 2)
        response.end()
      },
    ])
    const ran = await run(folder, ['events', '--prefix', 'docs/'], { env })
    expect(ran.exitCode).toBe(0)
    expect(ran.stdout.split('\n')).toEqual([
      expect.stringMatching(
        /^ +1 {2}2026-01-31T12:00:00\.000Z {2}name\.set +ann +docs\/1 {2}-> bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e$/,
      ),
      expect.stringMatching(/^ +2 {2}/),
      '',
    ])
    expect(ran.stderr).toBe('stowage: connection cut, trying again\n')
    expect(asked.map(({ lastEventId }) => lastEventId)).toEqual([undefined, '1'])
  })

  test('a node that was never reached, and one that refuses, are failures at once', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const nowhere = await run(folder, ['events', '--follow'], { env: { STOWAGE_API_URL: 'http://127.0.0.1:9' } })
    expect(nowhere.exitCode).toBe(4)
    const url = await fakeNode(onTestFinished, (_request, response) => {
      response.writeHead(401, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ code: 'unauthorized', message: 'a valid token is needed' }))
    })
    const refused = await run(folder, ['events', '--follow'], { env: { STOWAGE_API_URL: url } })
    expect(refused.exitCode).toBe(5)
    expect(refused.stderr).toContain('no token was found')
    const wrong = await run(folder, ['events', '--since', 'yesterday'], { env: { STOWAGE_API_URL: url } })
    expect(wrong.exitCode).toBe(2)
    expect(wrong.stderr).toContain('"yesterday" is no point in time; give the number of an event (17)')
  })
})
