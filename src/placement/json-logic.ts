import { AppError } from '../errors.ts'

/**
 * JSON-Logic (jsonlogic.com), evaluated strictly: an unknown operator is an error, `var` sees own properties only, nothing
 * is called, and an expression may cost so much and no more. Placement rules and filters share it.
 */
export type Value = string | number | boolean | null | readonly Value[] | { readonly [key: string]: Value }

export type Compiled = (data: Value) => Value

const nodesMax = 1_000
const depthMax = 32
/** Of one evaluation: `map` inside `map` multiplies. */
const stepsMax = 10_000
const textMax = 10_000
const itemsMax = 10_000

interface Run {
  steps: number
}

type Node = (data: Value, run: Run) => Value
type Operator = (args: readonly Node[]) => Node

/** @throws AppError POLICY_INVALID naming the place */
export function compileLogic(expression: unknown): Compiled {
  const node = new Compiler().compile(expression, 'when', 0)
  return (data) => node(data, { steps: 0 })
}

/** As JSON-Logic has it: an empty list is false, every text but the empty one is true. */
export function isTrue(value: Value): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value)
}

class Compiler {
  #nodes = 0

  compile(expression: unknown, place: string, depth: number): Node {
    if (++this.#nodes > nodesMax) throw invalid(place, `the expression has more than ${nodesMax} parts`)
    if (depth > depthMax) throw invalid(place, `the expression is nested more than ${depthMax} deep`)
    if (Array.isArray(expression)) {
      const items = expression.map((item, index) => this.compile(item, `${place}[${index}]`, depth + 1))
      return (data, run) => items.map((item) => item(data, run))
    }
    if (typeof expression !== 'object' || expression === null) return constant(expression, place)
    const entries = Object.entries(expression)
    const [entry] = entries
    if (entry === undefined || entries.length !== 1) throw invalid(place, 'an operation is an object with one key')
    const [name, operands] = entry
    const make = operators.get(name)
    if (make === undefined) throw invalid(place, `there is no operator ${JSON.stringify(name.slice(0, 40))}`)
    const list = Array.isArray(operands) ? operands : [operands]
    const at = `${place}.${name}`
    const node = make(list.map((operand, index) => this.compile(operand, `${at}[${index}]`, depth + 1)))
    return (data, run) => {
      if (++run.steps > stepsMax) throw invalid(at, `the expression takes more than ${stepsMax} steps`)
      return node(data, run)
    }
  }
}

function constant(value: unknown, place: string): Node {
  if (typeof value === 'string' && value.length > textMax) throw invalid(place, `a text is longer than ${textMax}`)
  if (value === null || ['string', 'boolean'].includes(typeof value) || Number.isFinite(value)) {
    return () => value as Value
  }
  throw invalid(place, 'this is no JSON value')
}

function invalid(place: string, why: string): AppError {
  return new AppError('POLICY_INVALID', `${place}: ${why}`)
}

/** Own properties only, along `a.b.0`. */
function lookUp(data: Value, path: Value, otherwise: Value): Value {
  if (path === '' || path === null) return data
  let value: Value = data
  for (const key of asText(path).split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return otherwise
    value = (value as { readonly [key: string]: Value })[key] ?? null
    if (value === null) return otherwise
  }
  return value
}

const asNumber = (value: Value): number => (typeof value === 'object' && value !== null ? Number.NaN : Number(value))

const objectText = '[object Object]'

/** A list as its items, with commas. One that holds itself many times over would be text without end. */
function asText(value: Value): string {
  if (typeof value !== 'object' || value === null) return String(value)
  const parts: string[] = []
  let length = 0
  const add = (item: Value, depth: number): void => {
    if (depth > depthMax) throw invalid('when', `a list is nested more than ${depthMax} deep`)
    const text = typeof item === 'object' && item !== null ? objectText : String(item)
    length += Array.isArray(item) ? 1 : text.length + 1
    if (length > textMax) throw invalid('when', `a text is longer than ${textMax}`)
    if (!Array.isArray(item)) parts.push(text)
    else for (const one of item) add(one, depth + 1)
  }
  add(value, 0)
  return parts.join(',')
}

function bounded<T extends readonly Value[]>(list: T): T {
  if (list.length > itemsMax) throw invalid('when', `a list has more than ${itemsMax} items`)
  return list
}

const asList = (value: Value): readonly Value[] => (Array.isArray(value) ? value : [])
/** JSON has no -0. */
const numeric = (value: number): Value => (Number.isFinite(value) ? value + 0 : null)

function equals(a: Value, b: Value): boolean {
  if (typeof a === 'object' || typeof b === 'object') return a === b
  return typeof a === typeof b ? a === b : asNumber(a) === asNumber(b)
}

function ordered(holds: (a: number | string, b: number | string) => boolean): Operator {
  return (args) => (data, run) => {
    const values = args.map((arg) => arg(data, run))
    const comparable = values.every((value) => typeof value === 'string')
      ? values.map(String)
      : values.map((value) => asNumber(value))
    // Three operands are a range: a < b < c.
    return comparable.slice(1).every((value, index) => holds(comparable[index] ?? Number.NaN, value))
  }
}

function folded(fold: (values: readonly number[]) => number): Operator {
  return (args) => (data, run) => numeric(fold(args.map((arg) => asNumber(arg(data, run)))))
}

/** The items of the first operand, each as the data of the second. */
function overItems(finish: (items: readonly Value[], of: (item: Value) => Value) => Value): Operator {
  return ([list, body]) =>
    (data, run) => {
      const items = asList(list?.(data, run) ?? null)
      return finish(items, (item) => {
        if (++run.steps > stepsMax) throw invalid('when', `the expression takes more than ${stepsMax} steps`)
        return body?.(item, run) ?? null
      })
    }
}

const read = (node: Node | undefined, data: Value, run: Run): Value => node?.(data, run) ?? null

const branch: Operator = (args) => (data, run) => {
  for (let at = 0; at + 1 < args.length; at += 2) {
    if (isTrue(read(args[at], data, run))) return read(args[at + 1], data, run)
  }
  return args.length % 2 === 1 ? read(args.at(-1), data, run) : null
}

function missing(data: Value, keys: readonly Value[]): readonly Value[] {
  return keys.filter((key) => {
    const value = lookUp(data, key, null)
    return value === null || value === ''
  })
}

const operators: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  [
    'var',
    ([path, otherwise]) =>
      (data, run) =>
        lookUp(data, read(path, data, run), read(otherwise, data, run)),
  ],
  [
    'missing',
    (args) => (data, run) =>
      missing(
        data,
        args.flatMap((arg) => listed(arg(data, run))),
      ),
  ],
  [
    'missing_some',
    ([need, keys]) =>
      (data, run) => {
        const all = asList(read(keys, data, run))
        const gone = missing(data, all)
        return all.length - gone.length >= asNumber(read(need, data, run)) ? [] : gone
      },
  ],
  ['if', branch],
  ['?:', branch],
  [
    '==',
    ([a, b]) =>
      (data, run) =>
        equals(read(a, data, run), read(b, data, run)),
  ],
  [
    '!=',
    ([a, b]) =>
      (data, run) =>
        !equals(read(a, data, run), read(b, data, run)),
  ],
  [
    '===',
    ([a, b]) =>
      (data, run) =>
        read(a, data, run) === read(b, data, run),
  ],
  [
    '!==',
    ([a, b]) =>
      (data, run) =>
        read(a, data, run) !== read(b, data, run),
  ],
  [
    '!',
    ([a]) =>
      (data, run) =>
        !isTrue(read(a, data, run)),
  ],
  [
    '!!',
    ([a]) =>
      (data, run) =>
        isTrue(read(a, data, run)),
  ],
  ['and', (args) => (data, run) => firstOrLast(args, data, run, (value) => !isTrue(value))],
  ['or', (args) => (data, run) => firstOrLast(args, data, run, isTrue)],
  ['<', ordered((a, b) => a < b)],
  ['<=', ordered((a, b) => a <= b)],
  ['>', ordered((a, b) => a > b)],
  ['>=', ordered((a, b) => a >= b)],
  ['max', folded((values) => Math.max(...values))],
  ['min', folded((values) => Math.min(...values))],
  ['+', folded((values) => values.reduce((sum, value) => sum + value, 0))],
  ['*', folded((values) => values.reduce((product, value) => product * value, 1))],
  ['-', folded(([a = Number.NaN, b]) => (b === undefined ? -a : a - b))],
  ['/', folded(([a = Number.NaN, b = Number.NaN]) => a / b)],
  ['%', folded(([a = Number.NaN, b = Number.NaN]) => a % b)],
  ['map', overItems((items, of) => items.map(of))],
  ['filter', overItems((items, of) => items.filter((item) => isTrue(of(item))))],
  ['all', overItems((items, of) => items.length > 0 && items.every((item) => isTrue(of(item))))],
  ['some', overItems((items, of) => items.some((item) => isTrue(of(item))))],
  ['none', overItems((items, of) => !items.some((item) => isTrue(of(item))))],
  [
    'reduce',
    ([list, body, start]) =>
      (data, run) =>
        asList(read(list, data, run)).reduce<Value>(
          (accumulator, current) => read(body, { accumulator, current }, run),
          read(start, data, run),
        ),
  ],
  ['merge', (args) => (data, run) => bounded(args.flatMap((arg) => listed(arg(data, run))))],
  [
    'in',
    ([needle, hay]) =>
      (data, run) =>
        contains(read(hay, data, run), read(needle, data, run)),
  ],
  [
    'starts_with',
    ([text, start]) =>
      (data, run) =>
        asText(read(text, data, run)).startsWith(asText(read(start, data, run))),
  ],
  ['cat', (args) => (data, run) => checkedText(args.map((arg) => asText(arg(data, run))).join(''))],
  [
    'substr',
    ([text, from, length]) =>
      (data, run) => {
        const rest = asText(read(text, data, run)).slice(asNumber(read(from, data, run)))
        if (length === undefined) return rest
        const count = asNumber(length(data, run))
        return count < 0 ? rest.slice(0, count) : rest.slice(0, count)
      },
  ],
])

const listed = (value: Value): readonly Value[] => (Array.isArray(value) ? value : [value])

function firstOrLast(args: readonly Node[], data: Value, run: Run, ends: (value: Value) => boolean): Value {
  let value: Value = null
  for (const arg of args) {
    value = arg(data, run)
    if (ends(value)) return value
  }
  return value
}

function contains(hay: Value, needle: Value): boolean {
  if (Array.isArray(hay)) return hay.includes(needle)
  return typeof hay === 'string' && hay.includes(asText(needle))
}

function checkedText(text: string): string {
  if (text.length > textMax) throw invalid('when', `a text is longer than ${textMax}`)
  return text
}
