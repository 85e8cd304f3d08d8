import fc from 'fast-check'
import { expect, test } from 'vitest'
import { serverSentEvents } from '../../src/client/server-sent.ts'

const stream = [
  ': a sign of life',
  '',
  'id: 1',
  'event: name.set',
  'data: {"a":1,',
  'data:"b":2}',
  '',
  'retry: 100',
  'data: grüße 🚢',
  '',
  'id: 3',
  'data',
  '',
  'id: 4',
  '',
  'id: 5',
  'data: cut short',
].join('\n')

const expected = [
  { id: '1', event: 'name.set', data: '{"a":1,\n"b":2}' },
  { id: '1', event: 'message', data: 'grüße 🚢' },
  { id: '3', event: 'message', data: '' },
  { id: '4', event: 'message', data: undefined },
]

async function parsed(bytes: Uint8Array, cuts: readonly number[]) {
  async function* chunks() {
    let from = 0
    for (const cut of [...cuts, bytes.byteLength]) {
      yield bytes.subarray(from, cut)
      from = cut
    }
  }
  const events: object[] = []
  for await (const event of serverSentEvents(chunks())) events.push(event)
  return events
}

for (const [label, end] of [
  ['LF', '\n'],
  ['CRLF', '\r\n'],
  ['CR', '\r'],
] as const) {
  test(`events with ${label} are the same wherever the network cuts them, and a half event is none`, async () => {
    const bytes = Buffer.from(stream.replaceAll('\n', end))
    const cuts = fc.array(fc.integer({ min: 0, max: bytes.byteLength }), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(cuts, async (at) => {
        const sorted = [...at].sort((a, b) => a - b)
        expect(await parsed(bytes, sorted)).toEqual(expected)
      }),
    )
  })
}
