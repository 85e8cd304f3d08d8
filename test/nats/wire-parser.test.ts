import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeHeaders, WireParser, wireHeader, wireStatus } from '../../src/nats/wire-parser.ts'

type Item = { readonly line: string } | { readonly subject: string; readonly headers: string; readonly data: string }

/** What the parser makes of the bytes, given in pieces; each piece is overwritten afterwards, as a socket's buffer is. */
function parse(pieces: readonly Uint8Array[]): Item[] {
  const items: Item[] = []
  const parser = new WireParser({
    onLine: (line) => items.push({ line }),
    onMessage: ({ subject, headers, data }) =>
      items.push({ subject, headers: headers?.toString('latin1') ?? '', data: data.toString('latin1') }),
  })
  const buffer = Buffer.alloc(Math.max(1, ...pieces.map((piece) => piece.byteLength)))
  const kept: { readonly item: Item; readonly copy: string }[] = []
  for (const piece of pieces) {
    buffer.set(piece)
    parser.feed(buffer.subarray(0, piece.byteLength))
    buffer.fill(0x21)
    for (const item of items.slice(kept.length)) kept.push({ item, copy: JSON.stringify(item) })
  }
  for (const { item, copy } of kept) expect(JSON.stringify(item)).toBe(copy)
  return items
}

const block = 'NATS/1.0\r\nA: b\r\n\r\n'
const stream = [
  'INFO {"server_id":"x"}\r\n',
  'MSG a.b 1 5\r\nhello\r\n',
  'MSG a.b 1 reply.to 2\r\n\r\n\r\n',
  'PING\r\n',
  'MSG empty 1 0\r\n\r\n',
  `HMSG h 1 ${block.length} ${block.length + 3}\r\n${block}abc\r\n`,
  `HMSG h 1 r.x ${block.length} ${block.length}\r\n${block}\r\n`,
  "-ERR 'Stale Connection'\r\n",
  '+OK\r\n',
].join('')

const items: Item[] = [
  { line: 'INFO {"server_id":"x"}' },
  { subject: 'a.b', headers: '', data: 'hello' },
  { subject: 'a.b', headers: '', data: '\r\n' },
  { line: 'PING' },
  { subject: 'empty', headers: '', data: '' },
  { subject: 'h', headers: block, data: 'abc' },
  { subject: 'h', headers: block, data: '' },
  { line: "-ERR 'Stale Connection'" },
  { line: '+OK' },
]

describe('the same bytes are the same messages', () => {
  const bytes = Buffer.from(stream, 'latin1')

  test('in one piece, and byte by byte', () => {
    expect(parse([bytes])).toEqual(items)
    expect(parse(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(items)
  })

  test('cut in two at every position', () => {
    for (let at = 0; at <= bytes.length; at++) {
      expect(parse([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(items)
    }
  })
})

const word = fc.stringMatching(/^[a-zA-Z0-9_$.-]{1,40}$/)
const body = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1'))
const message = fc.record({
  subject: word,
  reply: fc.option(word, { nil: undefined }),
  headers: fc.option(fc.tuple(word, word), { nil: undefined }),
  data: body,
})
const line = fc.constantFrom('PING', 'PONG', '+OK', "-ERR 'x'", 'INFO {"a":1}')

/** The reference: written from the protocol's description, the other way round. */
function encode(entry: string | (typeof message extends fc.Arbitrary<infer T> ? T : never)): {
  bytes: string
  item: Item
} {
  if (typeof entry === 'string') return { bytes: `${entry}\r\n`, item: { line: entry } }
  const { subject, reply, data } = entry
  const headers = encodeHeaders(entry.headers === undefined ? [] : [entry.headers])?.toString('latin1') ?? ''
  const head = [headers === '' ? 'MSG' : 'HMSG', subject, '1', ...(reply === undefined ? [] : [reply])]
  const lengths = [...(headers === '' ? [] : [headers.length]), headers.length + data.length]
  return { bytes: `${[...head, ...lengths].join(' ')}\r\n${headers}${data}\r\n`, item: { subject, headers, data } }
}

test('any messages, cut anywhere, come out as they went in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(message, line), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }),
      (entries, sizes) => {
        const encoded = entries.map(encode)
        const bytes = Buffer.from(encoded.map((entry) => entry.bytes).join(''), 'latin1')
        const pieces: Uint8Array[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length] ?? 1
          pieces.push(bytes.subarray(at, at + size))
          at += size
        }
        expect(parse(pieces)).toEqual(encoded.map(({ item }) => item))
      },
    ),
    { numRuns: 300 },
  )
})

test.each([
  ['no length', 'MSG a\r\n'],
  ['no subscription', 'MSG a 5\r\nhello\r\n'],
  ['a word too many', 'MSG a 1 r x 5\r\n'],
  ['a length that is no number', 'MSG a 1 five\r\n'],
  ['a negative length', 'MSG a 1 -5\r\n'],
  ['a length in hex', 'MSG a 1 0x5\r\n'],
  ['a length with an exponent', 'MSG a 1 1e3\r\n'],
  ['a length of a terabyte', 'MSG a 1 1099511627776\r\n'],
  ['a length beyond what max_payload can be', 'MSG a 1 99999999\r\n'],
  ['more headers than message', 'HMSG a 1 20 10\r\n'],
  ['a negative header length', 'HMSG a 1 -1 10\r\n'],
  ['a header length missing', 'HMSG a 1 10\r\n'],
  ['a body longer than it says', 'MSG a 1 4\r\nhello\r\n'],
  ['a body shorter than it says', 'MSG a 1 6\r\nhello\r\nPING\r\n'],
  ['a body that ends in LF alone', 'MSG a 1 5\r\nhello\n\nPING\r\n'],
])('%s is an error, not a message', (_label, text) => {
  const pieces = Array.from(Buffer.from(text), (byte) => Uint8Array.of(byte))
  expect(() => parse(pieces)).toThrow(/NATS protocol/)
  expect(() => parse([Buffer.from(text)])).toThrow(/NATS protocol/)
})

test('a line without end is given up, whatever it starts with', () => {
  const endless = Array.from({ length: 40 }, () => Buffer.alloc(64 * 1024, 'x'))
  expect(() => parse(endless)).toThrow(/without end/)
})

describe('header blocks', () => {
  const headers = encodeHeaders([
    ['Nats-Sequence', '12'],
    ['Other', 'a:b'],
  ])

  test('values are found by their whole name', () => {
    expect(wireHeader(headers, 'Nats-Sequence')).toBe('12')
    expect(wireHeader(headers, 'Other')).toBe('a:b')
    expect(wireHeader(headers, 'Sequence')).toBe('')
    expect(wireHeader(undefined, 'Other')).toBe('')
  })

  test('the status is the number of the first line, 0 without one', () => {
    expect(wireStatus(Buffer.from('NATS/1.0 404 Message Not Found\r\n\r\n'))).toBe(404)
    expect(wireStatus(Buffer.from('NATS/1.0 503\r\n\r\n'))).toBe(503)
    expect(wireStatus(headers)).toBe(0)
    expect(wireStatus(undefined)).toBe(0)
  })

  test('no pairs are no headers', () => {
    expect(encodeHeaders([])).toBeUndefined()
  })
})
