import { expect, test } from 'vitest'
import { gatewayPath, parseContentPath } from '../../src/client/content-path.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const v0 = 'QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o'

test.each([
  [cid, cid, []],
  [v0, v0, []],
  [`${cid}/`, cid, []],
  [`${cid}/a/b.txt`, cid, ['a', 'b.txt']],
  [`/ipfs/${cid}/a//b`, cid, ['a', 'b']],
  [`ipfs/${cid}/a`, cid, ['a']],
  [`ipfs://${cid}/a%20b?x=1#y`, cid, ['a b']],
  [`${cid}/a%20b?c#d`, cid, ['a%20b?c#d']],
  ['f01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9', undefined, []],
])('%s is understood', (text, root, segments) => {
  expect(parseContentPath(text)).toEqual({ cid: root ?? text, segments })
})

test.each([
  ['', 'CID_INVALID'],
  ['notes.txt', 'CID_INVALID'],
  ['/etc/passwd', 'CID_INVALID'],
  ['https://example.org', 'CID_INVALID'],
  [`${cid}x`, 'CID_INVALID'],
  [`${cid}/../x`, 'PATH_INVALID'],
  [`${cid}/./x`, 'PATH_INVALID'],
  [`ipfs://${cid}/%2e%2e/x`, 'PATH_INVALID'],
  [`ipfs://${cid}/a%2Fb`, 'PATH_INVALID'],
  [`ipfs://${cid}/%ff`, 'PATH_INVALID'],
])('%j is refused as %s', (text, code) => {
  expect(() => parseContentPath(text)).toThrow(expect.objectContaining({ code }))
})

test('below the gateway it is content by its CID, or by the name that led there', () => {
  expect(gatewayPath({ cid, segments: ['a b'] })).toEqual(['ipfs', cid, 'a b'])
  expect(gatewayPath({ cid, segments: ['x'], name: 'docs/a@7' })).toEqual(['names', 'docs', 'a@7', 'x'])
})
