import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { turnOver } from '../../src/lib/turn-over.ts'

/** Computes in rounds of its own, each longer than a slice, and notes the turns of others that it saw. */
async function compute(name: string, rounds: number, seen: string[]): Promise<void> {
  const pause = turnOver(0)
  for (let round = 0; round < rounds; round++) {
    seen.push(name)
    if (pause.isDue) await pause()
  }
}

test('others have a turn between two slices of a loop', async () => {
  const seen: string[] = []
  const computing = compute('loop', 5, seen)
  const other = (async () => {
    for (let turn = 0; turn < 5; turn++) {
      seen.push('other')
      await nextTurn()
    }
  })()
  await Promise.all([computing, other])
  expect(seen.join()).toMatch(/^loop,other(,(loop,other|other,loop))*$/)
})

test('loops that compute at the same time go on one a turn', async () => {
  const seen: string[] = []
  const loops = ['a', 'b', 'c'].map((name) => compute(name, 3, seen))
  let ended = false
  const longest = { slices: 0 }
  const watch = (async () => {
    while (!ended) {
      const before = seen.length
      await nextTurn()
      longest.slices = Math.max(longest.slices, seen.length - before)
    }
  })()
  await Promise.all(loops)
  ended = true
  await watch
  expect(seen).toEqual(['a', 'b', 'c', 'a', 'b', 'c', 'a', 'b', 'c'])
  expect(longest.slices).toBe(1)
})

test('a loop that takes less than a slice never waits', async () => {
  const pause = turnOver(1e9)
  for (let round = 0; round < 1_000; round++) expect(pause.isDue).toBe(false)
})
