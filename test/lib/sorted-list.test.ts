import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KeyedLock } from '../../src/lib/keyed-lock.ts'
import { SortedList } from '../../src/lib/sorted-list.ts'

test('it is a sorted set, whatever is added and deleted', () => {
  const value = fc.string({ maxLength: 3 })
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), value }),
    fc.record({ kind: fc.constant('delete' as const), value }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), value, (steps, from) => {
      const list = new SortedList()
      const model = new Set<string>()
      for (const step of steps) {
        if (step.kind === 'add') {
          expect(list.add(step.value)).toBe(!model.has(step.value))
          model.add(step.value)
        } else expect(list.delete(step.value)).toBe(model.delete(step.value))
      }
      expect(list.size).toBe(model.size)
      expect([...list.from(from)]).toEqual([...model].sort().filter((value) => value >= from))
    }),
  )
})

test('it stays sorted over many chunks', () => {
  const list = new SortedList()
  const numbers = Array.from({ length: 20_000 }, (_, i) => String((i * 7919) % 20_000).padStart(5, '0'))
  for (const number of numbers) list.add(number)
  expect([...list.from('')]).toEqual([...numbers].sort())
  for (const number of numbers.slice(0, 19_000)) list.delete(number)
  expect([...list.from('')]).toEqual(numbers.slice(19_000).sort())
})

test('those who share a key go one after the other, also when one fails', async () => {
  const lock = new KeyedLock()
  const order: string[] = []
  const work = (label: string, keys: readonly string[], fails = false) =>
    lock.run(keys, async () => {
      order.push(`${label} in`)
      await new Promise((resolve) => setImmediate(resolve))
      order.push(`${label} out`)
      if (fails) throw new Error(label)
    })
  const all = await Promise.allSettled([
    work('1', ['a', 'b'], true),
    work('2', ['b', 'a']),
    work('3', ['b']),
    work('4', ['c']),
  ])
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
  const held = order.filter((line) => !line.startsWith('4'))
  for (let at = 0; at < held.length; at += 2) expect(held[at]?.charAt(0)).toBe(held[at + 1]?.charAt(0))
})
