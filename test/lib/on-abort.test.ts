import { expect, test } from 'vitest'
import { onAbort } from '../../src/lib/on-abort.ts'
import { pause } from '../../src/lib/pause.ts'
import { unlessAborted } from '../../src/lib/unless-aborted.ts'

/** What Node warns of while `work` runs. */
async function warningsOf(work: () => Promise<void>): Promise<string[]> {
  const names: string[] = []
  const hear = ({ name }: Error) => void names.push(name)
  process.on('warning', hear)
  await work()
  // A warning is told in the next tick.
  await new Promise((next) => setImmediate(next))
  process.off('warning', hear)
  return names
}

test('everybody who waits is called once, in order, also who waits twice', () => {
  const stop = new AbortController()
  const called: string[] = []
  const twice = () => void called.push('twice')
  onAbort(stop.signal, () => called.push('first'))
  onAbort(stop.signal, twice)
  onAbort(stop.signal, twice)
  stop.abort()
  stop.abort()
  expect(called).toEqual(['first', 'twice', 'twice'])
})

test('who calls it off is not called, and the others are', () => {
  const stop = new AbortController()
  const called: string[] = []
  const release = onAbort(stop.signal, () => called.push('off'))
  onAbort(stop.signal, () => called.push('on'))
  release()
  release()
  stop.abort()
  expect(called).toEqual(['on'])
})

test('an abort that is past is not missed, and can still be called off', async () => {
  const signal = AbortSignal.abort()
  const called: string[] = []
  onAbort(signal, () => called.push('past'))
  onAbort(signal, () => called.push('off'))()
  expect(called).toEqual([])
  await Promise.resolve()
  expect(called).toEqual(['past'])
})

test('hundreds may wait for one signal, which is no leak; with listeners of their own Node would take it for one', async () => {
  const stop = new AbortController()
  const never = new Promise<never>(() => undefined)
  const warned = await warningsOf(async () => {
    const waits = Array.from({ length: 100 }, () => [
      pause(60_000, stop.signal),
      unlessAborted(never, stop.signal),
      unlessAborted(never, AbortSignal.any([stop.signal])),
    ]).flat()
    stop.abort(new Error('stop'))
    for (const { status } of await Promise.allSettled(waits)) expect(status).toBe('rejected')
  })
  expect(warned).toEqual([])
  const control = new AbortController()
  const leak = await warningsOf(async () => {
    for (let i = 0; i < 11; i++) control.signal.addEventListener('abort', () => undefined)
  })
  expect(leak).toEqual(['MaxListenersExceededWarning'])
})

test('nothing is left on a signal that nobody waits for any more', async () => {
  const listeners: string[] = []
  const { signal } = new AbortController()
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (type: string, ...rest: unknown[]) => {
    listeners.push(type)
    Reflect.apply(add, signal, [type, ...rest])
  }
  signal.removeEventListener = (type: string, ...rest: unknown[]) => {
    listeners.pop()
    Reflect.apply(remove, signal, [type, ...rest])
  }
  const waits = [pause(1, signal), pause(2, signal), unlessAborted(pause(1, signal), signal)]
  expect(listeners).toEqual(['abort'])
  await Promise.all(waits)
  // The last one lets go behind its own answer.
  await Promise.resolve()
  expect(listeners).toEqual([])
})
