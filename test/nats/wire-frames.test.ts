import { expect, test } from 'vitest'
import { Frames, frameHead } from '../../src/nats/wire-frames.ts'
import { encodeHeaders } from '../../src/nats/wire-parser.ts'

function filled(bufferBytes: number, payloads: readonly string[], headers: Buffer | undefined = undefined): Frames {
  const frames = new Frames(Buffer.alloc(bufferBytes))
  const head = frameHead('a.b', headers)
  for (const payload of payloads) {
    const at = frames.begin(head, payload.length)
    if (at >= 0) frames.finish(at + frames.buffer.write(payload, at))
  }
  return frames
}

test('messages stand as the protocol has them, each with its size', () => {
  const frames = filled(200, ['', 'hello', 'x'.repeat(12)])
  expect(frames.all.toString().replaceAll(/ +/g, ' ')).toBe(
    `PUB a.b 0\r\n\r\nPUB a.b 5\r\nhello\r\nPUB a.b 12\r\n${'x'.repeat(12)}\r\n`,
  )
  expect(frames.allButLast.toString().replaceAll(/ +/g, ' ')).toBe('PUB a.b 0\r\n\r\nPUB a.b 5\r\nhello\r\n')
  expect(frames.last?.payload.toString()).toBe('x'.repeat(12))
})

test('headers count into the size', () => {
  const headers = encodeHeaders([['A', 'b']])
  const bytes = headers?.byteLength ?? 0
  const frames = filled(100, ['hello'], headers)
  expect(frames.all.toString().replaceAll(/ +/g, ' ')).toBe(
    `HPUB a.b ${bytes} ${bytes + 5}\r\nNATS/1.0\r\nA: b\r\n\r\nhello\r\n`,
  )
})

test('what has no room is left out, and what is there stays whole', () => {
  const frames = filled(60, ['12345', 'x'.repeat(40), '67890'])
  expect(frames.count).toBe(2)
  expect(frames.last?.payload.toString()).toBe('67890')
  expect(filled(10, ['12345']).last).toBeUndefined()
})

test('a subject that would be read as something else is refused', () => {
  expect(() => frameHead('a b', undefined)).toThrow(RangeError)
  expect(() => frameHead('a\r\nPUB b', undefined)).toThrow(RangeError)
  expect(() => frameHead('', undefined)).toThrow(RangeError)
})
