import { expect, test } from 'vitest'
import { Turns } from '../../src/lib/turns.ts'

const { signal } = new AbortController()

/** Pieces of work that end when they are told to, and note that they began. */
function pieces(turns: Turns) {
  const began: string[] = []
  const ends: (() => void)[] = []
  const begin = (client: unknown, name: string, on: AbortSignal = signal) =>
    turns.run(client, on, async () => {
      began.push(name)
      await new Promise<void>((resolve) => ends.push(resolve))
    })
  const endOne = async () => {
    ends.shift()?.()
    await new Promise(setImmediate)
  }
  return { began, begin, endOne }
}

test('a client that asks for a lot waits for a piece of each other client in between', async () => {
  const { began, begin, endOne } = pieces(new Turns(1))
  const all = [
    begin('a', 'a1'),
    begin('a', 'a2'),
    begin('a', 'a3'),
    begin('b', 'b1'),
    begin('c', 'c1'),
    begin('b', 'b2'),
  ]
  for (let i = 0; i < all.length; i++) await endOne()
  await Promise.all(all)
  expect(began).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2'])
})

test('no more pieces are worked on at a time than there is room for, and one that fails gives its place back', async () => {
  const turns = new Turns(2)
  const { began, begin, endOne } = pieces(turns)
  await expect(turns.run('a', signal, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  const all = ['a', 'b', 'c', 'd'].map((client) => begin(client, client))
  expect([began, turns.waiting]).toEqual([['a', 'b'], 2])
  await endOne()
  expect([began, turns.waiting]).toEqual([['a', 'b', 'c'], 1])
  for (let i = 0; i < 3; i++) await endOne()
  await Promise.all(all)
  await turns.run('e', signal, async () => undefined)
})

test('who leaves while it waits never begins, and holds up nobody', async () => {
  const turns = new Turns(1)
  const { began, begin, endOne } = pieces(turns)
  const leaving = new AbortController()
  const first = begin('a', 'a')
  const gone = begin('b', 'gone', leaving.signal)
  const last = begin('b', 'last')
  leaving.abort(new Error('left'))
  await expect(gone).rejects.toThrow('left')
  await endOne()
  await endOne()
  await Promise.all([first, last])
  expect(began).toEqual(['a', 'last'])
  await expect(begin('c', 'c', leaving.signal)).rejects.toThrow('left')
})
