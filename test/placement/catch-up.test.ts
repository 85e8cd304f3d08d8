import { expect, test } from 'vitest'
import { CatchUp } from '../../src/placement/catch-up.ts'
import type { Comparison } from '../../src/placement/missing.ts'

const signal = new AbortController().signal

const comparison = (
  behind: readonly (readonly [here: number, there: number])[],
  unknown: readonly string[],
): Comparison => ({
  ...{ site: 'paris', unknown, unknownThere: 0, questions: 1, complete: true },
  behind: behind.map(([here, there]) => ({ site: 'paris', here, there })),
})

/** Another site that answers its n-th comparison with the n-th of `answers`, then always with the last. */
function open(answers: readonly Comparison[], pauseMs = 0) {
  const considered: string[] = []
  const troubles: unknown[] = []
  let asked = 0
  const compare = async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)]
    if (answer === undefined) throw new Error('nothing to answer')
    return answer
  }
  const catchUp = new CatchUp({
    ...{ missing: { compare }, silentMs: 1_000, pauseMs },
    consider: (key) => considered.push(key),
    onTrouble: (error) => troubles.push(error),
  })
  return { catchUp, considered, troubles, asked: () => asked }
}

test('what was unknown at first is looked at again once the log has brought it, whatever came since', async () => {
  const { catchUp, considered, asked } = open([
    comparison([[5, 9]], ['x', 'y']),
    comparison([[7, 12]], ['y']),
    // 14 is news: what there was at first is here.
    comparison([[9, 14]], []),
  ])
  expect(await catchUp.catchUp('paris', signal)).toMatchObject({ behindAtFirst: 1, unknownAtFirst: 2, unknown: 0 })
  expect(asked()).toBe(3)
  expect(considered).toEqual(['x', 'y'])
})

test('a site that has nothing else is asked once', async () => {
  const { catchUp, asked } = open([comparison([], [])])
  await catchUp.catchUp('paris', signal)
  expect(asked()).toBe(1)
})

test('a log that does not come in is given up after some looks, and said', async () => {
  const { catchUp, asked } = open([comparison([[5, 9]], ['x'])])
  await expect(catchUp.catchUp('paris', signal)).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    message: expect.stringContaining('paris before 9'),
  })
  expect(asked()).toBe(8)
  expect(catchUp.done).toMatchObject([{ site: 'paris', behind: 1, unknown: 1 }])
})

test('a site is due when it is heard after a silence, once, and not while it goes on being heard', async () => {
  const { catchUp, asked } = open([comparison([], [])])
  const stop = new AbortController()
  const running = catchUp.run(stop.signal)
  catchUp.heard('paris', 0)
  catchUp.heard('paris', 900)
  await expect.poll(() => catchUp.done.length).toBe(1)
  catchUp.heard('paris', 1_800)
  catchUp.heard('paris', 2_900)
  await expect.poll(asked).toBe(2)
  stop.abort()
  await running
  expect(asked()).toBe(2)
})

test('a site that goes silent meanwhile is trouble, and the next one is asked all the same', async () => {
  const { catchUp, troubles } = open([])
  const stop = new AbortController()
  const running = catchUp.run(stop.signal)
  catchUp.heard('paris', 0)
  catchUp.heard('berlin', 0)
  await expect.poll(() => troubles.length).toBe(2)
  stop.abort()
  await running
})
