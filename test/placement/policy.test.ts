import { cpuUsage } from 'node:process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAppError } from '../../src/errors.ts'
import type { RootContext, RootFacts } from '../../src/placement/model.ts'
import { compilePolicy, parsePolicy, policyBytesMax } from '../../src/placement/policy.ts'
import { currentOf, outranks, type PolicyVersion } from '../../src/placement/policy-log.ts'
import { rootNamed } from '../support/placement.ts'

const sites = new Set(['paris', 'berlin'])
const rule = (fields: object) => ({ version: 1, rules: [{ name: 'r', copies: 1, ...fields }] })
const nested = (depth: number, inner: unknown = true): unknown => {
  let value = inner
  for (let level = 0; level < depth; level++) value = { '!': [value] }
  return value
}
const cyclic: Record<string, unknown> = { version: 1 }
cyclic.rules = [{ name: 'r', copies: 1, when: { and: [cyclic, true] } }]

/** What is wrong, and what the message has to name. As JSON text where the parser of JSON is part of the way. */
const badInput105: Readonly<Record<string, readonly [unknown, RegExp]>> = {
  'copies -1': [rule({ copies: -1 }), /rules\[0\]\.copies/],
  'copies 0': [rule({ copies: 0 }), /rules\[0\]\.copies/],
  'copies 1e9': [rule({ copies: 1e9 }), /rules\[0\]\.copies/],
  'copies as text': [rule({ copies: '3' }), /rules\[0\]\.copies/],
  'copies NaN': [rule({ copies: Number.NaN }), /rules\[0\]\.copies/],
  'copies Infinity': [rule({ copies: Number.POSITIVE_INFINITY }), /rules\[0\]\.copies/],
  'copies 1.5': [rule({ copies: 1.5 }), /rules\[0\]\.copies/],
  'copies missing': [{ version: 1, rules: [{ name: 'r' }] }, /rules\[0\]\.copies/],
  'min above max': [rule({ copies: { min: 3, max: 2 } }), /min no larger than max/],
  'copies with another field': [rule({ copies: { min: 1, maximum: 2 } }), /no field "maximum"/],
  'an unknown site': [rule({ sites: ['mars'] }), /there is no site "mars"/],
  'an unknown site to avoid': [rule({ avoid: ['mars'] }), /there is no site "mars"/],
  'a list of sites that is none': [rule({ sites: 'paris' }), /rules\[0\]\.sites/],
  'an empty list of sites': [rule({ sites: [] }), /rules\[0\]\.sites/],
  'ten thousand sites': [rule({ sites: Array.from({ length: 10_000 }, () => 'paris') }), /rules\[0\]\.sites/],
  'a glob among sites': [rule({ sites: ['(a+)+$*?[paris'] }), /rules\[0\]\.sites\[0\]/],
  'a ReDoS-shaped label': [rule({ near: [`region=${'a'.repeat(50_000)}!`] }), /rules\[0\]\.near\[0\]/],
  'demand among sites': [rule({ sites: ['demand'] }), /there is no site "demand"/],
  'a name of 10,000 letters': [rule({ name: 'x'.repeat(10_000) }), /rules\[0\]\.name/],
  'a name with a line break': [rule({ name: 'a\nb' }), /rules\[0\]\.name/],
  'two rules of one name': [
    {
      version: 1,
      rules: [
        { name: 'r', when: true, copies: 1 },
        { name: 'r', copies: 1 },
      ],
    },
    /used twice/,
  ],
  'a rule after one without when': [
    {
      version: 1,
      rules: [
        { name: 'all', copies: 1 },
        { name: 'never', copies: 2 },
      ],
    },
    /never reached/,
  ],
  'no rule': [{ version: 1, rules: [] }, /at least one rule/],
  'a thousand rules': [
    { version: 1, rules: Array.from({ length: 1000 }, (_, i) => ({ name: `r${i}`, when: true, copies: 1 })) },
    /at most 256/,
  ],
  'version 2': [{ ...rule({}), version: 2 }, /version/],
  'an unknown field': [rule({ replicas: 3 }), /no field "replicas"/],
  'an own __proto__': [
    JSON.parse('{"version":1,"rules":[{"name":"r","copies":1,"__proto__":{"min":9}}]}'),
    /"__proto__"/,
  ],
  'an own constructor': [rule({ constructor: { prototype: {} } }), /"constructor"/],
  'an operator called __proto__': [
    JSON.parse('{"version":1,"rules":[{"name":"r","copies":1,"when":{"__proto__":[1]}}]}'),
    /no operator "__proto__"/,
  ],
  'an operator called constructor': [rule({ when: { constructor: ['return 1'] } }), /no operator "constructor"/],
  'an unknown operator': [rule({ when: { log: 'x' } }), /no operator "log"/],
  'a regular expression': [rule({ when: { match: [{ var: 'name' }, '(a+)+$'] } }), /no operator "match"/],
  'two operators in one': [rule({ when: { '==': [1, 1], '!=': [1, 2] } }), /one key/],
  'an expression nested too deep': [rule({ when: nested(100) }), /nested more than/],
  'an expression nested without end': [
    JSON.parse(`{"version":1,"rules":[{"name":"r","copies":1,"when":${'['.repeat(30_000)}${']'.repeat(30_000)}}]}`),
    /nested more than/,
  ],
  'a cycle': [cyclic, /nested more than|one key/],
  'a huge expression': [
    rule({ when: { or: Array.from({ length: 5000 }, () => ({ '==': [1, 2] })) } }),
    /more than 1000 parts/,
  ],
  'a huge text': [rule({ when: { '==': ['x'.repeat(50_000), 1] } }), /text is longer/],
  'ack of more copies than max': [rule({ ack: 2 }), /rules\[0\]\.ack/],
  'ttl below zero': [rule({ ttlSeconds: -5 }), /rules\[0\]\.ttlSeconds/],
  'ttl of a million years': [rule({ ttlSeconds: 1e18 }), /rules\[0\]\.ttlSeconds/],
  'spread over moons': [rule({ spread: 'moon' }), /rules\[0\]\.spread/],
  'a list': [[], /must be an object/],
  nothing: [null, /must be an object/],
  'a text': ['copies', /must be an object/],
}

for (const [label, [document, names]] of Object.entries(badInput105)) {
  test(`${label} is refused, with its place, for little CPU`, () => {
    const before = cpuUsage()
    let refusal: unknown
    try {
      parsePolicy(document, sites)
    } catch (error) {
      refusal = error
    }
    const { user, system } = cpuUsage(before)
    if (!isAppError(refusal, 'POLICY_INVALID')) throw new Error('it was taken, or failed otherwise', { cause: refusal })
    expect(refusal.message).toMatch(names)
    expect(refusal.message.length).toBeLessThan(64 * 1024)
    // 50 ms is what is asked for; twenty times that is still far from what a bomb costs.
    expect((user + system) / 1000).toBeLessThan(1000)
  })
}

test('every problem of a document is told at once', () => {
  const wrong = {
    version: 3,
    rules: [{ name: '', copies: 0, sites: ['mars'], when: { nope: 1 }, ack: 'soon', extra: true }],
  }
  expect(() => parsePolicy(wrong, sites)).toThrow(/7 problem/)
})

test('what is read is the whole document, copies as a range and ack local where nothing is said', () => {
  const document = {
    version: 1,
    rules: [
      {
        name: 'a',
        when: { '==': [{ var: 'owner' }, 'ann'] },
        copies: { min: 2, max: 4 },
        sites: ['paris', 'region=eu'],
        spread: 'site',
        near: ['projections', 'demand', 'berlin'],
        avoid: ['tier=slow'],
        ack: 'policy',
        ttlSeconds: 60,
      },
      { name: 'b', copies: 3 },
    ],
  }
  const read = parsePolicy(document, sites)
  expect(read.rules[0]).toEqual(document.rules[0])
  expect(read.rules[1]).toEqual({ name: 'b', copies: { min: 3, max: 3 }, ack: 'local' })
  expect(parsePolicy(JSON.parse(JSON.stringify(read)), sites)).toEqual(read)
})

test('any JSON at all is either a policy or refused as one that is none', () => {
  const shaped = fc.record({
    version: fc.constant(1),
    rules: fc.array(
      fc.dictionary(
        fc.constantFrom('name', 'copies', 'when', 'sites', 'near', 'spread', 'ack', '__proto__'),
        fc.jsonValue(),
      ),
    ),
  })
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), shaped), (document) => {
      try {
        compilePolicy(parsePolicy(document, sites)).ruleFor(factsOf({}), nowhere, Date.now())
      } catch (error) {
        if (!isAppError(error, 'POLICY_INVALID')) throw error
      }
    }),
    { numRuns: 2000 },
  )
  expect(Object.hasOwn(Object.prototype, 'min')).toBe(false)
  expect(policyBytesMax).toBe(65_536)
})

const nowhere: RootContext = { names: [], demand: {}, projectedAt: [] }

function factsOf(fields: Partial<RootFacts>): RootFacts {
  return {
    ...{ root: rootNamed('r'), bytes: 1000, blocks: 1, originSite: 'paris', owner: 'ann', mediaType: 'image/png' },
    ...{ addedAt: '2026-11-21T12:00:00Z', deleted: false, copies: [], told: undefined, lost: false },
    ...{ revision: 1, copyRevision: 0, correlation: 'c', lastEventId: 'e' },
    ...fields,
  } as RootFacts
}

test('the first rule that holds is the one, and each before it says why not', () => {
  const nowMs = Date.parse('2026-11-21T13:00:00Z')
  const policy = compilePolicy(
    parsePolicy({
      version: 1,
      rules: [
        { name: 'fresh', copies: 4, ttlSeconds: 60 },
        { name: 'pdf', when: { '==': [{ var: 'mediaType' }, 'application/pdf'] }, copies: 3 },
        { name: 'hot', when: { '>': [{ var: 'demand' }, 5] }, copies: 2 },
        { name: 'old', when: { '>=': [{ var: 'ageSeconds' }, 3600] }, copies: 1 },
      ],
    }),
  )
  expect(policy.ruleFor(factsOf({}), nowhere, nowMs).name).toBe('old')
  expect(policy.ruleFor(factsOf({}), { ...nowhere, demand: { paris: 3, berlin: 3 } }, nowMs).name).toBe('hot')
  expect(policy.explain(factsOf({}), nowhere, nowMs)).toEqual([
    { rule: 'fresh', applies: false, why: 'it holds for 60 s, and the content is 3600 s old' },
    { rule: 'pdf', applies: false, why: '{"==":[{"var":"mediaType"},"application/pdf"]} is false' },
    { rule: 'hot', applies: false, why: '{">":[{"var":"demand"},5]} is false' },
    { rule: 'old', applies: true, why: '{">=":[{"var":"ageSeconds"},3600]} is true' },
  ])
  expect(policy.ruleFor(factsOf({}), nowhere, nowMs - 60_000).name).toBe('default')
  expect(policy.explain(factsOf({}), nowhere, nowMs - 60_000).at(-1)).toEqual({
    rule: 'default',
    applies: true,
    why: 'no rule of the policy applies',
  })
  expect(compilePolicy(undefined).explain(factsOf({}), nowhere, nowMs)).toEqual([
    { rule: 'default', applies: true, why: 'no policy was set' },
  ])
})

const version = (generation: number, time: string, eventId: string) => ({ generation, time, eventId }) as PolicyVersion

test('of policies that were set apart the same one counts, whatever order a log took them up in', () => {
  const versions = [
    version(1, '2026-01-01T00:00:00.000Z', 'a'),
    version(2, '2026-01-01T00:00:05.000Z', 'b'),
    version(2, '2026-01-01T00:00:05.000Z', 'c'),
    // Set in knowledge of the others, by a clock that is behind.
    version(3, '2025-12-31T00:00:00.000Z', 'd'),
  ]
  fc.assert(
    fc.property(fc.shuffledSubarray(versions, { minLength: 4 }), (order) => {
      expect(currentOf(order)?.eventId).toBe('d')
      expect(currentOf(order.filter(({ eventId }) => eventId !== 'd'))?.eventId).toBe('c')
    }),
  )
  for (const a of versions) for (const b of versions) if (a !== b) expect(outranks(a, b)).toBe(!outranks(b, a))
})
