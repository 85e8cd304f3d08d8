import { expect, test } from 'vitest'
import { mediaTypeOfBytes, mediaTypeOfName } from '../../src/gateway/media-type.ts'

test.each([
  ['a.txt', 'text/plain; charset=utf-8'],
  ['a.HTML', 'text/html; charset=utf-8'],
  ['a.json', 'application/json'],
  ['a.js', 'text/javascript; charset=utf-8'],
  ['a.wasm', 'application/wasm'],
  ['a.svg', 'image/svg+xml'],
  ['a.png', 'image/png'],
  ['a.ts', undefined],
  ['main.rs', undefined],
  ['Makefile', undefined],
  ['a.nothing-known', undefined],
  [undefined, undefined],
])('the name %s tells %s', (name, type) => {
  expect(mediaTypeOfName(name)).toBe(type)
})

const png = Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex')

test.each([
  ['nothing', Buffer.alloc(0), 'text/plain; charset=utf-8'],
  ['text', Buffer.from('hello\n'), 'text/plain; charset=utf-8'],
  ['UTF-8 text', Buffer.from('zażółć gęślą jaźń\n'), 'text/plain; charset=utf-8'],
  ['an object', Buffer.from('{ "a": 1 }'), 'application/json'],
  ['an array', Buffer.from('[1, 2]'), 'application/json'],
  ['text in braces', Buffer.from('{not json}'), 'text/plain; charset=utf-8'],
  ['a page', Buffer.from('\n<!DOCTYPE html><p>'), 'text/html; charset=utf-8'],
  ['a drawing', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), 'image/svg+xml'],
  ['a drawing with an XML head', Buffer.from('<?xml version="1.0"?><svg xmlns="x"/>'), 'image/svg+xml'],
  ['TypeScript', Buffer.from('export const a = 1\n'), 'text/plain; charset=utf-8'],
  ['an image', png, 'image/png'],
  ['bytes', Buffer.from([0, 1, 2, 3, 254]), 'application/octet-stream'],
  ['bytes that are no UTF-8', Buffer.from([0x61, 0xff, 0xfe, 0x61]), 'application/octet-stream'],
])('%s is told by its bytes', async (_, bytes, type) => {
  expect(await mediaTypeOfBytes(bytes, true)).toBe(type)
})

test('a character that the window cuts in two does not make text binary', async () => {
  const text = Buffer.from(`x${'ż'.repeat(4000)}`)
  expect(await mediaTypeOfBytes(text, true)).toBe('text/plain; charset=utf-8')
})

test('JSON that goes on beyond the window is told by its start', async () => {
  expect(await mediaTypeOfBytes(Buffer.from(`{"a": "${'x'.repeat(10_000)}"}`), true)).toBe('application/json')
})
