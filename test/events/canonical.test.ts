import * as dagJson from '@ipld/dag-json'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { canonicalJson, type Json, link } from '../../src/events/canonical.ts'
import { isUuid, uuidv7 } from '../../src/lib/uuid.ts'

const text = fc.string({ unit: 'grapheme' })
const value: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value')),
    // "/" is reserved for links, and no key of ours is "__proto__".
    fc.dictionary(
      text.filter((key) => key !== '/' && key !== '__proto__'),
      tie('value'),
    ),
  ),
})).value

test('canonical JSON is byte for byte what @ipld/dag-json writes', () => {
  fc.assert(
    fc.property(value, (json) => {
      expect(canonicalJson(json)).toBe(Buffer.from(dagJson.encode(json)).toString('utf8'))
    }),
  )
})

test('a link is read by @ipld/dag-json as a CID', () => {
  const cid = CID.parse('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
  expect(dagJson.decode(Buffer.from(canonicalJson({ cid: link(cid) })))).toEqual({ cid })
})

test('what JSON cannot hold is refused', () => {
  expect(() => canonicalJson({ a: Number.NaN })).toThrow(TypeError)
})

test('ids made one after the other sort in that order and are valid', () => {
  const ids = Array.from({ length: 10_000 }, () => uuidv7())
  expect(ids.every(isUuid)).toBe(true)
  expect([...ids].sort()).toEqual(ids)
  expect(new Set(ids).size).toBe(ids.length)
})
