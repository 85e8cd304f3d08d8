import { expect, test } from 'vitest'
import { essenceOf, octetStream, servedType } from '../../src/lib/media-type.ts'

const good: readonly (readonly [string, string])[] = [
  ['text/html', 'text/html'],
  ['Text/HTML; charset=utf-8', 'text/html'],
  ['application/vnd.example+json;v=2 ; q="a;b"', 'application/vnd.example+json'],
  ['text/plain;a=",text/html"', 'text/plain'],
  ['text/plain; a="quo\\"ted"', 'text/plain'],
  ['text/plain;;', 'text/plain'],
]

const bad: readonly string[] = [
  '',
  'text',
  'text/',
  '/html',
  '*',
  ' text/html',
  'text/html ',
  '\ttext/html',
  '\ntext/html',
  '\x0ctext/html',
  '\ufefftext/html',
  '\u00a0text/html',
  'text/html\n',
  'text/html\r\nx: y',
  'text/html\0',
  'text/plain, text/html',
  'x/y,text/html',
  '"",text/html',
  'text/html;charset',
  'text/html;charset=é',
  'text/plain;a="b',
  'text/plain;a="b"c',
  'text /html',
  `text/plain;a=${'x'.repeat(300)}`,
]

test.each(good)('%j is %s', (text, essence) => {
  expect(essenceOf(text)).toBe(essence)
  expect(servedType(text)).toBe(text)
})

test.each(bad)('%j is no media type, and is served as bytes', (text) => {
  expect(essenceOf(text)).toBeUndefined()
  expect(servedType(text)).toBe(octetStream)
})

test('nothing known is bytes too', () => {
  expect([servedType(null), servedType(undefined)]).toEqual([octetStream, octetStream])
})

test('a text that is nearly a media type takes no time to refuse', () => {
  // Bounded before it is matched: whoever sends megabytes gets the same answer.
  expect(essenceOf(`text/plain${';a=b'.repeat(1_000_000)},`)).toBeUndefined()
})
