import { expect, test } from 'vitest'
import { together } from '../../src/lib/together.ts'

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))

test('when one of them ends the others are aborted and waited for', async () => {
  const ended: string[] = []
  await together(
    new AbortController().signal,
    async () => undefined,
    async (signal) => {
      await untilAborted(signal)
      await Promise.resolve()
      ended.push('other')
    },
  )
  expect(ended).toEqual(['other'])
})

test('the first failure is what is thrown, not the aborts that follow it', async () => {
  const failing = together(
    new AbortController().signal,
    async () => {
      throw new Error('first')
    },
    async (signal) => {
      await untilAborted(signal)
      throw signal.reason
    },
  )
  await expect(failing).rejects.toThrow('first')
})

test('an abort from outside ends it without a failure', async () => {
  const stop = new AbortController()
  const running = together(stop.signal, untilAborted, async (signal) => {
    await untilAborted(signal)
    throw signal.reason
  })
  stop.abort(new Error('stop'))
  await expect(running).resolves.toBeUndefined()
})
