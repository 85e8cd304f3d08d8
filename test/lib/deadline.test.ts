import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { withDeadline } from '../../src/lib/deadline.ts'
import { onAbort } from '../../src/lib/on-abort.ts'

/** As `once` and `fetch` wait: nothing holds the signal but its listener. */
const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

test('the work ends with its time, though nobody but a listener holds its signal and the garbage is collected', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { signal } = new AbortController()
  const works = Array.from({ length: 20 }, () => withDeadline(200, signal, aborted))
  const ended = Promise.allSettled(works)
  let hasEnded = false
  void ended.then(() => {
    hasEnded = true
  })
  while (!hasEnded) {
    collect()
    await nextTurn()
  }
  for (const result of await ended) expect(result).toMatchObject({ reason: { name: 'TimeoutError' } })
})

test('the work ends with the signal, also with one that is past, for its reason', async () => {
  const stop = new AbortController()
  const reason = new Error('stop')
  const before = withDeadline(60_000, stop.signal, aborted)
  stop.abort(reason)
  await expect(before).rejects.toBe(reason)
  const after = withDeadline(60_000, stop.signal, async (signal) => signal.throwIfAborted())
  await expect(after).rejects.toBe(reason)
})

test('what the work comes to is passed on, and then nothing waits any more', async () => {
  const { signal } = new AbortController()
  const timersBefore = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  let inner: AbortSignal | undefined
  expect(
    await withDeadline(60_000, signal, async (one) => {
      inner = one
      return 7
    }),
  ).toBe(7)
  expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).toHaveLength(timersBefore)
  let isCalled = false
  onAbort(inner as AbortSignal, () => {
    isCalled = true
  })
  await nextTurn()
  expect(isCalled).toBe(false)
})
