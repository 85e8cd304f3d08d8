import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAppError } from '../../src/errors.ts'
import { compileLogic, isTrue, type Value } from '../../src/placement/json-logic.ts'

const run = (expression: unknown, data: Value = null): Value => compileLogic(expression)(data)

const pie = { filling: 'apple', temp: 100 }
const desserts: Value = { pies: [{ filling: 'apple' }, { filling: 'cherry' }] }

/** What jsonlogic.com says each operator gives: expression, data, result. */
const published: readonly (readonly [label: string, expression: unknown, data: Value, result: Value])[] = [
  ['a constant is itself', 'apple', null, 'apple'],
  ['a list is its items', [1, { '+': [1, 1] }], null, [1, 2]],
  ['var reads a key', { var: ['a'] }, { a: 1, b: 2 }, 1],
  ['var without a list', { var: 'a' }, { a: 1 }, 1],
  ['var has a default', { var: ['z', 26] }, { a: 1 }, 26],
  ['var goes along dots', { var: 'champ.name' }, { champ: { name: 'Fezzig' } }, 'Fezzig'],
  ['var reads an index of a list', { var: 1 }, ['apple', 'banana', 'carrot'], 'banana'],
  ['var of nothing is all of it', { var: '' }, 'Dolly', 'Dolly'],
  ['missing names what is not there', { missing: ['a', 'b'] }, { a: 'apple', c: 'carrot' }, ['b']],
  ['missing of all there is empty', { missing: ['a', 'b'] }, { a: 'apple', b: 'banana' }, []],
  ['missing_some has enough', { missing_some: [1, ['a', 'b', 'c']] }, { a: 'apple' }, []],
  ['missing_some lacks some', { missing_some: [2, ['a', 'b', 'c']] }, { a: 'apple' }, ['b', 'c']],
  ['if takes the first', { if: [true, 'yes', 'no'] }, null, 'yes'],
  ['if takes the second', { if: [false, 'yes', 'no'] }, null, 'no'],
  [
    'if goes on as else if',
    { if: [{ '<': [{ var: 'temp' }, 0] }, 'ice', { '<': [{ var: 'temp' }, 100] }, 'liquid', 'gas'] },
    { temp: 55 },
    'liquid',
  ],
  ['== makes types equal', { '==': [1, '1'] }, null, true],
  ['== of 0 and false', { '==': [0, false] }, null, true],
  ['=== does not', { '===': [1, '1'] }, null, false],
  ['!= of different', { '!=': [1, 2] }, null, true],
  ['!== of types', { '!==': [1, '1'] }, null, true],
  ['! of true', { '!': [true] }, null, false],
  ['! without a list', { '!': true }, null, false],
  ['!! of an empty list is false', { '!!': [[]] }, null, false],
  ['!! of the text 0 is true', { '!!': ['0'] }, null, true],
  ['or gives the first that is true', { or: [false, 'a'] }, null, 'a'],
  ['or gives the first of several', { or: [false, 0, 'a'] }, null, 'a'],
  ['and gives the last', { and: [true, 'a', 3] }, null, 3],
  ['and gives the first that is false', { and: [true, '', 3] }, null, ''],
  ['> compares', { '>': [2, 1] }, null, true],
  ['<= compares', { '<=': [1, 1] }, null, true],
  ['< between excludes', { '<': [1, 1, 3] }, null, false],
  ['<= between includes', { '<=': [1, 1, 3] }, null, true],
  ['a temperature between', { '<': [0, { var: 'temp' }, 100] }, { temp: 37 }, true],
  ['max', { max: [1, 2, 3] }, null, 3],
  ['min', { min: [1, 2, 3] }, null, 1],
  ['+ adds', { '+': [4, 2] }, null, 6],
  ['+ adds several', { '+': [2, 2, 2, 2, 2] }, null, 10],
  ['+ of one makes a number', { '+': '3.14' }, null, 3.14],
  ['- takes away', { '-': [4, 2] }, null, 2],
  ['- of one turns the sign', { '-': 2 }, null, -2],
  ['* multiplies', { '*': [4, 2] }, null, 8],
  ['* multiplies several', { '*': [2, 2, 2, 2, 2] }, null, 32],
  ['/ divides', { '/': [4, 2] }, null, 2],
  ['% is the rest', { '%': [101, 2] }, null, 1],
  ['map', { map: [{ var: 'integers' }, { '*': [{ var: '' }, 2] }] }, { integers: [1, 2, 3] }, [2, 4, 6]],
  ['filter', { filter: [{ var: 'integers' }, { '%': [{ var: '' }, 2] }] }, { integers: [1, 2, 3] }, [1, 3]],
  [
    'reduce',
    { reduce: [{ var: 'integers' }, { '+': [{ var: 'current' }, { var: 'accumulator' }] }, 0] },
    { integers: [1, 2, 3] },
    6,
  ],
  ['all', { all: [[1, 2, 3], { '>': [{ var: '' }, 0] }] }, null, true],
  ['all of nothing is false', { all: [[], { '>': [{ var: '' }, 0] }] }, null, false],
  ['some', { some: [[-1, 0, 1], { '>': [{ var: '' }, 0] }] }, null, true],
  ['some of keys', { some: [{ var: 'pies' }, { '==': [{ var: 'filling' }, 'apple'] }] }, desserts, true],
  ['none', { none: [[-3, -2, -1], { '>': [{ var: '' }, 0] }] }, null, true],
  ['none of nothing is true', { none: [[], { '>': [{ var: '' }, 0] }] }, null, true],
  [
    'merge',
    {
      merge: [
        [1, 2],
        [3, 4],
      ],
    },
    null,
    [1, 2, 3, 4],
  ],
  ['merge takes single items too', { merge: [1, 2, [3, 4]] }, null, [1, 2, 3, 4]],
  ['in a list', { in: ['Ringo', ['John', 'Paul', 'George', 'Ringo']] }, null, true],
  ['in a text', { in: ['Spring', 'Springfield'] }, null, true],
  ['in nothing', { in: ['x', null] }, null, false],
  ['cat', { cat: ['I love', ' pie'] }, null, 'I love pie'],
  ['cat of what there is', { cat: ['I love ', { var: 'filling' }, ' pie'] }, pie, 'I love apple pie'],
  ['substr from', { substr: ['jsonlogic', 4] }, null, 'logic'],
  ['substr from the end', { substr: ['jsonlogic', -5] }, null, 'logic'],
  ['substr of a length', { substr: ['jsonlogic', 1, 3] }, null, 'son'],
  ['substr up to before the end', { substr: ['jsonlogic', 4, -2] }, null, 'log'],
  ['operations nest', { and: [{ '>': [3, 1] }, { '<': [1, 3] }] }, null, true],
  ['starts_with, an operator of ours', { starts_with: ['image/png', 'image/'] }, null, true],
]

for (const [label, expression, data, result] of published) {
  test(`JSON-Logic: ${label}`, () => {
    expect(run(expression, data)).toEqual(result)
  })
}

test('truth is as JSON-Logic has it', () => {
  const truths: readonly Value[] = [1, -1, [1], [0], '0', 'anything', true]
  const lies: readonly Value[] = [0, [], '', null, false]
  expect(truths.map(isTrue)).toEqual(truths.map(() => true))
  expect(lies.map(isTrue)).toEqual(lies.map(() => false))
})

test('var sees own properties only: nothing of the prototypes can be asked about', () => {
  for (const key of [
    '__proto__',
    'constructor',
    'toString',
    'constructor.name',
    'list.length.constructor',
    'a.__proto__.b',
  ]) {
    expect(run({ var: key }, { a: { b: 1 }, list: [1] })).toBe(null)
  }
  expect(run({ missing: ['constructor', '__proto__'] }, {})).toEqual(['constructor', '__proto__'])
})

test('an expression that multiplies its work ends at a bound, not when it is done', () => {
  const items = Array.from({ length: 200 }, (_, i) => i)
  const inner = { map: [items.slice(0, 100), { '+': [{ var: '' }, 1] }] }
  const bomb = { map: [Array.from({ length: 100 }, (_, i) => i), { map: [items.slice(0, 100), inner] }] }
  const both = [{ var: 'accumulator' }, { var: 'accumulator' }]
  const doubled = (body: unknown, start: unknown) => ({ reduce: [items, body, start] })
  const bombs = [
    bomb,
    doubled({ cat: both }, 'x'),
    doubled({ merge: both }, [1]),
    { cat: [doubled(both, '')] },
    { cat: [{ reduce: [items.slice(0, 30), both, []] }] },
    { var: [doubled(both, 'a')] },
    { missing: [[doubled(both, 'a')]] },
    { in: [doubled(both, 'a'), 'text'] },
  ]
  for (const expression of bombs) expect(() => run(expression, {})).toThrow(/steps|longer|parts|more than/)
})

const operators = [
  'var',
  'missing',
  'if',
  '==',
  '===',
  '!',
  '!!',
  'and',
  'or',
  '<',
  '>=',
  'max',
  '+',
  '-',
  '*',
  '/',
  '%',
  'map',
  'filter',
  'reduce',
  'all',
  'some',
  'none',
  'merge',
  'in',
  'cat',
  'substr',
  'starts_with',
  'missing_some',
]
const { expression: expressions } = fc.letrec((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<unknown>(null, true, 0, 1, -1, '', 'a', 'a.b', [1, 2]),
    fc.array(tie('expression'), { maxLength: 3 }),
    tie('operation'),
  ),
  operation: fc
    .tuple(fc.constantFrom(...operators), fc.array(tie('expression'), { maxLength: 4 }))
    .map(([name, args]) => ({ [name]: args })),
}))

test('whatever an expression says, it gives a JSON value or is refused, and the same for the same data', () => {
  const data: Value = { a: { b: [1, 'two', null] }, n: 3 }
  fc.assert(
    fc.property(expressions, (expression) => {
      try {
        const value = run(expression, data)
        expect(JSON.parse(JSON.stringify(value))).toEqual(value)
        expect(run(structuredClone(expression), structuredClone(data))).toEqual(value)
      } catch (error) {
        if (!isAppError(error, 'POLICY_INVALID')) throw error
      }
    }),
    { numRuns: 5000 },
  )
})
