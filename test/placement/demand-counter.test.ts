import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DemandCounter } from '../../src/placement/demand-counter.ts'

const halfLifeMs = 300_000

function counterAt(rootsMax?: number) {
  let nowMs = 0
  const counter = new DemandCounter({ halfLifeMs, now: () => nowMs, ...(rootsMax === undefined ? {} : { rootsMax }) })
  return {
    counter,
    wait: (ms: number) => {
      nowMs += ms
      counter.advance()
    },
  }
}

test('a steady rate is told as that rate once a few half-lives have passed', () => {
  const { counter, wait } = counterAt()
  for (let second = 0; second < 3600; second++) {
    counter.count('hot')
    if (second % 6 === 0) counter.count('warm')
    wait(1000)
  }
  const [hot, warm] = counter.top(10, 1)
  expect(hot?.root).toBe('hot')
  expect(hot?.rate).toBeGreaterThan(57)
  expect(hot?.rate).toBeLessThan(61)
  expect(warm?.rate).toBeGreaterThan(9)
  expect(warm?.rate).toBeLessThan(10.5)
})

test('what is read no more counts for half after each half-life, and is forgotten in the end', () => {
  const { counter, wait } = counterAt()
  for (let i = 0; i < 100; i++) counter.count('was hot')
  const before = counter.top(1, 0.1)[0]?.rate ?? 0
  wait(halfLifeMs)
  expect(counter.top(1, 0.1)[0]?.rate).toBeCloseTo(before / 2, 9)
  wait(halfLifeMs * 30)
  expect(counter.top(1, 0.1)).toEqual([])
  expect(counter.size).toBe(0)
})

test('weights are rescaled long before a double overflows', () => {
  const { counter, wait } = counterAt()
  for (let i = 0; i < 5_000; i++) {
    counter.count('root')
    wait(halfLifeMs)
  }
  const [only] = counter.top(1, 0.01)
  expect(only?.rate).toBeCloseTo(Math.LN2 / 5, 6)
})

test('however many roots are read, memory is bounded and the most read ones stay', () => {
  const { counter, wait } = counterAt(100)
  for (let i = 0; i < 20_000; i++) {
    counter.count(`cold ${i}`)
    counter.count(`hot ${i % 10}`)
    if (i % 1_000 === 0) wait(1_000)
    expect(counter.size).toBeLessThanOrEqual(200)
  }
  const top = counter.top(10, 0).map(({ root }) => root)
  expect(top.sort()).toEqual(Array.from({ length: 10 }, (_, i) => `hot ${i}`))
})

test('the order of the top is by rate, and the same for the same reads', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 200 }), (reads) => {
      const [one, other] = [counterAt(), counterAt()]
      for (const root of reads) one.counter.count(root)
      for (const root of reads.toReversed()) other.counter.count(root)
      const top = one.counter.top(4, 0)
      expect(other.counter.top(4, 0)).toEqual(top)
      for (const [at, { rate }] of top.entries()) expect(rate).toBeLessThanOrEqual(top[at - 1]?.rate ?? Infinity)
    }),
  )
})
