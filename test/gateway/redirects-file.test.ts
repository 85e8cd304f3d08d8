import { expect, test } from 'vitest'
import { matchRedirects, parseRedirects } from '../../src/gateway/redirects-file.ts'

const parse = (text: string) => parseRedirects(Buffer.from(text))

/** The verdict for a path as a client writes it. */
function verdict(text: string, pathname: string, search = '') {
  const segments = pathname.split('/').filter((segment) => segment !== '')
  return matchRedirects(parse(text), segments.map(decodeURIComponent), search)
}

function location(text: string, pathname: string, search = ''): string | undefined {
  const found = verdict(text, pathname, search)
  return found?.kind === 'redirect' ? found.location : undefined
}

test('a rule is from, to and a status, 301 unless it says another', () => {
  expect(verdict('/a /b', '/a')).toEqual({ kind: 'redirect', status: 301, location: '/b' })
  for (const status of [301, 302, 303, 307, 308]) {
    expect(verdict(`/a /b ${status}`, '/a')).toEqual({ kind: 'redirect', status, location: '/b' })
  }
  for (const status of [200, 404, 410, 451]) {
    expect(verdict(`/a /b/c.html ${status}`, '/a')).toEqual({ kind: 'content', status, segments: ['b', 'c.html'] })
  }
})

test('comments, empty lines, tabs and CRLF are fine', () => {
  const text = '# a comment\r\n\r\n  /a\t/b   302\r\n   # another\r\n/c /d\r\n'
  expect(verdict(text, '/a')).toEqual({ kind: 'redirect', status: 302, location: '/b' })
  expect(location(text, '/c')).toBe('/d')
  expect(parse('')).toEqual([])
})

test('the first rule that matches counts', () => {
  expect(location('/a /first\n/a /second\n/* /third', '/a')).toBe('/first')
  expect(location('/* /third\n/a /first', '/a')).toBe('/third')
})

test.each([
  ['/a /x', '/a/', '/x'],
  ['/a/ /x', '/a', '/x'],
  ['/a /x', '/a/b', undefined],
  ['/a /x', '/A', undefined],
  ['/a%20b /x', '/a%20b', '/x'],
  ['/ą /x', '/%C4%85', '/x'],
  ['/100% /x', '/100%25', '/x'],
  ['/posts/:year/:slug /p/:slug/:year', '/posts/2022/hello', '/p/hello/2022'],
  ['/posts/:year/:slug /p/:year', '/posts/2022', undefined],
  ['/a/:b /x/:b/:b/:c', '/a/1', '/x/1/1/:c'],
  ['/:a/:ab /:ab-:a', '/1/2', '/2-1'],
  ['/:a.b /:a.b', '/1', '/1'],
  ['/a/* /x/:splat', '/a/b/c', '/x/b/c'],
  // As Kubo: the asterisk stands for something.
  ['/a/* /x/:splat', '/a', undefined],
  ['/* /x/:splat', '/a/b', '/x/a/b'],
  ['/:lang/* /:splat/:lang', '/de/a/b', '/a/b/de'],
  ['/a https://example.org/b', '/a', 'https://example.org/b'],
  ['/a/* ipfs://bafy/:splat', '/a/b', 'ipfs://bafy/b'],
])('%s: %s leads to %s', (text, pathname, expected) => {
  expect(location(text, pathname)).toBe(expected)
})

test('what is filled in is escaped, so that a path can neither leave its place nor end the header', () => {
  expect(location('/a/:b /x/:b', '/a/%0D%0ASet-Cookie:%20x')).toBe('/x/%0D%0ASet-Cookie%3A%20x')
  expect(location('/a/* /x/:splat', '/a/b%3Fc%23d/ą')).toBe('/x/b%3Fc%23d/%C4%85')
  expect(location('/a/:b/:c /x/:b/:c', '/a/%3Ac/1')).toBe('/x/%3Ac/1')
  expect(location('/a/* /x?q=:splat', '/a/1&b=2', '?z=1')).toBe('/x?q=1%26b%3D2&z=1')
})

test('the text of a rule is made fit for a header', () => {
  expect(location('/a /ą\x01"<>\\\x7f', '/a')).toBe('/%C4%85%01%22%3C%3E%5C%7F')
  // A lone CR ends a word, a NUL and a vertical tab do not end a header.
  expect(() => parse('/a /b\rX-Evil: 1')).toThrow(expect.objectContaining({ code: 'REDIRECTS_INVALID' }))
  expect(location('/a /b\0c', '/a')).toBe('/b%00c')
})

test.each([
  ['/* /:splat', '/%2F%2Fevil.example'],
  ['/* /:splat', '/%5Cevil.example'],
  ['/a/* /:splat/x', '/a/evil.example'],
  ['/:a/* /:splat/:a', '/a/b'],
  ['/:a /:a', '/%2Fevil.example'],
])('no open redirect: %s with %s stays on this host', (text, pathname) => {
  expect(location(text, pathname)).toMatch(/^\/(?![/\\])/)
})

test('not even with a segment that no path has', () => {
  const found = matchRedirects(parse('/:a /:a/evil.example'), [''], '')
  expect(found).toMatchObject({ location: '/evil.example' })
})

test('of a parameter in both, the value of the visitor wins', () => {
  expect(location('/a /b?x=1&y=2', '/a', '?y=3&z=4')).toBe('/b?x=1&y=3&z=4')
  expect(location('/a /b?x=1', '/a')).toBe('/b?x=1')
  expect(location('/a /b', '/a', '?x=%c4%85')).toBe('/b?x=%C4%85')
  expect(location('/a /b#here', '/a', '?x=1')).toBe('/b?x=1#here')
  expect(location('/a https://example.org/?x=1', '/a', '?x=2')).toBe('https://example.org/?x=2')
})

test('of a page only the path counts', () => {
  expect(verdict('/* /index.html?a=b#c 200', '/x')).toEqual({ kind: 'content', status: 200, segments: ['index.html'] })
})

test.each([
  ['a forced rule', '/a /b 301!', 'forced'],
  ['an unknown status', '/a /b 999', 'status'],
  ['a status that is no number', '/a /b 3e2', 'status'],
  ['no target', '/a', 'from to'],
  ['a fourth word', '/a /b 301 Country=de', 'from to'],
  ['a relative from', 'a /b', '"from"'],
  ['a URL as from', 'https://a.example/ /b', '"from"'],
  ['an asterisk in the middle', '/a/*/b /c', 'asterisk'],
  ['two asterisks', '/a/** /c', 'asterisk'],
  ['an asterisk behind a letter', '/a* /c', 'asterisk'],
  ['a placeholder twice', '/:a/:a /c', 'placeholder'],
  ['a placeholder called splat', '/:splat /c', 'placeholder'],
  ['a placeholder without a name', '/: /c', 'placeholder'],
  ['a relative target', '/a b', '"to"'],
  ['another scheme', '/a javascript:alert(1)', '"to"'],
  ['a target of another host', '/a //evil.example/', '"to"'],
  ['a target with a backslash', '/a /\\evil.example/', '"to"'],
  ['a host that the visitor chooses', '/a/:b https://:b/', '"to"'],
  ['a URL to be shown', '/a https://example.org/ 200', 'path of this site'],
  ['a URL as error page', '/a https://example.org/ 404', 'path of this site'],
])('%s is an error that says its line', (_, rule, why) => {
  const text = `# first\n${rule}\n`
  const message = expect.stringMatching(new RegExp(`^could not parse _redirects: line 2: .*${why}`))
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'REDIRECTS_INVALID', message }))
})

test('a file above 64 KiB is an error, one of exactly 64 KiB is none', () => {
  const comment = (bytes: number) => Buffer.alloc(bytes, '#')
  expect(parseRedirects(comment(65_536))).toEqual([])
  const message = 'could not parse _redirects: redirects file size cannot exceed 65536 bytes'
  expect(() => parseRedirects(comment(65_537))).toThrow(expect.objectContaining({ code: 'REDIRECTS_INVALID', message }))
})

test('a file that is not UTF-8 is an error', () => {
  expect(() => parseRedirects(Buffer.from([0x2f, 0xff]))).toThrow(
    expect.objectContaining({ code: 'REDIRECTS_INVALID' }),
  )
})

test('the most rules that fit are matched at once', () => {
  const rules = parse('/:a/:b/:c/x /y\n'.repeat(4000))
  const segments = Array.from({ length: 256 }, () => 'a')
  expect(rules).toHaveLength(4000)
  expect(matchRedirects(rules, segments, '')).toBeUndefined()
})
