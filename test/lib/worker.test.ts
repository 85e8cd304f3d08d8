import { expect, onTestFinished, test, vi } from 'vitest'
import { WorkerThread } from '../../src/lib/worker.ts'
import type { TestCall } from '../support/call-worker.ts'

const entry = new URL('../support/call-worker.ts', import.meta.url)
const { signal } = new AbortController()
const noParts = { signal, onPart: () => undefined }

function open(idleMs?: number): WorkerThread<TestCall, number, number> {
  const thread = new WorkerThread<TestCall, number, number>(entry, undefined, idleMs)
  onTestFinished(() => thread.close())
  return thread
}

test('parts come in their order, then the answer', async () => {
  const parts: number[] = []
  const thread = open()
  expect(thread.isRunning).toBe(false)
  expect(await thread.run({ kind: 'count', to: 5 }, { signal, onPart: (part) => void parts.push(part) })).toBe(5)
  expect(parts).toEqual([1, 2, 3, 4, 5])
})

test('the thread waits until a part was taken, and does other work meanwhile', async () => {
  const thread = open()
  let take = (): void => undefined
  const taken = new Promise<void>((resolve) => {
    take = resolve
  })
  const parts: number[] = []
  const onPart = (part: number) => {
    parts.push(part)
    return taken
  }
  const counting = thread.run({ kind: 'count', to: 3 }, { signal, onPart })
  await vi.waitFor(() => expect(parts).toEqual([1]))
  for (let i = 0; i < 5; i++) expect(await thread.run({ kind: 'emitted' }, noParts)).toBe(1)
  take()
  expect(await counting).toBe(3)
  expect(parts).toEqual([1, 2, 3])
})

test('who cannot take a part ends the work with its own failure', async () => {
  const thread = open()
  const onPart = () => {
    throw new Error('not this one')
  }
  await expect(thread.run({ kind: 'count', to: 1_000 }, { signal, onPart })).rejects.toThrow('not this one')
  // The second one was refused.
  expect(await thread.run({ kind: 'emitted' }, noParts)).toBe(2)
})

test('a failure arrives with its code, hint, limit and cause; any other as an error', async () => {
  const thread = open()
  const cause = { code: 'STORE_UNAVAILABLE', message: 'why', limit: 'dag_depth' }
  const known = thread.run({ kind: 'fail', code: 'BLOCK_LOST' }, noParts)
  await expect(known).rejects.toMatchObject({ name: 'AppError', code: 'BLOCK_LOST', message: 'gone', hint: 'h', cause })
  const unknown = thread.run({ kind: 'fail', code: undefined }, noParts)
  await expect(unknown).rejects.toMatchObject({ name: 'Error', message: 'of ours', cause })
})

test('an abort ends the work in the thread, and the call with the reason', async () => {
  const thread = open()
  const abort = new AbortController()
  const waiting = thread.run({ kind: 'wait' }, { signal: abort.signal, onPart: () => undefined })
  const other = thread.run({ kind: 'count', to: 1 }, noParts)
  expect(await other).toBe(1)
  abort.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await expect(thread.run({ kind: 'wait' }, { signal: abort.signal, onPart: () => undefined })).rejects.toThrow(
    'enough',
  )
})

test('a call is over when its last part has been taken, also when it was aborted or its thread has ended', async () => {
  for (const end of ['abort', 'close'] as const) {
    const thread = open()
    const abort = new AbortController()
    let take = (): void => undefined
    let isTaken = false
    let begin = (): void => undefined
    const begun = new Promise<void>((resolve) => {
      begin = resolve
    })
    const onPart = async () => {
      begin()
      await new Promise<void>((resolve) => {
        take = resolve
      })
      isTaken = true
    }
    let isOver = false
    const counting = thread.run({ kind: 'count', to: 3 }, { signal: abort.signal, onPart })
    const over = counting
      .catch(() => undefined)
      .finally(() => {
        isOver = true
      })
    await begun
    if (end === 'abort') abort.abort(new Error('enough'))
    else await thread.close()
    // A round trip: what the thread has to say has come.
    await (end === 'abort' ? thread.run({ kind: 'emitted' }, noParts) : new Promise(setImmediate))
    expect([isOver, isTaken]).toEqual([false, false])
    take()
    await over
    expect(isTaken).toBe(true)
  }
})

test('a thread that falls fails what is under way, and the next call has a new one', async () => {
  const thread = open()
  const waiting = thread.run({ kind: 'wait' }, noParts)
  const crashing = thread.run({ kind: 'crash' }, noParts)
  const failures = await Promise.allSettled([waiting, crashing])
  for (const failure of failures) {
    expect(failure).toMatchObject({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
  }
  expect(await thread.run({ kind: 'count', to: 2 }, noParts)).toBe(2)
})

test('a thread without work ends, and is begun again when there is some', async () => {
  const thread = open(20)
  expect(await thread.run({ kind: 'count', to: 2 }, noParts)).toBe(2)
  expect(thread.isRunning).toBe(true)
  await vi.waitFor(() => expect(thread.isRunning).toBe(false))
  expect(await thread.run({ kind: 'emitted' }, noParts)).toBe(0)
})

test('what is closed does no more work', async () => {
  const thread = open()
  const waiting = thread.run({ kind: 'wait' }, noParts)
  const failed = expect(waiting).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await thread.close()
  await failed
  await expect(thread.run({ kind: 'count', to: 1 }, noParts)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})
