import { expect, test } from 'vitest'
import { contentDisposition, isActive, matchesEtag, safeFilename } from '../../src/gateway/headers.ts'

test.each([
  ['no header', undefined, false],
  ['the tag', '"a"', true],
  ['the weak form', 'W/"a"', true],
  ['a list', '"x", W/"a"  ,"y"', true],
  ['*', '*', true],
  ['another tag', '"b"', false],
  ['a tag without quotes', 'a', false],
  ['a longer tag', '"a.raw"', false],
])('If-None-Match with %s', (_, header, matches) => {
  expect(matchesEtag(header, '"a"')).toBe(matches)
})

test('If-None-Match compares weakly when our own tag is weak', () => {
  expect(matchesEtag('"a.car"', 'W/"a.car"')).toBe(true)
})

// File names that clients and disks take badly.
test.each([
  ['a plain name', 'a b.txt', `inline; filename="a b.txt"; filename*=UTF-8''a%20b.txt`],
  ['34: CR and LF', 'a\r\nX: 1', `inline; filename="a__X: 1"; filename*=UTF-8''a__X%3A%201`],
  ['35: a quote', 'a";x="b', `inline; filename="a_;x=_b"; filename*=UTF-8''a%22%3Bx%3D%22b`],
  ['35: a backslash', 'a\\', `inline; filename="a_"; filename*=UTF-8''a%5C`],
  ['36: an emoji', '😀.txt', `inline; filename="_.txt"; filename*=UTF-8''%F0%9F%98%80.txt`],
  [
    '36: Cyrillic',
    'testтест.tar',
    `inline; filename="test____.tar"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.tar`,
  ],
  ['36: NUL', 'a\0b', `inline; filename="a_b"; filename*=UTF-8''a_b`],
  ['36: what encodeURIComponent leaves', "a'(*)!", `inline; filename="a'(*)!"; filename*=UTF-8''a%27%28%2A%29%21`],
])('%s in a file name stays within its header field', (_, name, expected) => {
  expect(contentDisposition('inline', name)).toBe(expected)
})

test('37: a file name is cut to 255 bytes between characters', () => {
  expect(Buffer.byteLength(safeFilename('x'.repeat(65_536)))).toBe(255)
  const cut = safeFilename('€'.repeat(200))
  expect(cut).toBe('€'.repeat(85))
})

test.each(['.car', '.tar', '.bin', '.ipns-record', '.tar.gz', '.PDF'])(
  'a name that is cut keeps its %s, and no character is broken',
  (extension) => {
    for (const stem of ['x'.repeat(300), 'é'.repeat(130), '€'.repeat(100), '😀'.repeat(70), `${'€'.repeat(84)}ab`]) {
      const cut = safeFilename(stem + extension)
      expect(cut.endsWith(extension)).toBe(true)
      expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(255)
      expect(Buffer.byteLength(cut)).toBeGreaterThan(255 - 4)
      expect(cut.isWellFormed()).toBe(true)
      expect(stem.startsWith(cut.slice(0, -extension.length))).toBe(true)
    }
  },
)

test('a name that fits stays as it is, and a dot in a sentence is no extension', () => {
  for (const name of ['a.car', `${'x'.repeat(251)}.car`, '.car', '', '.', 'no extension'])
    expect(safeFilename(name)).toBe(name)
  expect(safeFilename(`${'x'.repeat(300)}. And so on, for long`)).toBe('x'.repeat(255))
  expect(safeFilename(`a.${'y'.repeat(300)}`)).toBe(`a.${'y'.repeat(253)}`)
})

test.each([
  ['text/html; charset=utf-8', true],
  ['application/xhtml+xml', true],
  ['image/svg+xml', true],
  ['application/xml', true],
  ['text/xml; charset=utf-8', true],
  ['application/rss+xml', true],
  ['TEXT/HTML', true],
  ['text/html;', true],
  ['multipart/x-mixed-replace;boundary=a', true],
  ['message/rfc822', true],
  ['text/plain, text/html', true],
  ['text/plain;a=",text/html"', true],
  [' text/html', true],
  ['*/*', true],
  ['text/*', true],
  ['unknown/unknown', true],
  ['application/unknown', true],
  ['Application/X-Unknown-Content-Type', true],
  ['application/x-unknowable', false],
  ['text/plain; charset=utf-8', false],
  ['text/javascript', false],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', false],
  ['image/png', false],
  ['application/json', false],
  ['application/pdf', false],
])('%s can run scripts as a document: %s', (type, active) => {
  expect(isActive(type)).toBe(active)
})
